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
_OWN, _SEEN = "cfviz.own", "cfviz.seen"


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


def take(uploads: Iterable[object]) -> tuple[bool, list[tuple[str, ImageError]]]:
    """Open what was dropped, keep what can be used and show the last one; say why the rest cannot.

    Args:
        uploads: Streamlit's uploaded files; those seen before are not opened again.

    Returns:
        Whether a photo was added, and (file name, reason) of each upload that was refused, now or before.
    """
    seen: dict[str, ImageError | None] = st.session_state.setdefault(_SEEN, {})
    added, refused = False, []
    for upload in uploads:
        mark, name = str(getattr(upload, "file_id", id(upload))), str(getattr(upload, "name", ""))
        if mark not in seen:
            try:
                _keep(load_image(upload, name=name))  # type: ignore[arg-type]
                added, seen[mark] = True, None
            except ImageError as error:
                seen[mark] = error
        reason = seen[mark]
        if reason is not None:
            refused.append((name, reason))
    return added, refused


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


def opened(uri: str) -> Image.Image:
    """The picture in a data URI."""
    return Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))


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
