"""The sidebar's controls, the same on every page: photo, model, input size, number format."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from cfviz.framing import size_code, size_text
from cfviz.models.probes.formats import format_times
from cfviz.options import LDA
from cfviz.ui.compute import keys, models
from cfviz.ui.compute.background import in_background
from cfviz.ui.context import Context
from cfviz.ui.session import photos, state
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import weights
from cfviz.ui.widgets.framing import show_framing
from cfviz.ui.widgets.photos import add_photos, photo_order, photo_title
from cfviz.words import together


def sidebar(ctx: Context) -> None:
    """Draw the controls, each of which changes one setting."""
    t, settings = ctx.t, ctx.settings
    with st.container(key="cf-photo", gap="small"):
        _choose(
            t("common.photo"),
            "photo",
            [*photo_order(ctx), *photos.own()],
            settings.photo,
            lambda id: photo_title(t, id),
        )
        with st.popover(t("common.own_photo"), icon=":material/add_a_photo:", width="stretch"):
            add_photos(ctx, "side")
    _choose(t("common.model"), "model", models.names(), settings.model, partial(models.marked, t))
    with st.popover(t("common.own_weights"), icon=":material/upload_file:", width="stretch"):
        weights.upload_weights(ctx)
    show_framing(ctx, _choose)
    _form(ctx)
    _choose(
        t("common.dtype"),
        "dtype",
        state.DTYPES,
        settings.dtype,
        lambda dtype: t(f"common.{dtype}"),
    )
    if settings.dtype != "float32":
        st.caption(t("common.dtype_help"))
        _measured_time(ctx)
    st.caption(t(f"common.device_{'cpu' if settings.device == 'cpu' else 'cuda'}"))


def _form(ctx: Context) -> None:
    """The form of long distance attention: that of the weights, until the reader chooses the other."""
    settings, t = ctx.settings, ctx.t
    implied, form = models.implied_form(settings.model), models.form_of(settings)
    _choose(t("common.lda"), "lda", LDA, form, lambda one: t(f"common.lda_{one}"))
    if form == "whole":
        st.caption(t("common.lda_help"))
        said = t("common.lda_implied" if implied == "whole" else "common.lda_chosen")
        same = models.same_groups(settings.model, settings.sides)
        st.caption(together(said, t("common.lda_same") if same else ""))
    elif implied == "whole":
        st.caption(t("common.lda_against"))


def _measured_time(ctx: Context) -> None:
    """Show how much time the number format costs or saves with this model on this machine.

    Processors differ tenfold.
    """
    settings, t = ctx.settings, ctx.t
    try:
        model = models.model(settings)
        stem: Any = model.patch_embed.projs[0]
        shape = (1, stem.in_channels, *settings.sides)
        seconds = in_background(
            keys.joined("formats", keys.weights(settings, model), size_code(settings.size)),
            lambda: format_times(model, shape, ("float32", settings.dtype)),
            t("common.dtype_wait"),
        )
    except (ValueError, FileNotFoundError, RuntimeError):
        return  # the page reports a faulty model; without memory for two copies nothing was measured
    if seconds is None:
        return
    exact, chosen = seconds["float32"], seconds[settings.dtype]
    st.caption(
        t(
            "common.dtype_time",
            dtype=settings.dtype,
            model=plain(models.title(settings.model)),
            size=size_text(settings.size),
            time=f"{chosen * 1e3:.1f}",
            exact=f"{exact * 1e3:.1f}",
        )
    )


def _choose(label: str, name: str, options: Any, value: Any, title: Any) -> None:
    """A select box that changes one setting; its state is set from the settings at every run."""
    key = f"w.{name}"
    st.session_state[key] = value
    st.selectbox(label, list(options), format_func=title, key=key, on_change=_adopt, args=(name,))


def _adopt(name: str) -> None:
    """Copy a changed widget's value to the settings."""
    if name == "lda" and st.session_state["w.lda"] == models.implied_form(state.stored().model):
        state.change(lda=state.AS_TRAINED)
    else:
        state.adopt(name)
