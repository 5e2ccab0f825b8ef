"""The message of a living figure: one block of bytes, a JSON header and the arrays that it names.

    arrays = Arrays()
    header = {"name": name, "photo": arrays.picture(photo), "codes": arrays.array(codes)}
    pack(header, arrays, strings=figure_words("attention", lang), start={"row": 12, "col": 30}).data

The bytes: a uint32 with the length of the header (little endian), the header padded with spaces so that what
follows begins at a multiple of 8, then the arrays, each at a multiple of 8 bytes. In the header an array is
`{"at", "bytes", "type"}`: `at` counts from the end of the header, `type` is a NumPy name, image/png
or image/jpeg. `cfviz/web/shared/payload.js` reads it.

Each figure decides what is in its header, except for these entries, which `pack` adds:

    id        changes with everything but `start`
    palette   {"sda", "lda", "sequential": [hex], "light": {css name: value}, "dark": {…}}
    strings   the figure's words
    start     where the figure starts

By convention, Python uses `name` to move the figure to a place.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Any, Self

import numpy as np
from PIL import Image

from cfviz import web
from cfviz.figures import theme
from cfviz.geometry import Grouping

__all__ = ["Arrays", "Message", "digest_of", "opened", "original", "pack"]


class Arrays:
    """The arrays of a message; each method returns the entry for its array in the header."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, raw: bytes, kind: str) -> dict[str, Any]:
        """Append bytes of a type that the browser can read."""
        at, pad = self.size, -len(raw) % 8
        self.parts += [raw, b"\0" * pad]
        self.size += len(raw) + pad
        return {"at": at, "bytes": len(raw), "type": kind}

    def array(self, values: np.ndarray) -> dict[str, Any]:
        """Append numbers in their own type, little endian."""
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        return self.add(little.tobytes(), values.dtype.name)

    def picture(self, photo: Image.Image) -> dict[str, Any]:
        """Append a photo as PNG: what `digest_of` says of it, its width, its height and its file."""
        out = io.BytesIO()
        photo.convert("RGB").save(out, "PNG", compress_level=1)  # three times as fast, a fifth larger
        size = {"of": digest_of(photo), "w": photo.width, "h": photo.height}
        return size | {"file": self.add(out.getvalue(), "image/png")}

    def grouping(self, groups: Grouping) -> dict[str, Any]:
        """Append how a block cuts its map: `kind`, sizes, and `index` uint16 or uint32 (nG, N)."""
        small = np.uint16 if groups.Hp * groups.Wp <= 65536 else np.uint32
        names = ("kind", "H", "W", "Gh", "Gw", "I", "Hp", "Wp", "nG")
        sizes = {name: getattr(groups, name) for name in names}
        return sizes | {"index": self.array(groups.index.astype(small))}


@dataclass(frozen=True)
class Message:
    """A message for a living figure.

    Attributes:
        header: The header without the starting point.
        body: The arrays.
        start: Where the figure begins.
    """

    header: Mapping[str, Any]
    body: bytes
    start: Mapping[str, Any]

    @cached_property
    def data(self) -> bytes:
        """The message as bytes."""
        text = json.dumps({**self.header, "start": dict(self.start)}, ensure_ascii=False).encode()
        text += b" " * (-(len(text) + 4) % 8)
        return struct.pack("<I", len(text)) + text + self.body

    def at(self, start: Mapping[str, Any], strings: Mapping[str, str] | None = None) -> Self:
        """The same message with another starting point, or in another language."""
        header = dict(self.header)
        if strings is not None and header["strings"] != strings:
            header["strings"] = dict(strings)
            header["id"] = _digest(header, self.body)
        return replace(self, header=header, start=dict(start))


def pack(
    header: Mapping[str, Any],
    arrays: Arrays,
    *,
    strings: Mapping[str, str],
    start: Mapping[str, Any] | None = None,
    colours: Mapping[str, Any] | None = None,
) -> Message:
    """Make a message from a header and its arrays.

    Args:
        header: The figure's data, with the entries that `arrays` returned.
        arrays: The arrays behind those entries.
        strings: The figure's words, from `cfviz.words.figure_words`.
        start: Where the figure begins.
        colours: Colours for this figure only, in addition to the shared ones.
    """
    body = b"".join(arrays.parts)
    full = {**header, "palette": {**_palette(), **(colours or {})}, "strings": dict(strings)}
    return Message(full | {"id": _digest(full, body)}, body, dict(start or {}))


