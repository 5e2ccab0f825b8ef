"""Beside an answer: what the model can answer at all, and whether this answer can be right."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cfviz.data import answers
from cfviz.run import about_answer, calibration_of
from cfviz.trace import Trace
from cfviz.ui.context import Context


def answer_line(ctx: Context, trace: Trace) -> str:
    """One sentence on what is known about the chosen model's answer; empty if it has none."""
    return about_answer(trace, ctx.labels, ctx.t)


def show_answer_line(ctx: Context, trace: Trace, place: str = "") -> None:
    """The sentence of `answer_line` with the list of classes, one click away.

    Args:
        ctx: The page.
        trace: The prediction that is shown.
        place: Tells apart several on one page.
    """
    if line := answer_line(ctx, trace):
        show_known(ctx, line, ctx.labels, place, answer_help(ctx, trace))


def answer_help(ctx: Context, trace: Trace) -> str | None:
    """How the share of right answers in `answer_line` was measured; None if it states none."""
    if trace.shown == ():
        return None
    return answers.confidence_help(ctx.t, calibration_of(trace), trace.top(1)[0][2])


def show_known(
    ctx: Context, line: str, names: Sequence[str], place: str = "", help: str | None = None
) -> None:
    """A sentence about an answer with the list of all classes, one click away.

    Args:
        ctx: The page.
        line: The sentence; empty if it stands elsewhere.
        names: Names of the model's classes.
        place: Tells apart several on one page.
        help: How what the sentence says was measured.
    """
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"cf-known-{place}"):
        if line:
            st.caption(line, width="content", help=help)
        with st.popover(answers.list_title(ctx.t, names), type="tertiary", icon=":material/list:"):
            _listed(ctx, names, place)


def class_of_link(ctx: Context) -> int:
    """Index of the class to explain that the reader chose on this page; -1 for the predicted one."""
    return ctx.get("class", -1, range(len(ctx.labels)))


def choose_class(ctx: Context, trace: Trace) -> int:
    """Let the reader search all classes for the one to explain; the link keeps the choice.

    Args:
        ctx: The page.
        trace: The prediction, whose top class is explained until the reader chooses another.

    Returns:
        The index of the class.
    """
    names, first, key = ctx.labels, trace.top(1)[0][0], f"{ctx.name}.class"
    st.session_state[key] = class_of_link(ctx)
    predicted = ctx.t("answer.explain_first", name=names[first])
    st.selectbox(
        ctx.t("answer.explain"), range(-1, len(names)), key=key, width=320,
        format_func=lambda index: predicted if index < 0 else names[index],
        on_change=lambda: ctx.put(**{"class": st.session_state[key]}),
    )  # fmt: skip
    chosen = class_of_link(ctx)
    return first if chosen < 0 else chosen


@st.fragment
def _listed(ctx: Context, names: Sequence[str], place: str) -> None:
    """The classes; a long list can be searched."""
    found = list(names)
    if len(names) > answers.LONG:
        word = st.text_input(ctx.t("answer.search"), key=f"answer.search.{place}").strip().casefold()
        found = [name for name in names if word in name.casefold()]
        st.caption(ctx.t("answer.found", found=f"{len(found):,}", n=f"{len(names):,}"))
    st.html(answers.classes_html(found))
