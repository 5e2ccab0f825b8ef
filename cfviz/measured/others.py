"""Measures of the attention of timm's models, from a trace and its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cfviz import point_names
from cfviz.analysis.attention_measures import HeadMeasures, head_measures
from cfviz.analysis.rollout import Paths, rollout_of
from cfviz.figures.plots.lab import head_name
from cfviz.models.others.ablation import Part
from cfviz.models.others.reading import family_of
from cfviz.trace import Trace
from cfviz.words import translator


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


def part_name(part: Part, lang: str) -> str:
    """Name a part that can be switched off, in the reader's language: "1.2 head 3", "all shifts"."""
    t = translator(lang)
    if part.stage is None:
        return t(f"attention.others_off_all_{part.kind}")
    words = {f"part_{kind}": t(f"lab.part_{kind}", n="{n}") for kind in ("head", "bias")}
    words["part_shift"] = t("attention.others_off_shift")
    return head_name(words, part.kind, part.stage, part.block, part.index)
