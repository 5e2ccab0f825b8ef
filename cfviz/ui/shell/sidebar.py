"""The sidebar's controls, the same on every page: photo, model, input size, number format, language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from cfviz.data.samples import gallery
from cfviz.ui.session import photos, state
from cfviz.ui.session.plain import plain, plain_fields
from cfviz.ui.widgets import weights
from cfviz.words import LANGUAGES, Translator

if TYPE_CHECKING:
    from .page import Context

TYPES = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"]


def sidebar(ctx: Context) -> None:
    """Draw the controls and let each change the settings."""
    t, settings = ctx.t, ctx.settings
    with st.container(key="cf-photo", gap="small"):
        _choose(t("common.photo"), "photo", photos.ids(), settings.photo, lambda id: photo_title(t, id))
        with st.popover(t("common.own_photo"), icon=":material/add_a_photo:", width="stretch"):
            add_photos(ctx, "side")
    _choose(t("common.model"), "model", weights.names(), settings.model, weights.title)
    with st.popover(t("common.own_weights"), icon=":material/upload_file:", width="stretch"):
        weights.take(ctx)
    _choose(t("common.size"), "size", state.SIZES, settings.size, lambda size: f"{size} × {size} px")
    _choose(
        t("common.dtype"),
        "dtype",
        state.DTYPES,
        settings.dtype,
        lambda dtype: t(f"common.{dtype}"),
        help=t("common.dtype_help"),
    )
    st.caption(t(f"common.device_{'cpu' if settings.device == 'cpu' else 'cuda'}"))
    language(settings.lang, t)


def add_photos(ctx: Context, place: str) -> None:
    """Upload, drag and drop, camera; the photos stay in this session's memory."""
    t = ctx.t
    with st.container(key=f"cf-drop-{place}"):
        uploads = st.file_uploader(
            t("common.upload"),
            TYPES,
            accept_multiple_files=True,
            key=f"w.upload.{place}",
            max_upload_size=photos.MAX_BYTES // 2**20,
            help=t("common.upload_help"),
        )
    shots: list[Any] = []
    if st.toggle(t("common.camera"), key=f"w.camera_on.{place}"):
        shot = st.camera_input(
            t("common.camera_shoot"), key=f"w.camera.{place}", label_visibility="collapsed"
        )
        shots = [shot] if shot is not None else []
    new = [*(uploads or []), *shots]
    added, refused = photos.take(new)
    if added:
        st.rerun()  # the choice above was drawn before the photo was there
    for name, error in refused:
        reason = t(f"images.error_{error.code}", **plain_fields(error.fields))
        st.error(f"**{plain(name, 80)}** {reason}", icon=":material/error:")


def language(lang: str, t: Translator) -> None:
    """The switch between the two languages, each called by its own name."""
    st.session_state["w.lang"] = lang
    st.segmented_control(
        t("common.language"),
        list(LANGUAGES),
        format_func=lambda code: LANGUAGES[code],
        key="w.lang",
        required=True,
        on_change=_adopt,
        args=("lang",),
        label_visibility="collapsed",
    )


def photo_title(t: Translator, id: str) -> str:
    """A photo's name: translated for the gallery, the file's own for the reader's."""
    if id in photos.own():
        return photos.own()[id].name or t("common.unnamed")
    return t(f"gallery.{id}")


def photo_credit(t: Translator, id: str) -> str:
    """One line of Markdown that thanks who made the photo."""
    for entry in gallery():
        if entry.id == id:
            licence = f"[{entry.license}]({entry.source})" if entry.source else entry.license
            return t("common.credit", author=entry.author, licence=licence)
    return t("common.credit_own")


def _choose(label: str, name: str, options: Any, value: Any, title: Any, help: str | None = None) -> None:
    """A select box that changes one setting; its state is seeded from the settings at every run."""
    key = f"w.{name}"
    st.session_state[key] = value
    st.selectbox(label, list(options), format_func=title, key=key, on_change=_adopt, args=(name,), help=help)


def _adopt(name: str) -> None:
    """A widget changed: so do the settings."""
    value = st.session_state[f"w.{name}"]
    if value is not None:
        state.change(**{name: value})
