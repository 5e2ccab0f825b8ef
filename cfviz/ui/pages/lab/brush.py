"""The brush: parts of the photo painted over, and what that does to the prediction and to attention."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz.data.brush import Stroke, from_url, to_url
from cfviz.figures.live.brush import pack
from cfviz.trace import Trace
from cfviz.ui.compute import cache
from cfviz.ui.session import forms
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import BRUSH, committed
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import figure_words, short_name, together

from . import shown_code
from .experiment import NOTHING, Experiment
from .heads import received
from .verdict import changed_answer, shown_classes

NAME = "lab.brush"
SEQ = "cfviz.lab.brush.seq"
COLUMNS = ("class", "p_before", "p_after", "logit_before", "logit_after")


def show_brush(experiment: Experiment) -> None:
    """The figure to paint in; a stroke runs this section alone again."""
    ctx = experiment.ctx
    strokes = _strokes_from_link(experiment)
    before = experiment.before
    after = cache.trace(
        ctx.settings, ctx.photo.brushed(strokes), experiment.watch, net=experiment.model, wide=not strokes
    )  # a painted photo is shown nowhere else

    def commit() -> None:
        if to := committed(NAME, forms.BRUSH):
            st.session_state[SEQ] = to["seq"]
            ctx.put(brush=to["strokes"] or NOTHING)

    fields = changed_answer(before, after, ctx.labels)
    key = "brush_look" if not strokes else "same_answer" if fields["same"] else "other_answer"
    look = ctx.t(f"lab.{key}", **fields)
    chart.show_hint(together(look, ctx.t("lab.brush_plain") if experiment.active else ""))
    start = {"strokes": to_url(strokes), "seq": st.session_state.get(SEQ, 0)}
    BRUSH.show(_message(experiment, after, start), name=NAME, on_commit=commit)
    take_away(
        ctx, "brush", code=shown_code.brushed(experiment, strokes), live=NAME,
        table=lambda: (COLUMNS, [tuple(row[one] for one in COLUMNS) for row in _rows(experiment, after)]),
    )  # fmt: skip


def _strokes_from_link(experiment: Experiment) -> tuple[Stroke, ...]:
    """The strokes of the link; if they cannot be used, a notice says why and there are none."""
    ctx = experiment.ctx
    text = ctx.get("brush", "", lambda _: True)
    if not text:
        ctx.put(brush=(text := NOTHING))  # as `experiment_from_link` does, for the browser's Back
    try:
        return () if text == NOTHING else from_url(text)
    except ValueError as error:
        st.info(ctx.t("lab.brush_left_out", reason=plain(error)), icon=":material/link_off:")
        return ()


def _rows(experiment: Experiment, after: Trace) -> list[dict[str, Any]]:
    """All classes, the likeliest after the strokes first."""
    ctx, before = experiment.ctx, experiment.before
    return [
        {
            "class": ctx.labels[i], "p_before": float(before.probs[i]), "p_after": p,
            "logit_before": float(before.logits[i]), "logit_after": float(after.logits[i]),
        }
        for i, _, p in after.top(len(ctx.labels))
    ]  # fmt: skip


def _message(experiment: Experiment, after: Trace, start: dict[str, Any]) -> bytes:
    ctx, before = experiment.ctx, experiment.before
    first = before.top(1)[0][0]
    rows = [
        {
            "name": short_name(ctx.labels[i]), "before": float(before.probs[i]),
            "after": float(after.probs[i]), "logit": float(after.logits[i]),
            "change": float(after.logits[i]) - float(before.logits[i]), "first": i == first,
        }
        for i in shown_classes(before.probs, after.probs, experiment.chosen)
    ]  # fmt: skip
    points = experiment.watch[len(experiment.model.depths) :]
    stages = [(received(before, point), received(after, point)) for point in points]
    assert after.crop is not None  # `inspect` always keeps it
    words = figure_words("brush", ctx.lang)
    return pack(after.crop, rows, stages, strings=words, start=start, name=NAME)
