"""Where the weights of a model come from, as long as nobody has changed them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from torch import nn

from cfviz.provenance import Note, Provenance


class WithProvenance(nn.Module):
    """A module that says where its weights come from: random ones when it is made, until something is loaded.

    A checksum of every parameter is kept and compared when somebody asks, because a write through `.data`
    leaves no other trace. Weights that differ from those whose origin was recorded are of unknown origin:
    neither random nor what was there before.
    """

    __jit_unused_properties__ = ("provenance",)
    _provenance: Provenance
    _checksums: tuple[int, ...]

    @property
    def provenance(self) -> Provenance:
        """Where the weights come from."""
        return self._checked()[0]

    @provenance.setter
    def provenance(self, value: Provenance) -> None:
        self._provenance, self._checksums = value, _checksums(self)

    def _checked(self) -> tuple[Provenance, tuple[int, ...]]:
        """Where the weights that are there now come from, and their checksums."""
        told, found = self._provenance, _checksums(self)
        if found == self._checksums or told.source == "unknown":
            return told, found
        notes = () if told.source == "random" else (Note.of("changed", source=told.source),)
        return replace(Provenance.unknown(), notes=notes), found

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which say what is true of the weights that they were made of."""
        told, found = self._checked()
        return {**self.__dict__, "_provenance": told, "_checksums": found}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """What moves a model or gives it another number format; the latter is no change of origin."""
        told, before = self.provenance, [p.dtype for p in self.parameters()]
        super()._apply(fn, recurse)
        if [p.dtype for p in self.parameters()] != before:
            self.provenance = told
        return self


def recorded(model: Any) -> Provenance:
    """What was recorded of a model's weights, without a look at them: for whoever never writes to a model."""
    told: Provenance | None = getattr(model, "_provenance", None)
    return model.provenance if told is None else told


def with_new_head(told: Provenance, num_classes: int) -> Provenance:
    """The same for a model that was given an untrained classifier, or none."""
    if told.source == "random":
        return told
    known = [note for note in told.notes if note.code != "new_head"]
    notes = (*known, Note.of("new_head")) if num_classes else tuple(known)
    return replace(told, dataset=None, classes=None, notes=notes)


def _checksums(module: nn.Module) -> tuple[int, ...]:
    return tuple(map(_checksum, module.parameters()))


def _checksum(p: torch.Tensor) -> int:
    """The CRC-32 of the numbers: no change of a single one escapes it, of several one in four billion.

    Parameters that hold no numbers of their own (fake ones, those on the device "meta") have none.
    """
    if type(p) is not nn.Parameter or p.is_meta:
        return 0
    return zlib.crc32(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
