"""The photos on offer: the bundled gallery and the reader's own uploads (kept in memory only).

A reader's photos are kept as the uploaded bytes, limited in number and size, for as long as Streamlit keeps
one of the sessions of the reader's browser: two minutes after its last page is closed. A reload begins a
session and finds them again; no other browser does. The photos that all readers together opened most recently
are also kept decoded, up to a limit of pixels.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import streamlit as st
from cachetools import LRUCache
from PIL import Image

from cfviz.data.decode import Photo, load_image
from cfviz.data.header import ImageError
from cfviz.data.samples import PREFIX, gallery, sample
from cfviz.figures.uris import data_uri, thumbnail

from . import budget, queue, reader
from .state import OWN, Settings, change, stored

MAX_OWN, MAX_OWN_BYTES = 24, 128 * 2**20  # one reader's own photos; the oldest are dropped first
MAX_BYTES = 40 * 2**20  # per photo; the browser is told the limit too, but cannot be trusted to obey it
MAX_OPEN_PIXELS = 100_000_000  # of all readers together: 300 MB
WHOLE = 480  # pixels of the longer side
_OWN, _SEEN, _SHELF = "cfviz.own", "cfviz.seen", "cfviz.shelf"


def ids() -> list[str]:
    """The ids of all photos on offer, the reader's own last."""
    return [entry.id for entry in gallery()] + list(own())


@dataclass(frozen=True)
class Own:
    """One of the reader's own photos: a file known to open, because it was opened once.

    Attributes:
        name: The file's name.
        data: The file's bytes.
        sha256: The SHA-256 of the bytes.
        thumbnail: A data URI.
        size: Width and height in pixels, upright.
        whole: The whole photo, small, as a data URI.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    thumbnail: str = field(repr=False)
    size: tuple[int, int]
    whole: str = field(repr=False)


class Shelf:
    """The photos of one browser, held by its sessions alone, so that they go with the last of these.

    Attributes:
        photos: By id, oldest first; replaced as a whole, since several sessions may use it.
    """

    def __init__(self) -> None:
        self.photos: dict[str, Own] = {}


_shelves: WeakValueDictionary[str, Shelf] = WeakValueDictionary()


def _shelf() -> Shelf:
    """The shelf of the browser that this session belongs to."""
    if _SHELF not in st.session_state:
        with _lock:
            st.session_state[_SHELF] = _shelves.setdefault(reader.browser(), Shelf())
    found: Shelf = st.session_state[_SHELF]
    return found


def own() -> dict[str, Own]:
    """The reader's own photos by id, oldest first; a new session begins with those of its browser."""
    if _OWN not in st.session_state:
        st.session_state[_OWN] = dict(_shelf().photos)
    found: dict[str, Own] = st.session_state[_OWN]
    return found


def forget() -> None:
    """Drop the reader's own photos: those of this session, and what a reload would bring back."""
    _shelf().photos = {}
    st.session_state[_OWN] = {}
    if stored().photo.startswith(OWN):
        change(photo=Settings.photo)


def _fit(several: dict[str, Own]) -> dict[str, Own]:
    """The photos without the oldest ones that exceed what one reader may keep."""
    kept = dict(several)
    while len(kept) > MAX_OWN or sum(len(one.data) for one in kept.values()) > MAX_OWN_BYTES:
        del kept[next(iter(kept))]
    return kept


def photo(id: str) -> Photo:
    """The opened photo with an id.

    Raises:
        ValueError: If no photo has this id.
    """
    if id not in own():
        return bundled(id)
    mine = own()[id]
    return _open(mine.data, mine.name, mine.sha256)


def size_of(id: str) -> tuple[int, int]:
    """Width and height of a photo in pixels, without opening it.

    Raises:
        ValueError: If no photo has this id.
    """
    return own()[id].size if id in own() else sample(id).size


def whole(id: str) -> str:
    """The whole photo, small, as a data URI."""
    return own()[id].whole if id in own() else _bundled_whole(id)


@lru_cache(maxsize=32)
def _bundled_whole(id: str) -> str:
    return _whole(bundled(id))


