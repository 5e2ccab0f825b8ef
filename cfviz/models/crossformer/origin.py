"""The origin of a model's weights, valid as long as nobody has changed them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from torch import nn

from cfviz.provenance import Note, Provenance


class WithProvenance(nn.Module):
    """A module that records where its weights come from: random at first, until weights are loaded.

    A checksum of every parameter is kept and compared on every request, because a write through `.data`
    leaves no other trace. Weights that differ from those recorded are of unknown origin: neither random nor
    the earlier ones.
    """

    __jit_unused_properties__ = ("provenance",)
    _provenance: Provenance
    _checksums: tuple[int, ...]

    @property
    def provenance(self) -> Provenance:
        """The origin of the weights."""
        return self._checked()[0]

    @provenance.setter
    def provenance(self, value: Provenance) -> None:
        self._provenance, self._checksums = value, _checksums(self)

    def _checked(self) -> tuple[Provenance, tuple[int, ...]]:
        """Return the origin of the present weights, and their checksums."""
        told, found = self._provenance, _checksums(self)
        if found == self._checksums or told.source == "unknown":
            return told, found
        notes = () if told.source == "random" else (Note.of("changed", source=told.source),)
        return replace(Provenance.unknown(), notes=notes), found

    def __getstate__(self) -> dict[str, Any]:
        """State for copies and pickles, with the origin of the weights that are copied."""
        told, found = self._checked()
        return {**self.__dict__, "_provenance": told, "_checksums": found}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move a model or change its number format; the latter leaves the recorded origin in place."""
        told, before = self.provenance, [p.dtype for p in self.parameters()]
        super()._apply(fn, recurse)
        if [p.dtype for p in self.parameters()] != before:
            self.provenance = told
        return self


def recorded(model: Any) -> Provenance:
    """Return the recorded origin without checking the weights, for callers that never write to a model."""
    told: Provenance | None = getattr(model, "_provenance", None)
    return model.provenance if told is None else told


def with_new_head(told: Provenance, num_classes: int) -> Provenance:
    """Adapt a provenance to a model with a new, untrained classifier, or with none."""
    if told.source == "random":
        return told
    known = [note for note in told.notes if note.code != "new_head"]
    notes = (*known, Note.of("new_head")) if num_classes else tuple(known)
    return replace(told, dataset=None, classes=None, notes=notes)


def _checksums(module: nn.Module) -> tuple[int, ...]:
    return tuple(map(_checksum, module.parameters()))


def _checksum(p: torch.Tensor) -> int:
    """Return the CRC-32 of a parameter's numbers; 0 if it has none (fake, or on the "meta" device).

    The checksum detects any change of a single number, and misses one in four billion larger changes.
    """
    if type(p) is not nn.Parameter or p.is_meta:
        return 0
    return zlib.crc32(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
