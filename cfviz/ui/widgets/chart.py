"""A plotly figure on a page, with a sentence above it and its code and data below."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

from cfviz.figures.theme import plotly_config
from cfviz.ui.context import Context
from cfviz.ui.session import pen
from cfviz.ui.session.plain import plain

from .takeaway import take_away

PAINT = 0.5  # seconds a browser with a core to itself needs to load, decode and paint a figure


def let_the_browser_paint() -> None:
    """Let the browser draw a figure that has just appeared before the rest of its page arrives.

    The rest (plots, tables, dozens of labels) keeps the browser busy for a second or more, and a figure whose
    picture is still being decoded would have to wait for all of it. The figure's own word that it is painted
    cannot end the wait: Streamlit takes a message from a fragment only after the run of the page that waits
    for it, and a page that stopped until then would stay incomplete in a tab that paints nothing.

    Does nothing when there is no browser.
    """
    if st.context.headers.get("User-Agent"):
        with pen.down():
            time.sleep(PAINT)


def show_hint(text: str) -> None:
    """The sentence above a figure that tells the reader what to look for (Markdown)."""
    st.markdown(f'<div class="cf-look">\n\n{text}\n\n</div>', unsafe_allow_html=True)


def show_figure(
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
    """A plotly figure with a sentence above it and its code and data below.

    The texts are the translations `<page>.<name>_look` and `<page>.<name>_alt`.

    Args:
        ctx: The page.
        fig: The plotly figure.
        name: A short name, also used for the downloaded files.
        key: Distinguishes figures that share a name.
        code: The few lines of Python that compute the figure.
        table: Column names and rows, for the CSV.
        **fields: Values for the placeholders in the texts.
    """
    stated: dict[str, Any] = dict(fields)
    stated |= {one: plain(fields[one]) for one in ("label", "name") if one in fields}  # of classes
    show_hint(ctx.t(f"{ctx.name}.{name}_look", **stated))
    alt = ctx.t(f"{ctx.name}.{name}_alt", **fields)
    show_chart(ctx, fig, name + key, alt)
    take_away(ctx, name + key, code=code, table=table, fig=fig, chart=chart_key(ctx, name + key))


def show_chart(ctx: Context, fig: Any, name: str, alt: str) -> None:
    """A plotly figure alone; `take_away` adds the row of downloads below it.

    Args:
        ctx: The page.
        fig: The plotly figure.
        name: A name unique on the page, also used for the downloaded file.
        alt: The description for readers who cannot see the figure.
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


def show_chart_with_downloads(ctx: Context, fig: Any, name: str, alt: str, code: str | None = None) -> None:
    """A plotly figure and, below it, downloads of its picture and data.

    Args:
        ctx: The page.
        fig: The plotly figure.
        name: A name unique on the page, also used for the downloaded files.
        alt: The description for readers who cannot see the figure.
        code: The few lines of Python that compute the figure.
    """
    show_chart(ctx, fig, name, alt)
    take_away(ctx, name, code=code, fig=fig, chart=chart_key(ctx, name))
