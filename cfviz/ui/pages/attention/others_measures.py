"""Below the figure of a model of timm: its heads measured, and what the chosen token depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cfviz.analysis.receptive_field import agreement, smallest_area, summed_over_squares
from cfviz.figures.live.attention_schemes import FAR, SHORT
from cfviz.figures.plots.attention_measures import head_dots, over_photo
from cfviz.measured import others as measured
from cfviz.models.inputs import input_for
from cfviz.models.others.reading import family_of, layers_of, receptive_field
from cfviz.run import prepared_for
from cfviz.trace import Trace
from cfviz.ui.compute import cache
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.request import requested
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import percent, two_digits

HEADS, FIELD = "cfviz.attention.others.heads", "cfviz.attention.others.field"
HEADS_CODE = """
import cfviz
from cfviz.data.samples import sample
from cfviz.measured import others
from cfviz.models.others.opening import {opener}

model = {opened}
trace = cfviz.inspect({photo}, model, {framing})
for stage, block, heads in others.heads(trace):           # counted from 0; one value per head
    print(stage, block, heads.distance, heads.entropy, heads.position, heads.padding, heads.extra)
"""
ROLLOUT_CODE = """
import cfviz
from cfviz.data.samples import sample
from cfviz.measured import others
from cfviz.models.others.opening import {opener}

model = {opened}
trace = cfviz.inspect({photo}, model, {framing})
paths = others.rollout(trace, model, {stage}, {block}, {row}, {col})     # counted from 0
paths.map                           # per token of the first stage: what the figure shows
paths.padding, paths.extra          # what comes from padding, class and register tokens
"""
FIELD_CODE = """
from cfviz.analysis.receptive_field import summed_over_squares
from cfviz.data.images import load_image
from cfviz.data.samples import sample
from cfviz.models.others.opening import {opener}
from cfviz.models.others.reading import layers_of, receptive_field
from cfviz.run import prepared_for

