"""The photos on offer: the bundled gallery, and the reader's own of this session (kept in memory only).

A reader's photos are kept as the bytes that came, within limits of number and size; the latest that were
opened, by all readers together, are kept as pixels, within a limit of pixels.
"""

from __future__ import annotations

import base64
import hashlib
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import Any

import streamlit as st
from cachetools import LRUCache
from PIL import Image

from cfviz.data.decode import Photo, load_image
from cfviz.data.header import ImageError
from cfviz.data.samples import gallery, sample

from .state import OWN, change

MAX_OWN, MAX_OWN_BYTES = 24, 128 * 2**20  # photos of one reader's own; the oldest make room
MAX_BYTES = 40 * 2**20  # of one; the browser is told as well, but nobody makes it obey
MAX_OPEN_PIXELS = 100_000_000  # of all readers together: 300 MB
THUMBNAIL = 112
_OWN, _SEEN = "cfviz.own", "cfviz.seen"


def ids() -> list[str]:
    """Ids of all photos on offer, the reader's own last."""
    return [entry.id for entry in gallery()] + list(own())


@dataclass(frozen=True)
class Own:
    """One of the reader's own: a file that was opened once, so it can be.

    Attributes:
        name: Of the file.
        data: Its bytes.
        sha256: Of the bytes.
        thumbnail: A data URI.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    thumbnail: str = field(repr=False)


def own() -> dict[str, Own]:
    """The reader's own photos by id, oldest first."""
    return st.session_state.setdefault(_OWN, {})


def photo(id: str) -> Photo:
    """The opened photo behind an id.

    Raises:
        ValueError: No photo has this id.
    """
    if id not in own():
        return _bundled(id)
    mine = own()[id]
    return _open(mine.data, mine.name, mine.sha256)


def _room(pixels: int) -> LRUCache[tuple[str, str], Photo]:
    """Keeps the photos opened last, so many pixels of them; the latest whatever its size."""
    return LRUCache(pixels, lambda photo: min(math.prod(photo.size), pixels))


_opened = _room(MAX_OPEN_PIXELS)
_book, _decoding = threading.Lock(), threading.Lock()


def _open(data: bytes, name: str, sha256: str) -> Photo:
    """The photo in a file's bytes: one of the latest that were opened, or opened anew.

    One at a time, whoever asks: a photo of 50 million pixels takes 600 MB while it is decoded.
    """
    key = (sha256, name)
    if (found := _found(key)) is not None:
        return found
    with _decoding:
        if (found := _found(key)) is not None:  # another reader's, meanwhile
            return found
        made = load_image(data, name=name)
        with _book:
            _opened[key] = made
    return made


def _found(key: tuple[str, str]) -> Photo | None:
    with _book:
        return _opened.get(key)


def take(uploads: Iterable[Any]) -> tuple[bool, list[tuple[str, ImageError]]]:
    """Open what was dropped, keep what can be used and show the last one; say why the rest cannot.

    Args:
        uploads: Streamlit's uploaded files; those seen before are not opened again.

    Returns:
        Whether a photo was added, and (file name, reason) of each upload that was refused, now or before.
    """
    seen: dict[str, ImageError | str] = st.session_state.setdefault(_SEEN, {})  # why not, or its id
    added, refused = False, []
    for upload in uploads:
        mark, name = _mark(upload), str(getattr(upload, "name", ""))
        if mark not in seen:
            try:
                seen[mark] = _keep(upload, name)
                added = True
            except ImageError as error:
                seen[mark] = error
        reason = seen[mark]
        if isinstance(reason, ImageError):
            refused.append((name, reason))
    return added, refused


def made_room(uploads: Iterable[Any]) -> list[str]:
    """The names of uploads that were opened and are no longer kept: later ones needed their place."""
    seen, mine = st.session_state.get(_SEEN, {}), own()
    ids = {str(getattr(upload, "name", "")): seen.get(_mark(upload)) for upload in uploads}
    return [name for name, id in ids.items() if isinstance(id, str) and id not in mine]


def _mark(upload: Any) -> str:
    """What tells one upload from another."""
    return str(getattr(upload, "file_id", id(upload)))


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


def _keep(upload: Any, name: str) -> str:
    """Open one of the reader's own, keep it and show it.

    Returns:
        Its id.
    """
    if upload.size > MAX_BYTES:
        raise ImageError("too_many_bytes", megabytes=f"{upload.size / 2**20:.0f}", limit=MAX_BYTES // 2**20)
    data, mine = upload.getvalue(), own()
    opened = _open(data, name, hashlib.sha256(data).hexdigest())
    key = OWN + opened.sha256[:10]
    mine.pop(key, None)
    mine[key] = Own(opened.name, data, opened.sha256, thumbnail(opened.image, THUMBNAIL))
    while len(mine) > MAX_OWN or sum(len(one.data) for one in mine.values()) > MAX_OWN_BYTES:
        del mine[next(iter(mine))]
    change(photo=key)
    return key


@lru_cache(maxsize=32)
def _bundled(id: str) -> Photo:
    """A photo of the gallery, opened once a process."""
    entry = sample(id)
    return load_image(entry.path)


def photo_code(id: str) -> str:
    """How the shown code names a photo."""
    return '"your-photo.jpg"' if id.startswith(OWN) else f'sample("{id}").path'
