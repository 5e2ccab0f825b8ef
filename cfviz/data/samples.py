"""The bundled photos and who is to thank for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cfviz.bundled import ASSETS

GALLERY = ASSETS / "gallery"
PREFIX = "gallery:"  # before the id of a bundled photo, where a path may stand


@dataclass(frozen=True)
class Sample:
    """One photo of the gallery.

    Attributes:
        id: Short neutral name, safe in a URL.
        path: The JPEG file.
        author: Who made the photo.
        license: An SPDX identifier, or "Public Domain".
        source: The page the photo comes from; None where only its package tells.
        licence_stated_in: The package and file that state the licence.
        size: Width and height, pixels.
    """

    id: str
    path: Path
    author: str
    license: str
    source: str | None
    licence_stated_in: str
    size: tuple[int, int]

    @property
    def typed(self) -> str:
        """The photo as one types it, in Python or on the command line, in any folder."""
        return f"{PREFIX}{self.id}"

    @property
    def title_key(self) -> str:
        """Key of the title in the translation catalogues."""
        return f"gallery.{self.id}"


@lru_cache(maxsize=1)
def _gallery() -> tuple[Sample, ...]:
    entries = json.loads((GALLERY / "CREDITS.json").read_text(encoding="utf-8"))
    return tuple(
        Sample(
            id=entry["id"],
            path=GALLERY / entry["file"],
            author=entry["author"],
            license=entry["license"],
            source=entry["source"],
            licence_stated_in=entry["licence_stated_in"],
            size=(entry["size"][0], entry["size"][1]),
        )
        for entry in entries
    )


def gallery() -> list[Sample]:
    """The 16 bundled photos, in the order to show them; the 20-class model knows the first one's subject."""
    return list(_gallery())


def sample(id: str) -> Sample:
    """One photo of the gallery by its id.

    Raises:
        ValueError: No photo has this id.
    """
    for entry in _gallery():
        if entry.id == id:
            return entry
    raise ValueError(f"no photo {id!r} in the gallery; there are {', '.join(s.id for s in _gallery())}")