def digest_of(photo: Image.Image) -> str:
    """Tells the pixels of one input from those of all others."""
    return hashlib.sha256(repr(photo.size).encode() + photo.convert("RGB").tobytes()).hexdigest()[:16]


def original(seen: Image.Image, sharp: Image.Image) -> bytes:
    """The part of the original photo that an input shows, for all figures that show the input.

    The header has two entries: `of`, the `digest_of` the input, and `file`, a JPEG.

    Args:
        seen: The pixels of the input.
        sharp: The same part of the original.
    """
    out, arrays = io.BytesIO(), Arrays()
    sharp.convert("RGB").save(out, "JPEG", quality=90, subsampling=0)
    header = {"of": digest_of(seen), "file": arrays.add(out.getvalue(), "image/jpeg")}
    return Message(header, b"".join(arrays.parts), {}).data


def opened(data: bytes) -> Message:
    """The message in some bytes, to begin elsewhere or in another language: `opened(data).at(start).data`."""
    (size,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + size])
    start = header.pop("start")
    return Message(header, data[4 + size :], start)


def _palette() -> dict[str, Any]:
    """The colours that all figures share, in both themes."""
    shared = {"sda": theme.SDA, "lda": theme.LDA, "sequential": list(theme.SEQUENTIAL)}
    return shared | {"light": theme.LIGHT.css(), "dark": theme.DARK.css()}


def _digest(header: Mapping[str, Any], body: bytes) -> str:
    """Changes with everything but the starting point."""
    seen = json.dumps({k: v for k, v in header.items() if k != "id"}, sort_keys=True).encode()
    return hashlib.sha256(seen + body).hexdigest()[:16]


def offline_page(
    figure: web.Figure, messages: Sequence[bytes], title: str, lang: str, texts: Sequence[str] = ()
) -> str:
    """A page that works from a file, offline, and asks for nothing elsewhere.

    Args:
        figure: The figure.
        messages: The figure's message, and those that follow it.
        title: The page's title; it stands above the figure if there are texts.
        lang: "en" or "zh-Hant".
        texts: Below the figure, each as it is, line breaks included.
    """
    blanks = {
        "TITLE": escape(title),
        "LANG": escape(lang),
        "STYLE": figure.style,
        "ABOVE": f"<h1>{escape(title)}</h1>\n" if texts else "",
        "HOST": figure.host,
        "FIGURE": figure.alone(*messages),
        "BELOW": "".join(f"<pre>{escape(text)}</pre>\n" for text in texts),
    }
    return web.filled(web.text("offline.html"), blanks)


def in_a_frame(page: str, title: str, height: int = 900) -> str:
    """An offline page in a frame, for a notebook cell.

    Each frame has a copy of the figure's code, 0.1 of the 5 MB of a photo's attention: a sandboxed frame
    shares nothing with the notebook or with other frames.

    Args:
        page: From `offline_page`.
        title: What a screen reader says.
        height: In pixels.
    """
    frame = (
        f'<iframe title="{escape(title)}" srcdoc="{escape(page)}" '
        f'sandbox="allow-scripts allow-downloads" style="width:100%;height:{height}px;border:0"></iframe>'
    )
    # Whatever the notebook's encoding. References in an attribute are resolved before the page is read; in a
    # script of the page they would not be.
    return frame.encode("ascii", "xmlcharrefreplace").decode()


class Cell(ABC):
    """A result that a notebook shows as its living figure, and that `page` writes as a file."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What a screen reader calls the figure."""

    @abstractmethod
    def page(self, lang: str = "en") -> str:
        """Return the figure as a page that works from a file, offline.

        Args:
            lang: "en" or "zh-Hant".
        """

    def _repr_html_(self) -> str:
        return in_a_frame(self.page(), self.title)
