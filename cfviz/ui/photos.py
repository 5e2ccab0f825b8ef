"""The photos on offer: the bundled gallery, and the reader's own of this session (kept in memory only)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO

import streamlit as st
from PIL import Image

from cfviz.data.decode import Photo, load_image
from cfviz.data.header import ImageError
from cfviz.data.samples import gallery, sample

from .state import OWN, change

MAX_OWN = 24  # photos of the reader's own; the oldest makes room
_OWN, _SEEN, _REFUSED = "cfviz.own", "cfviz.seen", "cfviz.refused"


def ids() -> list[str]:
    """Ids of all photos on offer, the reader's own last."""
    return [entry.id for entry in gallery()] + list(own())


def own() -> dict[str, Photo]:
    """The reader's own photos by id, oldest first."""
    return st.session_state.setdefault(_OWN, {})


def photo(id: str) -> Photo:
    """The opened photo behind an id.

    Raises:
        ValueError: no photo has this id.
    """
    return own()[id] if id in own() else _bundled(id)


def take(uploads: Iterable[object]) -> bool:
    """Open what was dropped, keep what can be used, remember why the rest cannot, and show the last one.

    Args:
        uploads: Streamlit's uploaded files; those seen before are passed over.

    Returns:
        Whether a photo was added.
    """
    added = False
    seen: set[str] = st.session_state.setdefault(_SEEN, set())
    refused: list[tuple[str, ImageError]] = []
    for upload in uploads:
        mark = str(getattr(upload, "file_id", id(upload)))
        if mark in seen:
            continue
        seen.add(mark)
        name = str(getattr(upload, "name", ""))
        try:
            opened = load_image(upload, name=name)  # type: ignore[arg-type]
        except ImageError as error:
            refused.append((name, error))
            continue
        _keep(opened)
        added = True
    st.session_state.setdefault(_REFUSED, []).extend(refused)
    return added


def refused() -> list[tuple[str, ImageError]]:
    """What the latest drop contained that cannot be used, told once."""
    return st.session_state.pop(_REFUSED, [])


def thumbnail(image: Image.Image, side: int = 96, square: bool = True) -> str:
    """A small copy as a data URI; square ones are cut from the centre, never stretched."""
    width, height = image.size
    if square:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_uri(small, "WEBP", quality=78)


def data_uri(image: Image.Image, form: str = "PNG", **options: int) -> str:
    """A picture as a data URI."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@lru_cache(maxsize=1)
def gallery_thumbnails() -> dict[str, str]:
    """Data URIs of the gallery's thumbnails by id."""
    return {entry.id: thumbnail(_bundled(entry.id).image, 112) for entry in gallery()}


def _keep(opened: Photo) -> None:
    """Add one of the reader's own and show it."""
    mine = own()
    key = OWN + opened.sha256[:10]
    mine.pop(key, None)
    mine[key] = opened
    while len(mine) > MAX_OWN:
        del mine[next(iter(mine))]
    change(photo=key)


@lru_cache(maxsize=32)
def _bundled(id: str) -> Photo:
    """A photo of the gallery, opened once a process."""
    entry = sample(id)
    return load_image(entry.path)
