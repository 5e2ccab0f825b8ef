"""The origin of a model's weights, valid as long as nobody has changed them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Self, TypeVar

import torch
from torch import nn

from cfviz.provenance import Note, Provenance

AnyModel = TypeVar("AnyModel", bound=nn.Module)


class WithProvenance(nn.Module):
    """A module that records where its weights come from: random at first, until weights are loaded.

    A checksum of every parameter is kept and compared on every request, because a write through `.data`
    leaves no other trace. Weights that differ from those recorded are of unknown origin: neither random nor
    the earlier ones. Equal numbers in another number format are the same weights.
    """

    __jit_unused_properties__ = ("provenance",)
    _provenance: Provenance
    _checksums: tuple[int, ...]
    _settled = False

    @property
    def provenance(self) -> Provenance:
        """The origin of the weights."""
        return self._checked()[0]

    @provenance.setter
    def provenance(self, value: Provenance) -> None:
        self._provenance, self._checksums = value, _checksums(self)

    def _checked(self) -> tuple[Provenance, tuple[int, ...]]:
        """Return the origin of the present weights, and their checksums."""
        if self._settled:
            return self._provenance, self._checksums
        told, found = self._provenance, _checksums(self)
        if found == self._checksums or told.source == "unknown":
            return told, found
        notes = () if told.source == "random" else (Note.of("changed", source=told.source),)
        return replace(Provenance.unknown(), notes=notes), found

    def __getstate__(self) -> dict[str, Any]:
        """State for copies and pickles, with the origin of the weights that are copied."""
        told, found = self._checked()
        return {**self.__dict__, "_provenance": told, "_checksums": found, "_settled": False}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move a model or change its number format; the latter leaves the recorded origin in place."""
        told, before = self.provenance, [p.dtype for p in self.parameters()]
        super()._apply(fn, recurse)
        if [p.dtype for p in self.parameters()] != before:
            self.provenance = told
        return self


def settled(model: AnyModel) -> AnyModel:
    """Take the recorded origin of a model as valid from now on: its holder shares it and never writes to it.

    A copy is checked again. The checksums of a large model take as long as a forward, and a page asks ten
    times.
    """
    origin: Any = model
    if isinstance(model, WithProvenance) and not origin._settled:
        origin.provenance = origin.provenance  # as it is now
        origin._settled = True
    return model


def recorded(model: Any) -> Provenance:
    """Return the recorded origin without checking the weights, for callers that never write to a model."""
    told: Provenance | None = getattr(model, "_provenance", None)
    return model.provenance if told is None else told


def weights_id(model: Any, told: Provenance | None = None) -> str:
    """Return what tells a model's weights from all others, for what is computed from them and kept.

    It is the SHA-256 of their file; of random or changed weights, a checksum of the numbers.

    Args:
        model: A `WithProvenance`.
        told: Its origin, where that has been asked for already: the answer takes as long as a forward.
    """
    known = (told or model.provenance).sha256
    return known or f"checksum {hashlib.sha256(repr(model._checked()[1]).encode()).hexdigest()}"


def with_new_head(told: Provenance, num_classes: int) -> Provenance:
    """Adapt a provenance to a model with a new, untrained classifier, or with none."""
    if told.source == "random":
        return told
    known = [note for note in told.notes if note.code != "new_head"]
    notes = (*known, Note.of("new_head")) if num_classes else tuple(known)
    return replace(told, dataset=None, classes=None, notes=notes)


_WIDTH = 1024  # numbers in a row; each column and each row has a factor


def _checksums(module: nn.Module) -> tuple[int, ...]:
    """Return a checksum of every parameter's numbers, in any number format; 0 for one that has none.

    They are computed on the parameters' device, and brought over together: every transfer would wait for the
    device. A parameter without numbers is fake, or on the "meta" device.
    """
    factors = cache(_factors)  # for this call alone: what a tracer computes is not to be kept
    real = [type(p) is nn.Parameter and not p.is_meta for p in module.parameters()]
    found = [_checksum(p, factors) if on else None for p, on in zip(module.parameters(), real, strict=True)]
    there = [sum_ for sum_ in found if sum_ is not None]
    devices = dict.fromkeys(sum_.device for sum_ in there)
    numbers = {d: iter(torch.stack([s for s in there if s.device == d]).tolist()) for d in devices}
    return tuple(0 if sum_ is None else next(numbers[sum_.device]) for sum_ in found)


@torch.no_grad()
def _checksum(p: torch.Tensor, factors: Callable[[int, torch.device], torch.Tensor]) -> torch.Tensor:
    """Return the sum of a parameter's bits times odd factors, modulo 2^64, on its device.

    Any change of a single number changes the sum, since an odd factor can be undone; of larger changes, it
    misses about one in 2^64.
    """
    numbers = p.detach()
    exact = numbers.float()
    bits = exact.contiguous().flatten().view(torch.int32)
    if p.dtype == torch.float64 and not torch.equal(exact.double(), numbers):
        bits = numbers.contiguous().flatten().view(torch.int32)
    rows = nn.functional.pad(bits, (0, -len(bits) % _WIDTH)).view(-1, _WIDTH)
    columns = (rows * factors(_WIDTH, bits.device)).sum(1)  # int64
    return (columns * factors(len(rows), bits.device)).sum() + len(bits)


def _factors(count: int, device: torch.device) -> torch.Tensor:
    """Return odd numbers that look random, as int64."""
    mixed = torch.arange(1, count + 1, device=device) * -0x61C8864680B583EB
    return (mixed ^ (mixed >> 29)) * 0x3F58476D1CE4E5B9 | 1
