"""The figures: each takes a trace, draws only numbers that the trace holds, and says what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cfviz import point_names
from cfviz.analysis.attention_measures import distance as mean_distance
from cfviz.analysis.embedding import carried_shares
from cfviz.analysis.position_bias import surface
from cfviz.analysis.reach import reach as reached
from cfviz.analysis.rollout import layers_until, one_token
from cfviz.analysis.rollout import rollout as traced_back
from cfviz.analysis.spectrum import filter_images, image_sheet
from cfviz.figures.theme import LIGHT
from cfviz.framing import size_text
from cfviz.geometry import CEL_KERNELS, Grouping, cel_channels, token_box
from cfviz.geometry.schemes import crossformer
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import cooled_blocks
from cfviz.trace import Trace
from cfviz.words import percent, quantity

from . import others
from .panels import (
    BAR,
    MOST,
    Kind,
    Place,
    bias_panels,
    distance_curve,
    facts_line,
    head_panels,
    rollout_panel,
    run_line,
)
from .sheet import WIDTHS, Sheet, fill, millimetres, ring, sequential, show_photo

FILTERS = 24  # drawn of each kernel


def _cut(trace: Trace, at: Place) -> Grouping:
    """How the block divides its map.

    Raises:
        ValueError: If the model has no such stage or block.
    """
    at.check([len(stage) for stage in trace.groupings])
    return trace.groupings[at.stage][at.block]


def grouping(trace: Trace, at: Place, width: str | float) -> Figure:
    """The groups of one query in the first two blocks of a stage: SDA and, if the stage has it, LDA."""
    _cut(trace, at)
    both = list(dict.fromkeys(trace.groupings[at.stage][:2]))
    row, col = at.token(both[0])
    sides = [f"{g.Gh} × {g.Gw}" for g in both]
    titles = [
        f"{g.kind.upper()}, groups of {side}" + (f", I = {g.I}" if g.kind == "lda" else "")
        for g, side in zip(both, sides, strict=True)
    ]
    sheet = Sheet(
        titles,
        width,
        (max(g.Hp for g in both), max(g.Wp for g in both)),
        len(both),
        facts=f"Stage {at.stage + 1}; {run_line(trace)}",
    )
    for ax, g in zip(sheet.axes, both, strict=True):
        show_photo(ax, trace.crop, g, 0.55, grey=True)
        group, _ = g.group_of(row, col)
        member = np.zeros(g.H * g.W, bool)
        member[g.members[group][g.valid[group]]] = True
        fill(ax, member.reshape(g.H, g.W), LIGHT.kind(g.kind), 0.75)
        for edge in range(0, g.Hp + 1, g.Gh * g.I):
            ax.axhline(edge, color=LIGHT.outline, lw=0.6, zorder=3)
        for edge in range(0, g.Wp + 1, g.Gw * g.I):
            ax.axvline(edge, color=LIGHT.outline, lw=0.6, zorder=3)
        ring(ax, row, col)
    return sheet.figure


def heads(trace: Trace, at: Place, width: str | float) -> Figure:
    """Attention of one query by head, on one scale for all heads: the probabilities behind the prediction."""
    g = _cut(trace, at)
    row, col = at.token(g)
    group, member = g.group_of(row, col)
    probs = trace[point_names.attention(at.stage, at.block)][group, :, member]  # nH, N
    valid = g.valid[group]
    maps = np.full((len(probs), g.H * g.W), np.nan)
    maps[:, g.members[group][valid]] = probs[:, valid]
    facts = (
        f"Attention of token ({row}, {col}), {g.kind.upper()}, each head sums to 1. {facts_line(trace, at)}"
    )
    return head_panels(trace, g, maps.reshape(-1, g.H, g.W), (row, col), width, facts)


def bias(trace: Trace, at: Place, width: str | float) -> Figure:
    """Position bias by head over all offsets, key minus query, on one scale for all heads."""
    g = _cut(trace, at)
    surfaces = surface(trace[point_names.attention(at.stage, at.block, "bias")], g.Gw)[
        :, ::-1, ::-1
    ]  # key minus query: right, down
    usual = _usual_group(trace, at.stage)
    beyond = usual < max(g.Gh, g.Gw)
    unit = "tokens" if g.I == 1 else f"steps of {g.I} tokens"
    facts = (
        f"Position bias by offset of the key from the query, in {unit}; {g.kind.upper()}. "
        f"{facts_line(trace, at)}"
    )
    if beyond:
        facts = f"{facts} Dashed: offsets in groups of {usual} × {usual}."
    return bias_panels(surfaces, (g.Gh, g.Gw), width, facts, usual if beyond else 0)


def shares(trace: Trace, at: Place, width: str | float) -> Figure:
    """Share of each kernel of the embedding layer before a stage in the squared length of its tokens."""
    g = _cut(trace, at)
    x = trace[point_names.embedding(at.stage)]  # H, W, C
    kernels = CEL_KERNELS[at.stage]
    parts = carried_shares(x, cel_channels(x.shape[-1], kernels))  # K, H, W
    titles = [f"{size_text(k)}: {percent(part.mean(), 0)}" for k, part in zip(kernels, parts, strict=True)]
    facts = (
        "Share of each kernel in the squared length of the tokens before the LayerNorm; means above. "
        f"{facts_line(trace, at)}"
    )
    sheet = Sheet(titles, width, (g.H, g.W), len(kernels), beside=BAR, facts=facts)
    image = None
    for ax, part in zip(sheet.axes, parts, strict=True):
        image = ax.imshow(
            part, sequential, vmin=0, vmax=float(parts.max()), interpolation="nearest", aspect="auto"
        )
    sheet.scale(image, "share")
    return sheet.figure


def reach(trace: Trace, at: Place, width: str | float) -> Figure:
    """Which block of a stage first brought each token to the query, by attention alone."""
    g = _cut(trace, at)
    row, col = at.token(g)
    blocks = trace.groupings[at.stage][: at.block + 1] if at.block else trace.groupings[at.stage][:4]
    sets = reached([crossformer(one) for one in blocks], row, col, len(blocks))  # blocks + 1, H, W
    titles = [f"{n}: {percent(sets[n].mean(), 0)} of tokens" for n in range(1, len(sets))]
    facts = f"Tokens that attention brings to token ({row}, {col}) in n blocks."
    facts = f"{facts} Stage {at.stage + 1}; {run_line(trace)}"
    sheet = Sheet(titles, width, (g.H, g.W), min(len(blocks), MOST), facts=facts)
    for n, ax in enumerate(sheet.axes, start=1):
        show_photo(ax, trace.crop, Grouping("sda", g.H, g.W, 1), 0.55, grey=True)
        for b in range(1, n + 1):
            fill(ax, sets[b] & ~sets[b - 1], LIGHT.kind(blocks[b - 1].kind), max(0.3, 0.8 - 0.17 * (b - 1)))
        ring(ax, row, col)
    return sheet.figure


def distance(trace: Trace, at: Place, width: str | float) -> Figure:
    """Mean attention distance of every head of every block, in pixels of the input; lines join the means."""
    stages = [
        [
            (g.kind, mean_distance(trace[point_names.attention(s, b)], g, token_box(s, 0, 0)[2]))
            for b, g in enumerate(stage)
        ]
        for s, stage in enumerate(trace.groupings)
    ]
    told = "Attention distance: mean over queries, weighted by attention; a dot for each head."
    return distance_curve(stages, {"sda": "SDA", "lda": "LDA"}, width, f"{told} {run_line(trace)}")


def rollout(trace: Trace, at: Place, width: str | float) -> Figure:
    """What a token after a block is made of: attention traced back to the tokens of the first stage.

    As on the attention page: padded keys receive nothing, kernels between the stages and cooling layers pass
    on by |w|.
    """
    g = _cut(trace, at)
    row, col = at.token(g)
    cooled: Any = trace.settings.get("cooled", ())
    stages, merging = layers_until(
        trace.groupings, (at.stage, at.block),
        lambda s, b: trace[point_names.attention(s, b)].astype(np.float64).mean(1), trace.__getitem__, cooled,
    )  # fmt: skip
    flow = traced_back(one_token(g.H, g.W, row, col), stages, merging)[0]
    scale = 2**at.stage
    mark = ((row + 0.5) * scale - 0.5, (col + 0.5) * scale - 0.5)
    left_out = "kernels between stages count by |w|, MLPs are left out"
    return rollout_panel(trace, flow, replace(at, row=row, col=col), mark, width, left_out, "Sums to 1")


def filters(trace: Trace, at: Place, width: str | float) -> Figure:
    """The filters of the first embedding layer, by kernel, each scaled to its largest weight."""
    kernels = CEL_KERNELS[0]
    weights = [trace[point_names.filters(n)] for n in range(len(kernels))]  # D_i, 3, k, k
    if weights[0].shape[1] != len("rgb"):
        raise ValueError(f"the filters have {weights[0].shape[1]} channels, and only RGB can be drawn")
    shown = [filter_images(weight[:FILTERS]) for weight in weights]
    titles = [
        f"{quantity(size_text(k), 'px')}: {len(some)} of {len(weight)}"
        for k, some, weight in zip(kernels, shown, weights, strict=True)
    ]
    facts = (
        f"First embedding layer; each filter is scaled to its largest weight, grey is zero. {run_line(trace)}"
    )
    beside = 2 if millimetres(width) < WIDTHS["two"] else 4
    sheet = Sheet(titles, width, (3, 4), beside, facts=facts)
    for ax, some in zip(sheet.axes, shown, strict=True):
        columns = next(n for n in range(1, len(some) + 1) if n * n >= len(some) and len(some) % n == 0)
        large = some.repeat(4, 1).repeat(4, 2)  # so that gaps can be finer than a weight
        pixels = image_sheet(large, columns, gap=some.shape[1] // 2)
        high, wide = pixels.shape[:2]
        across = max(wide, high * 4 / 3)
        ax.imshow(pixels, interpolation="nearest", aspect="equal")
        ax.set(xlim=(-0.5, across - 0.5), ylim=(across * 3 / 4 - 0.5, -0.5))
        ax.spines[:].set_visible(False)
    return sheet.figure


# ---------------------------------------------------------------- which figures there are


KINDS: Mapping[str, Kind] = {  # as listed in `ABOUT`
    "grouping": Kind(grouping, lambda at: ()),
    "heads": Kind(heads, lambda at: (point_names.attention(at.stage, at.block),)),
    "bias": Kind(bias, lambda at: (point_names.attention(at.stage, at.block, "bias"),)),
    "shares": Kind(shares, lambda at: (point_names.embedding(at.stage),)),
    "reach": Kind(reach, lambda at: ()),
    "distance": Kind(distance, lambda at: (point_names.attention(),)),
    "rollout": Kind(rollout, lambda at: (point_names.attention(),)),
    "filters": Kind(filters, lambda at: tuple(map(point_names.filters, range(len(CEL_KERNELS[0]))))),
}


def watched(kind: str, at: Place, model: Any) -> tuple[str, ...]:
    """Return what a trace of a model must hold for a figure, for `cfviz.inspect(watch=...)`.

    Args:
        kind: One of `KINDS`.
        at: What the figure shows.
        model: A CrossFormer or a model of timm.

    Example:
        >>> at = Place(stage=2, block=1)
        >>> trace = cfviz.inspect("cat.jpg", model, watch=watched("rollout", at, model))
        >>> trace.plot("rollout", stage=2, block=1)
    """
    points = KINDS[kind].watched(at)
    if kind == "rollout" and isinstance(model, CrossFormer):
        stages = range(1, at.stage + 1)
        points += tuple(point_names.merging(s, k) for s in stages for k in range(len(CEL_KERNELS[s])))
        points += tuple(
            point_names.cooling(*one) for one in cooled_blocks(model) if one <= (at.stage, at.block)
        )
    return points


def plot(trace: Trace, kind: str, width: str | float = "one", **place: Any) -> Figure:
    """Draw one figure of a trace.

    Args:
        trace: From `cfviz.inspect`, with the points watched that the figure needs.
        kind: One of `KINDS`.
        width: "one" or "two" columns, or a number of millimetres.
        **place: The fields of `Place`.

    Raises:
        ValueError: If the kind is unknown, the model has no such place, or the points were not watched.
    """
    if kind not in KINDS:
        raise ValueError(f"the kind is {kind!r}; expected {', '.join(KINDS)}")
    unknown = place.keys() - Place.__dataclass_fields__.keys()
    if unknown:
        known = ", ".join(Place.__dataclass_fields__)
        raise ValueError(f"{min(unknown)!r} is no part of a place; expected {known}")
    return drawn(trace, kind, Place(**place), width)


def drawn(trace: Trace, kind: str, at: Place, width: str | float) -> Figure:
    """Draw one figure of a trace of any model; the kind is one of `KINDS`."""
    return others.draw(trace, kind, at, width) if trace.schemes else KINDS[kind].draw(trace, at, width)


def facts_of(trace: Trace, kind: str, at: Place) -> dict[str, Any]:
    """What a figure was made of, for a file's metadata."""
    return {
        "figure": kind, "stage": at.stage, "block": at.block, "row": at.row, "col": at.col,
        "model": trace.model, "weights": trace.weights.source, "sha256": trace.weights.sha256,
        "photo": trace.photo, "size": list(trace.size), "dtype": trace.dtype, **trace.settings,
    }  # fmt: skip


def _usual_group(trace: Trace, stage: int) -> int:
    groups = trace.settings.get("group_size")
    return int(groups[stage]) if isinstance(groups, list | tuple) else 0