model = {opened}
x = prepared_for(model, load_image({photo}), {framing_code}).tensor[None]
layer = layers_of(model, *x.shape[-2:])[{stage}][{block}]           # counted from 0
pixels = receptive_field(model, x, layer, {row}, {col})   # H, W: how strongly each pixel changes the token
shown = summed_over_squares(pixels, 4)
"""


@dataclass(frozen=True)
class OtherSubject:
    """A model of timm on the page's photo.

    Attributes:
        title: What it is called.
        opened: How the code opens it: `opener`, the function, and `opened`, its call.
        trace: Its attention, every block's.
        model: Makes the model, or takes it from the cache.
        source: A cache key that stands for all of the above.
    """

    title: str
    opened: dict[str, str]
    trace: Trace
    model: Callable[[], Any]
    source: str


def code_fields(ctx: Context, subject: OtherSubject, here: dict[str, Any]) -> dict[str, Any]:
    """What fills the placeholders of the shown code."""
    s = ctx.settings
    return {
        **here, **subject.opened, "photo": photos.photo_code(s.photo),
        "framing": f"size={s.framing_code}", "framing_code": s.framing_code,
    }  # fmt: skip


# ---------------------------------------------------------------- heads


def show_heads(ctx: Context, subject: OtherSubject, here: dict[str, Any]) -> None:
    """Distance, entropy and shares of every head, once the reader asks for them: a plot and a table."""
    t = ctx.t
    if not requested(t("attention.others_heads_run"), HEADS):
        return
    rows = _rows(subject.source, subject)
    names = list(dict.fromkeys(f"{r['stage']}.{r['block']}" for r in rows))
    groups = [[r for r in rows if f"{r['stage']}.{r['block']}" == name] for name in names]
    schemes = [scheme for stage in subject.trace.schemes for scheme in stage]
    kinds = ["lda" if scheme.name in FAR else "sda" for scheme in schemes]
    called = dict(zip(kinds, (SHORT[scheme.name] for scheme in schemes), strict=True))
    words = {
        "axis": t("attention.axis_block"), "value": t("attention.axis_distance"),
        "head": t("attention.head"), "block": t("attention.block"),
    }  # fmt: skip
    st.subheader(t("attention.heads_title"), anchor=False)
    fig = head_dots(
        names, kinds, [[r["distance"] for r in group] for group in groups], ctx.theme, words,
        names=(called.get("sda", ""), called.get("lda", "")),
    )  # fmt: skip
    chart.show_chart(ctx, fig, "others_heads", t("attention.heads_alt"))
    take_away(
        ctx, "others_heads", chart=chart.chart_key(ctx, "others_heads"),
        code=HEADS_CODE.format(**code_fields(ctx, subject, here)),
        table=(tuple(rows[0]), [tuple(row.values()) for row in rows]),
    )  # fmt: skip
    _table(ctx, rows)


def _table(ctx: Context, rows: list[dict[str, Any]]) -> None:
    t, number = ctx.t, st.column_config.NumberColumn
    shares: dict[str, Any] = {
        name: number(t(f"attention.{name}"), format="%.1f %%", help=t(f"attention.{name}_help"))
        for name in ("position", "padding", "extra")
        if name in rows[0]
    }
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height=318,
        column_config={
            "stage": number(t("attention.stage"), width=58),
            "block": number(t("attention.block"), width=58),
            "kind": st.column_config.TextColumn(t("attention.kind"), width=72),
            "head": number(t("attention.head"), width=58),
            "distance": number(
                t("attention.distance"), format="%.1f px", help=t("attention.others_distance_help")
            ),
            "entropy": number(
                t("attention.entropy"), format="%.2f bit", help=t("attention.others_entropy_help")
            ),
            **shares,
        },
    )  # fmt: skip


@cache.cached(64)
def _rows(source: str, _subject: OtherSubject) -> list[dict[str, Any]]:
    """Every head of every block: its place, distance (px), entropy (bits) and shares (%) that it can have."""
    trace = _subject.trace
    found = list(measured.heads(trace))
    shares = {
        "position": any(one.position is not None for *_, one in found),
        "padding": any(one.padding.any() for *_, one in found),
        "extra": any(one.extra.any() for *_, one in found),
    }
    rows = []
    for s, b, one in found:
        for h in range(len(one.distance)):
            row = {
                "stage": s + 1, "block": b + 1, "kind": SHORT[trace.scheme(s, b).name], "head": h + 1,
                "distance": round(float(one.distance[h]), 2), "entropy": round(float(one.entropy[h]), 3),
            }  # fmt: skip
            for name in (name for name, has in shares.items() if has):
                value = getattr(one, name)
                row[name] = None if value is None else round(100 * float(value[h]), 2)
            rows.append(row)
    return rows


# ---------------------------------------------------------------- what a token depends on


def show_dependence(ctx: Context, subject: OtherSubject, here: dict[str, Any]) -> None:
    """What changes the token, once the reader asks for it: the pixels and, where it is defined, rollout."""
    t, trace = ctx.t, subject.trace
    followed = not family_of(subject.model()).mixes
    if not requested(t("attention.paths_run" if followed else "attention.others_field_run"), FIELD):
        return
    s, b, row, col = (here[part] for part in ("stage", "block", "row", "col"))
    pixels = _pixels(subject.source, s, b, row, col, subject, ctx.photo, ctx.settings)
    field = summed_over_squares(pixels, 4)
    stride, fields = trace.strides[s], code_fields(ctx, subject, here)
    mark = ((col + 0.5) * stride, (row + 0.5) * stride)
    assert trace.crop is not None  # traces of photos have them
    at = {"stage": s + 1, "block": b + 1, "row": row, "col": col}
    if not followed:
        _map(ctx, trace, field, "others_gradient", mark, FIELD_CODE.format(**fields), at)
        st.caption(t("attention.others_rollout_not", model=subject.title))
        return
    paths = _rollout(subject.source, s, b, row, col, subject)
    left, right = st.columns(2)
    with left:
        _map(ctx, trace, paths.map, "others_rollout", mark, ROLLOUT_CODE.format(**fields), at)
        if paths.padding > 1e-6:
            st.caption(t("attention.others_rollout_padding", share=percent(paths.padding)))
        if len(paths.extra):
            st.caption(t("attention.others_rollout_extra", share=percent(float(paths.extra.sum()))))
    with right:
        _map(ctx, trace, field, "others_gradient", mark, FIELD_CODE.format(**fields), at)
    close = agreement(paths.map, pixels, trace.strides[0])
    st.markdown(t("attention.agreement", value=f"{close:+.2f}"))


def _map(
    ctx: Context, trace: Trace, values: np.ndarray, name: str, mark: tuple[float, float], code: str,
    at: dict[str, Any],
) -> None:  # fmt: skip
    """One map over the photo, with its heading and what it is."""
    t, kind = ctx.t, name.removeprefix("others_")
    st.subheader(t(f"attention.{kind}"), anchor=False)
    assert trace.crop is not None  # traces of photos have them
    fig = over_photo(trace.crop, values, ctx.theme, mark)
    chart.show_chart_with_downloads(ctx, fig, name, t(f"attention.{kind}_alt"), code)
    area = two_digits(100 * smallest_area(values))
    note = {"rollout": "others_rollout_note", "gradient": "others_field_note"}[kind]
    st.caption(t(f"attention.{note}", **at, area=area))


@cache.cached(64)
def _rollout(source: str, s: int, b: int, row: int, col: int, _subject: OtherSubject) -> measured.Paths:
    return measured.rollout(_subject.trace, _subject.model(), s, b, row, col)


@cache.cached(16)
def _pixels(
    source: str, s: int, b: int, row: int, col: int, _subject: OtherSubject, _photo: Any, _settings: Any
) -> np.ndarray:
    at, model = _settings, _subject.model()
    seen = prepared_for(model, _photo, at.size, at.mode, at.centre)
    layer = layers_of(model, *at.sides)[s][b]
    return receptive_field(model, input_for(model, seen.tensor[None]), layer, row, col)
