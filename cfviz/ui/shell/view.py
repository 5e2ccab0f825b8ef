"""How a page is shown: from the photo's own pixels or the input's, on the whole screen, in which language."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.data.decode import Photo
from cfviz.data.images import original
from cfviz.figures.live import message
from cfviz.ui.compute import cache, keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos, state
from cfviz.ui.widgets.figure import committed
from cfviz.words import LANGUAGES, Translator

NAME = "view"
WITHOUT_PHOTO = ("grouping", "study")
OWN_PHOTO = ("dense",)  # pages whose figures show another input than the classifier's
TURNS = {"next": 1, "back": -1}
WORDS = (
    "label", "input", "input_help", "full", "full_help", "leave", "keys", "slide", "back_slide", "next_slide",
)  # fmt: skip


def show_tools(ctx: Context, place: tuple[int, int], steps: bool) -> int:
    """The buttons beside the title, and the switch between the languages.

    Args:
        ctx: The page.
        place: The page's number from 1, and how many there are.
        steps: Whether the page has steps, which a presenter turns first.

    Returns:
        1 if the next step or page was asked for, -1 if the one before, else 0.
    """

    def adopt() -> None:
        asked = committed(NAME, forms.VIEW_ASKED, "asked")
        if asked in state.PIXELS:
            state.change(pixels=asked)
        elif asked in ("full", "leave"):
            state.change(present=asked == "full")

    n, of = place
    data = {
        "input": ctx.settings.pixels == "input",
        "photo": ctx.name not in WITHOUT_PHOTO,
        "present": ctx.settings.present,
        "page": ctx.name,
        "steps": steps,
        "back": steps or n > 1,
        "next": steps or n < of,
        "words": _words(ctx, "step" if steps else "page") | {"place": "" if steps else f"{n} / {of}"},
    }
    _tools()(key=NAME, data=data, on_asked_change=adopt, height="content", width="content")
    if not ctx.settings.present:
        _language(ctx.settings.lang, ctx.t)
    return TURNS.get(committed(NAME, forms.VIEW_ASKED, "asked"), 0)


def _words(ctx: Context, what: str) -> dict[str, str]:
    words = {name: ctx.t(f"common.view_{name}") for name in WORDS}
    return words | {name: ctx.t(f"common.view_{name}_{what}") for name in ("back", "next")}


@lru_cache(maxsize=1)
def _tools() -> Any:
    return st.components.v2.component(
        "cfviz.view", html='<div class="view"></div>', css=web.text("view/view.css"),
        js=web.script("view/main.js"),
    )  # fmt: skip


def _language(lang: str, t: Translator) -> None:
    """The switch between the two languages, each shown under its own name."""
    st.session_state["w.lang"] = lang
    st.segmented_control(
        t("common.language"),
        list(LANGUAGES),
        format_func=lambda code: LANGUAGES[code],
        key="w.lang",
        required=True,
        on_change=state.adopt,
        args=("lang",),
        label_visibility="collapsed",
        width="content",
    )


# ---------------------------------------------------------------- the photo, once for all figures of a page


def show_original(ctx: Context) -> None:
    """Give the browser the part of the original photo that the input shows; the same bytes are sent once."""
    if ctx.name in WITHOUT_PHOTO + OWN_PHOTO:
        return
    with suppress(ValueError):  # the page itself says what is wrong with the photo or the size
        photo = photos.photo(ctx.settings.photo)
        data = _original(photo.sha256, keys.framing(ctx.settings), photo, ctx.settings)
        send_original(data, "original")


def send_original(data: bytes, key: str) -> None:
    """Give the browser an original, see `message.original`.

    Args:
        data: The message.
        key: A key unique on the page.
    """
    _sender()(key=key, data=data, height=1)


@cached(64, 16 * 2**20)
def _original(sha256: str, framing: str, _photo: Photo, _settings: state.Settings) -> bytes:
    prepared = cache.prepared(_settings, _photo)
    return message.original(prepared.crop, original(_photo, prepared))


@lru_cache(maxsize=1)
def _sender() -> Any:
    return st.components.v2.component("cfviz.photo", js=web.script("photo/main.js"))
