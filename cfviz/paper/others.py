"""The figures of timm's models: drawn from which query attends to which keys, and from what a trace holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cfviz import point_names
from cfviz.analysis.attention_measures import head_measures
from cfviz.analysis.position_bias import surface
from cfviz.analysis.reach import reach as reached
from cfviz.analysis.rollout import rollout_of
from cfviz.figures.live.attention_schemes import FAR, SHORT
from cfviz.figures.theme import LIGHT
from cfviz.geometry import Grouping
from cfviz.geometry.schemes import Scheme
from cfviz.trace import Trace
from cfviz.words import percent

from .panels import (
    MOST,
    Place,
    bias_panels,
    distance_curve,
    facts_line,
    head_panels,
    rollout_panel,
    run_line,
)
from .sheet import Sheet, fill, ring, show_photo


def draw(trace: Trace, kind: str, at: Place, width: str | float) -> Figure:
    """Draw one figure of a trace of a model of timm.

    Raises:
        ValueError: If these models have no such figure, or none in this block, the model has no such place,
            or the attention was not watched.
    """
    check_kind(kind, trace.model)
    at.check([len(stage) for stage in trace.schemes])
    return KINDS[kind](_fitted(trace, 0 if kind == "rollout" else at.stage), at, width)


def check_kind(kind: str, model: str) -> None:
    """Raise if models of timm have no such figure.

    Raises:
        ValueError: What it draws, and which figures there are.
    """
    if kind not in KINDS:
        raise ValueError(
            f"{kind!r} draws CrossFormer's embedding layers, which {model} has not; of it, "
            f"{', '.join(KINDS)} can be drawn"
        )


def _fitted(trace: Trace, stage: int) -> Trace:
    """The trace with as much of the input as the tokens of a stage stand for; white beyond the input."""
    scheme, stride = trace.schemes[stage][0], trace.strides[stage]
    wide, high = scheme.W * stride, scheme.H * stride
    if trace.crop is None or trace.crop.size == (wide, high):
        return trace
    whole = Image.new("RGB", (wide, high), "white")
    whole.paste(trace.crop.convert("RGB"))
    return replace(trace, crop=whole)


def _grouping(trace: Trace, at: Place, width: str | float) -> Figure:
    """What one query scores in the first two blocks of a stage, and what a mask hides from it."""
    both = list({one.name: one for one in trace.schemes[at.stage][:2]}.values())
    row, col = at.token(both[0])
    hidden = any(one.masked(row, col).any() for one in both)
    facts = (
        f"Coloured: the keys of token ({row}, {col})."
        + (" Grey: in its window, but hidden by the mask." if hidden else "")
        + f" Stage {at.stage + 1}; {run_line(trace)}"
    )
    sheet = Sheet([_title(one) for one in both], width, (both[0].H, both[0].W), len(both), facts=facts)
    for ax, one in zip(sheet.axes, both, strict=True):
        show_photo(ax, trace.crop, _whole(one), 0.55, grey=True)
        fill(ax, one.sources(row, col), LIGHT.kind(_near(one)), 0.75)
        fill(ax, one.masked(row, col), LIGHT.muted, 0.75)
        ring(ax, row, col)
    return sheet.figure


def _heads(trace: Trace, at: Place, width: str | float) -> Figure:
    """Attention of one query by head, on one scale for all heads."""
    scheme = trace.scheme(at.stage, at.block)
    row, col = at.token(scheme)
    seen = trace.attention(at.stage, at.block, row, col)
    lost = [
        f"{percent(share.mean())} on average goes to {what}"
        for share, what in ((seen.padding, "padding"), (seen.extra.sum(1), "class and register tokens"))
        if share.max(initial=0) > 1e-6  # what the mask hides still has exp(-100)
    ]
    sums = "each head sums to 1" + (f", of which {' and '.join(lost)}" if lost else "")
    facts = f"Attention of token ({row}, {col}), {SHORT[scheme.name]}, {sums}. {facts_line(trace, at)}"
    maps = np.where(seen.sources, seen.heads, np.nan)
    return head_panels(trace, _whole(scheme), maps, (row, col), width, facts)


def _bias(trace: Trace, at: Place, width: str | float) -> Figure:
    """Position bias by head over all offsets, key minus query, on one scale for all heads."""
    scheme, name = trace.scheme(at.stage, at.block), point_names.attention(at.stage, at.block, "bias")
    if name not in trace.arrays and point_names.attention(at.stage, at.block) in trace.arrays:
        raise ValueError(
            f"block {at.block + 1} of stage {at.stage + 1} of {trace.model} ({SHORT[scheme.name]}) has no "
            "position bias, or it was not watched"
        )
    surfaces = surface(trace[name], scheme.grid[1])[:, ::-1, ::-1]
    steps = tuple(side // n for side, n in zip((scheme.H, scheme.W), scheme.grid, strict=True))
    unit = f"steps of {steps[0]} × {steps[1]} tokens" if scheme.name == "maxvit_grid" else "tokens"
    facts = (
        f"Position bias by offset of the key from the query, in {unit}; {SHORT[scheme.name]}. "
        f"{facts_line(trace, at)}"
    )
    return bias_panels(surfaces, scheme.grid, width, facts)


def _reach(trace: Trace, at: Place, width: str | float) -> Figure:
    """Which block of a stage first brought each token to the query, by attention alone."""
    blocks = trace.schemes[at.stage][: at.block + 1] if at.block else trace.schemes[at.stage][:4]
    row, col = at.token(blocks[0])
    sets = reached(blocks, row, col, len(blocks))  # blocks + 1, H, W
    titles = [f"{n}: {percent(sets[n].mean(), 0)} of tokens" for n in range(1, len(sets))]
    facts = f"Tokens that attention brings to token ({row}, {col}) in n blocks. {facts_line(trace, at)}"
    sheet = Sheet(titles, width, (blocks[0].H, blocks[0].W), min(len(blocks), MOST), facts=facts)
    for n, ax in enumerate(sheet.axes, start=1):
        show_photo(ax, trace.crop, _whole(blocks[0]), 0.55, grey=True)
        for b in range(1, n + 1):
            colour = LIGHT.kind(_near(blocks[b - 1]))
            fill(ax, sets[b] & ~sets[b - 1], colour, max(0.3, 0.8 - 0.17 * (b - 1)))
        ring(ax, row, col)
    return sheet.figure


def _distance(trace: Trace, at: Place, width: str | float) -> Figure:
    """Mean attention distance of every head of every block, counting what falls on the photo."""
    names: dict[str, str] = {}
    stages: list[list[tuple[str, np.ndarray]]] = []
    for s, stage in enumerate(trace.schemes):
        stages.append([])
        for b, scheme in enumerate(stage):
            seen = head_measures(trace[point_names.attention(s, b)], scheme, trace.strides[s])
            stages[-1].append((_near(scheme), seen.distance))
            names.setdefault(_near(scheme), SHORT[scheme.name])
    facts = (
        "Attention distance: mean over queries, weighted by the attention that falls on the photo; a dot for "
        f"each head. {run_line(trace)}"
    )
    return distance_curve(stages, names, width, facts)


def _rollout(trace: Trace, at: Place, width: str | float) -> Figure:
    """What a token after a block is made of: attention traced back to the tokens of the first stage."""
    if mixes := trace.settings.get("mixes"):
        raise ValueError(
            f"rollout follows tokens through attention; in {trace.settings['family']}, {mixes} mix them, too"
        )
    scheme = trace.scheme(at.stage, at.block)
    row, col = at.token(scheme)
    merging: Any = trace.settings["merging"]
    paths = rollout_of(
        trace.schemes, lambda s, b: trace[point_names.attention(s, b)], merging, at.stage, at.block, row, col
    )
    scale = trace.strides[at.stage] / trace.strides[0]
    beside = [
        f"{percent(share)} comes from {what}"
        for share, what in (
            (paths.padding, "padding"),
            (float(paths.extra.sum()), "class and register tokens"),
        )
        if share > 1e-6
    ]
    mark = ((row + 0.5) * scale - 0.5, (col + 0.5) * scale - 0.5)
    told = " and ".join(["Sums to 1", *beside])
    return rollout_panel(
        trace, paths.map, replace(at, row=row, col=col), mark, width, "MLPs are left out", told
    )


KINDS: Mapping[str, Callable[[Trace, Place, str | float], Figure]] = {
    "grouping": _grouping,
    "heads": _heads,
    "bias": _bias,
    "reach": _reach,
    "distance": _distance,
    "rollout": _rollout,
}


def _near(scheme: Scheme) -> str:
    """The colour of a layer: that of LDA for the second of two kinds, which looks far."""
    return "lda" if scheme.name in FAR else "sda"


def _title(scheme: Scheme) -> str:
    short, (h, w) = SHORT[scheme.name], scheme.grid
    if scheme.reduction > 1:
        return f"{short}, keys of {scheme.reduction} × {scheme.reduction} tokens"
    if scheme.name in ("vit", "pvt", "twins_global"):
        return f"{short}, all tokens"
    return f"{short}, {'grids' if scheme.name == 'maxvit_grid' else 'windows'} of {h} × {w}"


def _whole(scheme: Scheme) -> Grouping:
    """A map without padding."""
    return Grouping("sda", scheme.H, scheme.W, 1)
