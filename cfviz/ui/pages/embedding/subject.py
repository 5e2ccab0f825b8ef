"""The subject of the cross-scale embedding page: the chosen model on the chosen photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cfviz import point_names
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.embedding import Layer, layer
from cfviz.trace import Trace
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context

STAGES = range(4)
WATCH = (*point_names.embeddings(), point_names.embedding(0, "out"))


@dataclass(frozen=True)
class EmbeddingSubject:
    """The page's subject.

    Attributes:
        model: The model.
        trace: The model's prediction, with the outputs of the embedding layers and the blocks.
        image: The model's input, (3, H, W).
        layers: The model's four embedding layers as arrays.
        weights: A cache key of model, number format and device.
        source: The same with photo and size.
    """

    model: CrossFormer
    trace: Trace
    image: Any
    layers: tuple[Layer, ...]
    weights: str
    source: str

    def concat(self, stage: int) -> np.ndarray:
        """The tokens a layer produced, before any LayerNorm, (H, W, C)."""
        return self.trace[point_names.embedding(stage)]


def outputs(model: CrossFormer) -> tuple[str, ...]:
    """The points that hold the four stages' finished maps."""
    return point_names.stage_outputs(model.depths)


def subject_of(ctx: Context) -> EmbeddingSubject:
    """The chosen model on the chosen photo."""
    s, trace = ctx.settings, ctx.trace(*WATCH, *outputs(ctx.model))
    weights, source = keys.weights(s, ctx.model), keys.on_photo(s, ctx.model, ctx.photo)
    return EmbeddingSubject(
        ctx.model, trace, ctx.prepared.tensor, _layers(weights, ctx.model), weights, source
    )


@cached(6)
def _layers(weights: str, _model: CrossFormer) -> tuple[Layer, ...]:
    return tuple(layer(_model, stage) for stage in STAGES)
