"""The frame of every page: navigation, style and header."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.bundled import APP
from cfviz.figures import theme
from cfviz.ui.context import Context

from . import view

ICON = str(theme.icon())
CSS = web.text("shell/style.css")
PRESENT = web.text("shell/present.css")

# group -> pages in reading order; only those whose file exists are linked
NAVIGATION = {
    "start": ("home", "learn", "predict"),
    "look_inside": ("grouping", "attention", "embedding", "position_bias", "dense"),
    "experiment": ("lab", "compare", "study"),
}
ICONS = {
    "home": "home", "predict": "photo_camera", "learn": "school", "grouping": "grid_view",
    "attention": "visibility", "embedding": "layers", "position_bias": "my_location", "lab": "science",
    "compare": "compare", "study": "stacks", "dense": "select_all",
}  # fmt: skip


def script(page: str) -> str:
    """A page's file, relative to the project: `home` is `app.py`."""
    return "app.py" if page == "home" else f"pages/{page}.py"


def exists(page: str) -> bool:
    """Whether a page's file exists, so that it can be linked."""
    return (APP / script(page)).is_file()


def navigation(ctx: Context) -> None:
    """Our own links, grouped and translated; each carries the settings to the next page."""
    with st.container(key="cf-nav", gap=None):
        st.html(f'<div class="cf-brand"><b>cfviz</b><span>{ctx.t("common.brand")}</span></div>')
        for group, pages in NAVIGATION.items():
            there = [page for page in pages if exists(page)]
            if there:
                st.html(f'<div class="cf-nav-group">{ctx.t(f"common.nav_{group}")}</div>')
            for page in there:
                st.page_link(
                    script(page),
                    label=ctx.t(f"common.page_{page}"),
                    icon=f":material/{ICONS[page]}:",
                    query_params=ctx.settings.query(),
                    width="stretch",
                )


_document = st.components.v2.component("cfviz.document", js=web.script("shell/document.js"))


HIDE_STALE = (  # at once: Streamlit fades them, which takes a second and a half
    # what the reader works in stays: hidden, it would lose the keyboard, and the next key would do nothing
    '[data-testid="stMain"] [data-stale="true"]:not(:focus-within), '
    '[data-testid="stMain"] [data-stale="true"]:not(:focus-within) * '
    "{ visibility: hidden !important; opacity: 0 !important; transition: none !important; }"
)


def style(ctx: Context, hide_stale: bool = False) -> Any:
    """The few styles that Streamlit's theme cannot express, and the page's language for screen readers.

    Returns:
        An unseen container for components without a face.

    Args:
        ctx: The page.
        hide_stale: Whether results on the screen belong to other settings: Streamlit would leave them
            standing, faded, below the new model's name until their successors arrive.
    """
    words = {
        "browse": ctx.t("common.browse"),
        "limits": ctx.t("common.limits"),
        "refused": ctx.t("common.refused"),
        "refused-weights": ctx.t("common.refused_weights"),
    }
    variables = "".join(f'--cf-{name}: "{text}";' for name, text in words.items())
    colours = {
        "paper": ctx.theme.paper,
        "ink": ctx.theme.ink,
        "muted": ctx.theme.muted,
        "good": ctx.theme.good,
        "warn": ctx.theme.warn,
    }
    variables += "".join(f"--cf-{name}: {colour};" for name, colour in colours.items())
    more = (HIDE_STALE if hide_stale else "") + (PRESENT if ctx.settings.present else "")
    st.html(f"<style>:root {{ {variables} }} {CSS} {more}</style>")
    unseen = st.container(key="cf-document")
    with unseen:
        data = {"lang": ctx.lang, "theme": ctx.theme.name}
        _document(key="document", data=data, height=1, on_scheme_change=lambda: None)
    return unseen


def header(ctx: Context, turn: Callable[[Context, int], bool] | None, lede: str) -> None:
    """The title with the tools beside it and, below, one sentence on what the page is for.

    Args:
        ctx: The page.
        turn: Goes on to the next step (1) or back (-1) of a page, if there is one; returns whether there is.
        lede: The key of the sentence.
    """
    back = ctx.get("back", "", lambda text: re.fullmatch(r"\d{1,2}\.\d{1,2}", text) is not None)
    if back and ctx.name != "learn":  # the reader came here from a step of a lesson
        lesson, step = back.split(".")
        with st.container(key="cf-back"):
            st.page_link(
                script("learn"), label=ctx.t("common.to_lesson", lesson=lesson, step=step),
                icon=":material/arrow_back:",
                query_params=ctx.settings.query() | {"room": "lessons", "lesson": lesson, "step": step},
            )  # fmt: skip
    with st.container(key="cf-head", horizontal=True, vertical_alignment="center", gap="small"):
        st.title(ctx.t(f"{ctx.name}.title"), anchor=False)
        pages = [page for group in NAVIGATION.values() for page in group if exists(page)]
        at = pages.index(ctx.name)
        by = view.show_tools(ctx, (at + 1, len(pages)), steps=turn is not None)
    st.markdown(f'<p class="cf-lede">{ctx.t(lede)}</p>', unsafe_allow_html=True)
    turned = bool(by and turn and turn(ctx, by))
    if by and not turned and 0 <= (to := at + by) < len(pages):
        st.switch_page(script(pages[to]), query_params=ctx.settings.query())
