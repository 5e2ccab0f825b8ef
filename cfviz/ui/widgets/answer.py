"""An answer as bars; beside it, what the model can answer at all, and whether this answer can be right."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from cfviz.data import answers
from cfviz.run import about_answer, calibration_of
from cfviz.trace import Trace
from cfviz.ui.context import Context
from cfviz.ui.session.plain import plain
from cfviz.words import percent, quantity, short_name


def answer_line(ctx: Context, trace: Trace) -> str:
    """One sentence on what is known about the chosen model's answer, for Markdown; empty if it has none."""
    return about_answer(trace, names_for_markdown(ctx, trace), ctx.t)


def answer_worth(ctx: Context, trace: Trace) -> str:
    """What was measured of such an answer's probability, where the rest of `answer_line` stands elsewhere."""
    index, _, p = trace.top(1)[0]
    return answers.confidence(ctx.t, calibration_of(trace), p, answers.verdict(index, trace.shown))


def names_for_markdown(ctx: Context, trace: Trace) -> list[str]:
    """Names of the model's classes, plain where a sentence on this answer may state them.

    A file may call its classes anything.
    """
    names = list(ctx.labels)
    for index in {*(one for one, _, _ in trace.top(1)), *(trace.shown or ())}:
        names[index] = plain(names[index])
    return names


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
            if len(names) > answers.LONG:
                _searched(ctx, names, place)
            else:
                st.html(answers.classes_html(names))


def show_bars(ctx: Context, names: Sequence[str], probs: Sequence[float], place: str, alt: str) -> str:
    """The likeliest classes as bars from 0 to 100 %, the first in ink and the others faint.

    They are HTML: the code that draws charts takes a browser half a second to load, which every reader who
    opens a page with an answer would wait.

    Args:
        ctx: The page.
        names: Names of the classes, the likeliest first.
        probs: Their probabilities, from 0 to 1.
        place: A name unique on the page.
        alt: What the bars are, for readers who cannot see them.

    Returns:
        The key for `take_away(live=...)`.
    """
    key = f"bars.{ctx.name}.{place}"
    with st.container(key=key):
        st.html(bars_html(names, probs, alt))
    return key


def bars_html(names: Sequence[str], probs: Sequence[float], alt: str) -> str:
    """The bars of `show_bars`."""
    rows = "".join(
        f'<li><span class="name">{escape(short_name(name))}</span>'
        f'<span class="bar"><i style="width:{100 * p:.2f}%"></i></span>'
        f'<span class="num" title="{quantity(f"{100 * p:.2f}", "%")}">{escape(percent(p))}</span></li>'
        for name, p in zip(names, probs, strict=True)
    )
    return f'<ol class="cf-top" aria-label="{escape(alt)}">{rows}</ol>'


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
def _searched(ctx: Context, names: Sequence[str], place: str) -> None:
    """A long list of classes, which can be searched."""
    word = st.text_input(ctx.t("answer.search"), key=f"answer.search.{place}").strip().casefold()
    found = [name for name in names if word in name.casefold()]
    st.caption(ctx.t("answer.found", found=f"{len(found):,}", n=f"{len(names):,}"))
    st.html(answers.classes_html(found))
