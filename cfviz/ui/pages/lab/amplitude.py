"""The lab's section on how large the numbers grow from block to block, and how far the heads look."""

from __future__ import annotations

import streamlit as st

from cfviz.data.images import prepare
from cfviz.measured.amplitude import (
    Streams,
    as_streams,
    facts,
    figure,
    measured,
    points,
)
from cfviz.models.interventions.language import cooled_blocks
from cfviz.ui.compute import cache
from cfviz.ui.compute.models import model_code
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import AMPLITUDE
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import together

FIGURE = "lab.amplitude"
COLUMNS = (
    "stage", "block", "after", "largest", "mean", "rms", "largest_token", "largest_channel", "distance",
    "even_distance", "largest_without_cooling",
)  # fmt: skip


def show_amplitude(ctx: Context) -> None:
    """The figure of the unchanged model; if it has cooling layers, also with these taken out."""
    kept = ctx.trace(*points(ctx.model))
    s, trace = ctx.settings, as_streams(kept, ctx.model)

    def measure() -> tuple[Streams, Streams]:
        return measured(trace, ctx.model, prepare(ctx.photo, s.size, s.mode, centre=s.centre).tensor)

    try:
        blocks, without = cache.cached_with_trace(kept, "amplitude", measure)
    except ValueError:  # half precision may overflow
        st.info(ctx.t("amplitude.not_finite", dtype=kept.dtype), icon=":material/info:")
        return
    chart.show_hint(together(ctx.t("lab.amplitude_look", **facts(blocks)), _cooling(ctx, without)))
    data = cache.cached_with_trace(
        kept, ("amplitude figure", ctx.lang), lambda: figure(blocks, without, trace, ctx.lang)
    )
    AMPLITUDE.show(data, name=FIGURE)
    if without:
        st.caption(ctx.t("amplitude.ablation"))
    take_away(ctx, "amplitude", code=_code(ctx), table=(COLUMNS, _rows(blocks, without)))


def _cooling(ctx: Context, without: Streams) -> str:
    t = ctx.t
    if not without:
        return t("amplitude.none")
    return t("lab.amplitude_without", n=len(cooled_blocks(ctx.model)), **facts(without))


def _rows(blocks: Streams, without: Streams) -> list[tuple[object, ...]]:
    """One row for each block and part of it."""
    rows: list[tuple[object, ...]] = []
    for i, one in enumerate(blocks):
        less = without[i].out.largest if without else None
        for name, size in one.after.items():
            (row, col, _), (channel, _) = size.largest_tokens(1)[0], size.largest_channels(1)[0]
            rows.append((
                one.stage + 1, one.block + 1, name, size.largest, size.mean, size.rms, f"{row} {col}",
                channel + 1, float(one.distances.mean()), one.even, less,
            ))  # fmt: skip
    return rows


def _code(ctx: Context) -> str:
    s = ctx.settings
    return f"""
import cfviz
from cfviz.data.samples import sample
from cfviz.measured.amplitude import explain_amplitude

model = {model_code(ctx.model)}
found = explain_amplitude({photos.photo_code(s.photo)}, model, {s.framing_code})
for one in found.blocks:                      # found.without: with all cooling layers taken out
    sizes = {{name: size.largest for name, size in one.after.items()}}
    print(one.stage, one.block, sizes, one.out.largest_tokens(1), one.distances.mean(), one.even)
"""
