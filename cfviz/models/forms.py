"""One model with another form of long distance attention, on the same weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from cfviz.geometry import Lda
from cfviz.provenance import Provenance

from .crossformer import CrossFormer

IMPLIED = "whole_map"  # the note on weights that imply "whole"


def in_form(model: CrossFormer, lda: Lda) -> CrossFormer:
    """Return a model with this form of long distance attention: a copy that shares the weights, or itself."""
    if model.lda == lda:
        return model
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    other = deepcopy(model, shared)
    other.set_grouping(lda=lda)
    other.provenance = chosen_by_hand(other.provenance)
    return other


def chosen_by_hand(told: Provenance) -> Provenance:
    """Adapt a provenance to a form that the weights do not imply: the note that they do no longer holds."""
    return replace(told, notes=tuple(note for note in told.notes if note.code != IMPLIED))
