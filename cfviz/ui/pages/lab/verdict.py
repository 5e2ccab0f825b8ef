"""The lab's result, on one screen with the board: what the model predicts before and after the changes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import streamlit as st

from cfviz.models.crossformer import recorded
from cfviz.trace import Trace
from cfviz.ui.context import Context
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import answer_help, answer_line, show_answer_line, show_known
from cfviz.words import percent, short_name, signed

from .experiment import Experiment

ROWS = 4  # classes; a phone shows two of them


def show_verdict(experiment: Experiment) -> None:
    """One sentence on what happened to the prediction, and the likeliest classes before and after."""
    ctx = experiment.ctx
    with st.container(key="lab-result", gap=None):
        chart.show_hint(_sentence(experiment))
        st.html(table(experiment))
    with st.container(key="lab-known", gap=None):
        if experiment.active:
            line = ctx.t("lab.answer_before", line=answer_line(ctx, experiment.before))
            show_known(ctx, line, ctx.labels, help=answer_help(ctx, experiment.before))
        else:
            show_answer_line(ctx, experiment.before)
        known = recorded(ctx.model)
        st.caption(known.sentence(ctx.t, plain), help=known.terms(ctx.t) or None)


def _sentence(experiment: Experiment) -> str:
    fields = changed_answer(experiment.before, experiment.after, experiment.ctx.labels)
    key = "nothing" if not experiment.active else "same_answer" if fields["same"] else "other_answer"
    return experiment.ctx.t(f"lab.{key}", **fields)


def changed_answer(before: Trace, after: Trace, names: Sequence[str]) -> dict[str, Any]:
    """The fields, for Markdown, of the sentences on what became of an answer.

    `same` says whether the top class stayed.

    Args:
        before: The prediction.
        after: The prediction after a change of the model or the photo.
        names: Names of the classes.
    """
    (a, _, p), (b, _, r) = before.top(1)[0], after.top(1)[0]
    return {
        "label": plain(short_name(names[a])),
        "p": percent(p),
        "q": percent(float(after.probs[a])),
        "logit": signed(float(after.logits[a] - before.logits[a])),
        "now": plain(short_name(names[b])),
        "r": percent(r),
        "same": a == b,
    }


def shown_classes(before: np.ndarray, after: np.ndarray, chosen: int = -1) -> list[int]:
    """The classes to show, the likeliest now first: the likeliest before or after, and the chosen one.

    Args:
        before: Probabilities before the changes, (classes,).
        after: Probabilities after them, (classes,).
        chosen: Index of the class that the reader wants explained; -1 for none.
    """
    most = np.argsort(-np.maximum(before, after), kind="stable")[:ROWS].tolist()
    if chosen >= 0 and chosen not in most:
        most[-1] = chosen
    return sorted(most, key=lambda i: (-after[i], -before[i]))


def table(experiment: Experiment) -> str:
    """The classes with their probabilities before and after, as bars and numbers."""
    ctx, before, after = experiment.ctx, experiment.before.probs, experiment.after.probs
    shown = shown_classes(before, after, experiment.chosen)
    first = {int(before.argmax()), int(after.argmax())}
    if len(first) == 1:
        first |= set(shown[:2])
    rows = "".join(_row(ctx, i, float(before[i]), float(after[i]), i in first) for i in shown)
    name, then, now = (f"<span>{escape(ctx.t(f'lab.{key}'))}</span>" for key in ("class", "before", "after"))
    head = (
        f'<tr><th scope="col">{name}</th><td></td>'
        f'<th scope="col"><i class="was"></i>{then}</th><th scope="col"><i></i>{now}</th></tr>'
    )
    return f'<table class="cf-change"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _row(ctx: Context, index: int, before: float, after: float, first: bool) -> str:
    """One class; `first` for those that a phone shows, too."""
    bars = f'<i class="was" style="width:{100 * before:.2f}%"></i><i style="width:{100 * after:.2f}%"></i>'
    return (
        f'<tr{" class=first" * first}><th scope="row">{escape(short_name(ctx.labels[index]))}</th>'
        f'<td class="bars" aria-hidden="true">{bars}</td>'
        f"<td>{percent(before)}</td><td>{percent(after)}</td></tr>"
    )
