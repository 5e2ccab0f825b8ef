"""Where the weights of a model come from, as long as nobody has changed them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from cfviz.provenance import Note, Provenance


class WithProvenance(nn.Module):
    """A module that says where its weights come from: random ones when it is made, until something is loaded.

    PyTorch counts the changes of every parameter. Weights that were loaded, trained or written to since their
    origin was recorded are of unknown origin: neither random nor what was there before.
    """

    __jit_unused_properties__ = ("provenance",)
    _provenance: Provenance
    _changes: int | None

    @property
    def provenance(self) -> Provenance:
        """Where the weights come from."""
        told = self._provenance
        if self._changes is None:  # a copy: what it was copied from knew what it said
            self._changes = _changes(self)
        if self._changes == _changes(self):
            return told
        notes = () if told.source in ("random", "unknown") else (Note.of("changed", source=told.source),)
        return replace(Provenance.unknown(), notes=notes)

    @provenance.setter
    def provenance(self, value: Provenance) -> None:
        self._provenance, self._changes = value, _changes(self)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, whose parameters are counted anew."""
        return {**self.__dict__, "_provenance": self.provenance, "_changes": None}


def with_new_head(told: Provenance, num_classes: int) -> Provenance:
    """The same for a model that was given an untrained classifier, or none."""
    if told.source == "random":
        return told
    known = [note for note in told.notes if note.code != "new_head"]
    notes = (*known, Note.of("new_head")) if num_classes else tuple(known)
    return replace(told, dataset=None, classes=None, notes=notes)


def _changes(module: nn.Module) -> int:
    """How often parameters were written to; neither moving them nor another number format counts."""
    return sum(0 if p.is_inference() else p._version for p in module.parameters())
