"""The frame of every page: `ctx = start("predict")` and draw.

from cfviz.ui import start

ctx = start("attention")                      # title, navigation, sidebar, link
trace = ctx.trace("layers.0.blocks.*.attn.probs")
st.write(ctx.t("attention.look"))
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape

import streamlit as st

from cfviz.figures.theme import theme
from cfviz.run import pick_device, share_cores
from cfviz.ui.compute import cache, models
from cfviz.ui.context import Context
from cfviz.ui.session import door, photos, queue, state
from cfviz.ui.session.plain import plain_fields
from cfviz.ui.widgets.photos import photo_title
from cfviz.ui.widgets.weights import weights_banner
from cfviz.words import preferred, translator

from . import frame, view
from .sidebar import sidebar

WITHOUT_MODEL = ("grouping", "dense")  # pages without the sidebar's model, and the notice about its weights
AT_ONCE = ("grouping", "study")  # pages that compute nothing before they are drawn


def start(
    name: str,
    turn: Callable[[Context, int], bool] | None = None,
    lede: Callable[[Context], str] | None = None,
) -> Context:
    """Begin a page: settings from link and session, title, navigation, sidebar.

    Args:
        name: The page's name: "home" for `app.py`, else the file's name in `pages/` without `.py`. Its
            translations are in `<name>.json`, with at least `title` and `lede`.
        turn: Goes on to the next step (1) or back (-1) of a page that has steps, if there is one, and returns
            whether there is; otherwise a presenter's keys turn the pages.
        lede: The key of the sentence below the title, for a page of several rooms; by default `<name>.lede`.
    """
    door.guard()
    base = state.Settings(lang=preferred(st.context.locale), device=pick_device())
    settings, notes = state.current(base, models.names(), photos.ids(), name)
    t = translator(settings.lang)
    st.set_page_config(page_title=f"{t(name + '.title')} · cfviz", page_icon=frame.ICON, layout="wide")
    cache.tune_interpreter().schedule()
    queue.count_readers()
    share_cores()
    state.write_link(settings, name)
    ctx = Context(name, t, settings.lang, theme(st.context.theme.type), settings)
    outdated = name not in AT_ONCE and state.outdated(name, settings)
    unseen = frame.style(ctx, hide_stale=outdated)
    with st.sidebar:
        frame.navigation(ctx)
        sidebar(ctx)
    frame.header(ctx, turn, lede(ctx) if lede else f"{name}.lede")
    for note in notes:
        st.info(t(note.key, **plain_fields(note.fields)), icon=":material/link_off:")
    ctx.banner = st.container()
    if outdated:  # inside the banner: a further element here would draw all those below it anew
        ctx.waiting = ctx.banner.empty()
        title, photo = models.title(settings.model), photo_title(t, settings.photo)
        told = escape(t("common.computing", model=title, photo=photo))
        ctx.waiting.html(f'<p class="cf-computing" role="status">{told}</p>')
    ctx.on_cpu = partial(_gpu_full, ctx)
    if name not in WITHOUT_MODEL:
        weights_banner(ctx)
    with unseen:
        view.show_original(ctx)
    return ctx


def _gpu_full(ctx: Context) -> None:
    """Show above the page that the GPU had no room, so the CPU computed the results."""
    with ctx.banner:
        st.warning(ctx.t("common.gpu_full"), icon=":material/memory:")
