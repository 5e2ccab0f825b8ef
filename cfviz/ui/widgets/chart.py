"""A plotly figure on a page, with its sentence above and, below, its code and its data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

from cfviz.figures.theme import plotly_config
from cfviz.ui.context import Context

from .takeaway import take_away

BREATH = 0.5  # seconds in which a browser with a core to itself loads, decodes and paints a figure


def breathe() -> None:
    """Between a figure that has just appeared and the rest of its page: let the browser draw it first.

    What follows (plots, tables, dozens of labels) keeps the browser busy for a second or more, and a figure
    whose picture is still being decoded would wait for all of it. Only browsers are waited for.
    """
    if st.context.headers.get("User-Agent"):
        time.sleep(BREATH)


def look(text: str) -> None:
    """The sentence above a figure that says what to look at (Markdown)."""
    st.markdown(f'<div class="cf-look">\n\n{text}\n\n</div>', unsafe_allow_html=True)


def figure(
    ctx: Context,
    fig: Any,
    name: str,
    key: str = "",
    /,
    *,
    code: str | None = None,
    table: tuple[Sequence[str], Iterable[Sequence[Any]]] | None = None,
    **fields: object,
) -> None:
    """A plotly figure with its sentence above and, below, its code and its data.

    The texts are `<page>.<name>_look` and `<page>.<name>_alt` of the translations.

    Args:
        ctx: The page.
        fig: The plotly figure.
        name: Short, also the name of the files taken away.
        key: Tells several figures of one name apart.
        code: The few lines of Python that compute it.
        table: Column names and rows, for the CSV.
        **fields: What fills the texts.
    """
    look(ctx.t(f"{ctx.name}.{name}_look", **fields))
    alt = ctx.t(f"{ctx.name}.{name}_alt", **fields)
    chart(ctx, fig, name + key, alt)
    take_away(ctx, name + key, code=code, table=table, fig=fig, chart=chart_key(ctx, name + key))


def chart(ctx: Context, fig: Any, name: str, alt: str) -> None:
    """A plotly figure alone; `take_away` puts under it what can be taken away.

    Args:
        ctx: The page.
        fig: The plotly figure.
        name: Unique on the page, also the name of the file.
        alt: What it shows, for those who do not see it.
    """
    st.plotly_chart(
        fig,
        theme=None,
        width="stretch",
        key=chart_key(ctx, name),
        alt=alt,
        config=plotly_config(f"cfviz-{name}"),
    )


def chart_key(ctx: Context, name: str) -> str:
    """The key of a `chart`."""
    return f"fig.{ctx.name}.{name}"


def taken(ctx: Context, fig: Any, name: str, alt: str, code: str | None = None) -> None:
    """A plotly figure and, under it, its picture and data to take away.

    Args:
        ctx: The page.
        fig: The plotly figure.
        name: Unique on the page, also the name of the files.
        alt: What it shows, for those who do not see it.
        code: The few lines of Python that compute it.
    """
    chart(ctx, fig, name, alt)
    take_away(ctx, name, code=code, fig=fig, chart=chart_key(ctx, name))