def _whole(photo: Photo) -> str:
    small = photo.image.copy()
    small.thumbnail((WHOLE, WHOLE), Image.Resampling.BICUBIC)
    return data_uri(small, "JPEG", quality=82)  # every new photo waits for it: a quarter of WebP's time


def _room(pixels: int) -> LRUCache[tuple[str, str], Photo]:
    """A cache of the last opened photos, limited in pixels; the latest is kept regardless of size."""
    return LRUCache(pixels, lambda photo: min(math.prod(photo.size), pixels))


_opened = _room(MAX_OPEN_PIXELS)
_lock = threading.Lock()


def _open(data: bytes, name: str, sha256: str) -> Photo:
    """The photo in a file's bytes, from the cache of recently opened ones or newly opened.

    Only one photo is decoded at a time, for all readers: 50 million pixels take 600 MB during decoding. A
    photo waits in the queue for computing, in which a reader with many of them keeps nobody else waiting.
    """
    key = (sha256, name)
    if (found := _found(key)) is not None:
        return found
    with queue.turn("photo", name):
        if (found := _found(key)) is not None:  # opened for another reader in the meantime
            return found
        made = load_image(data, name=name)
        with _lock:
            _opened[key] = made
    return made


def _found(key: tuple[str, str]) -> Photo | None:
    with _lock:
        return _opened.get(key)


def take(uploads: Iterable[Any]) -> tuple[bool, list[tuple[str, ImageError]]]:
    """Open the uploads, keep the usable ones and show the last; return the reason each other was refused.

    Args:
        uploads: Streamlit's uploaded files; files seen before are not opened again.

    Returns:
        Whether a photo was added, and (file name, reason) of each upload that was refused, now or before.
    """
    seen: dict[str, ImageError | str] = st.session_state.setdefault(_SEEN, {})  # reason, or the id
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
    """The names of uploads that were dropped again to make room for later ones."""
    seen, mine = st.session_state.get(_SEEN, {}), own()
    ids = {str(getattr(upload, "name", "")): seen.get(_mark(upload)) for upload in uploads}
    return [name for name, id in ids.items() if isinstance(id, str) and id not in mine]


def _mark(upload: Any) -> str:
    """A key that identifies an upload."""
    return str(getattr(upload, "file_id", id(upload)))


@lru_cache(maxsize=1)
def gallery_thumbnails() -> dict[str, str]:
    """Data URIs of the gallery's thumbnails by id."""
    return {entry.id: thumbnail(bundled(entry.id).image) for entry in gallery()}


def _keep(upload: Any, name: str) -> str:
    """Open one of the reader's own photos, keep it and show it.

    Returns:
        The photo's id.
    """
    if upload.size > MAX_BYTES:
        raise ImageError("too_many_bytes", megabytes=f"{upload.size / 2**20:.0f}", limit=MAX_BYTES // 2**20)
    data, mine = upload.getvalue(), dict(own())
    opened = _open(data, name, hashlib.sha256(data).hexdigest())
    key = OWN + opened.sha256[:10]
    mine.pop(key, None)
    small = thumbnail(opened.image)
    mine[key] = Own(opened.name, data, opened.sha256, small, opened.size, _whole(opened))
    budget.shared().hold(mine[key], len(data), strict=False)  # it passed the gate as an upload
    st.session_state[_OWN] = _fit(mine)
    shelf = _shelf()
    with _lock:
        shelf.photos = _fit(shelf.photos | st.session_state[_OWN])
    change(photo=key)
    return key


@lru_cache(maxsize=32)
def bundled(id: str) -> Photo:
    """A photo of the gallery, opened once per process and known to any thread."""
    entry = sample(id)
    return load_image(entry.path)


def named(id: str) -> str:
    """What `load_image` takes for a photo, in the shown code."""
    return '"your-photo.jpg"' if id.startswith(OWN) else f'"{PREFIX}{id}"'


def photo_code(id: str) -> str:
    """The name of a photo in the shown code."""
    return '"your-photo.jpg"' if id.startswith(OWN) else f'sample("{id}").path'
