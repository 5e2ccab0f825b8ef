"""Measures of the attention of timm's models, from a trace and its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cfviz import point_names
from cfviz.analysis.attention_measures import HeadMeasures, head_measures
from cfviz.analysis.rollout import Paths, rollout_of
from cfviz.models.others.reading import family_of
from cfviz.trace import Trace


def heads(trace: Trace) -> Iterator[tuple[int, int, HeadMeasures]]:
    """Measure the heads of every block whose attention a trace of `inspect` keeps.

    Yields:
        Stage and block from 0, and the measures of its heads.
    """
    for s, stage in enumerate(trace.schemes):
        for b, scheme in enumerate(stage):
            content, bias, probs = (
                trace.arrays.get(point_names.attention(s, b, point)) for point in ("content", "bias", "probs")
            )
            if probs is not None:
                yield s, b, head_measures(probs, scheme, trace.strides[s], content, bias)


def rollout(trace: Trace, model: Any, stage: int, block: int, row: int, col: int) -> Paths:
    """Trace the attention of a token after a block back to the tokens of the first stage, mean over heads.

    Defined where nothing but attention and the layers between stages moves tokens: Swin, Swin V2 and ViT. A
    shortcut counts half, the tokens that a merging layer joins count by |w|. Patches are embedded one by one.

    Args:
        trace: Of `inspect`, with `probs` of all blocks up to this one.
        model: The model of the trace.
        stage: From 0.
        block: From 0.
        row: The token's row, from 0.
        col: The token's column, from 0.

    Raises:
        ValueError: If rollout is not defined for the model's family, there is no such token or block, or the
            attention was not watched.
    """
    taps = family_of(model).merging(model)
    trace.scheme(stage, block)
    return rollout_of(
        trace.schemes, lambda s, b: trace[point_names.attention(s, b)], taps, stage, block, row, col
    )
