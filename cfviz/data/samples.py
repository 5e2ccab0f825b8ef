"""The bundled photos and their credits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cfviz.bundled import ASSETS
from cfviz.words import Translator

GALLERY = ASSETS / "gallery"
PREFIX = "gallery:"  # before the id of a bundled photo, wherever a path is accepted


@dataclass(frozen=True)
class Sample:
    """One photo of the gallery.

    Attributes:
        id: Short neutral name, safe in a URL.
        path: The JPEG file.
        author: The photographer.
        license: An SPDX identifier, or "Public Domain".
        source: The page the photo comes from; None if only the package records its origin.
        licence_stated_in: The package and file that state the licence.
        size: Width and height in pixels.
        shows: WordNet ids of all classes of ImageNet-1K that the photo shows; empty if it shows none.
    """

    id: str
    path: Path
    author: str
    license: str
    source: str | None
    licence_stated_in: str
    size: tuple[int, int]
    shows: tuple[str, ...]

    @property
    def typed(self) -> str:
        """The name to type for the photo in Python or on the command line, in any folder."""
        return f"{PREFIX}{self.id}"

    @property
    def title_key(self) -> str:
        """Key of the photo's title in the translation catalogues."""
        return f"gallery.{self.id}"

    def credit(self, t: Translator) -> str:
        """One line of Markdown that credits the photographer."""
        licence = f"[{self.license}]({self.source})" if self.source else self.license
        return t("common.credit", author=self.author, licence=licence)


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
            shows=tuple(entry["shows"]),
        )
        for entry in entries
    )


@lru_cache(maxsize=1)
def by_digest() -> dict[str, Sample]:
    """The gallery's photos by the SHA-256 of their files."""
    return {hashlib.sha256(entry.path.read_bytes()).hexdigest(): entry for entry in _gallery()}


def gallery() -> list[Sample]:
    """The 16 bundled photos, in display order; the 20-class model knows the subject of the first two."""
    return list(_gallery())


def recognised(sha256: str) -> Sample | None:
    """The gallery photo whose file has this SHA-256, or None."""
    return by_digest().get(sha256)


def sample(id: str) -> Sample:
    """The gallery photo with the given id.

    Raises:
        ValueError: If no photo has this id.
    """
    for entry in _gallery():
        if entry.id == id:
            return entry
    raise ValueError(f"no photo {id!r} in the gallery; there are {', '.join(s.id for s in _gallery())}")
