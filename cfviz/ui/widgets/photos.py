"""Photos on a page: their titles and credits, and a place to add one's own."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz.data.samples import gallery
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.session.plain import plain, plain_fields
from cfviz.words import Translator

_FORGOTTEN = "cfviz.forgotten"  # how often the reader has removed all own photos


def add_photos(ctx: Context, place: str) -> None:
    """Add photos by upload, drag and drop or camera; they stay in memory while the browser is connected."""
    t = ctx.t
    again = st.session_state.get(_FORGOTTEN, 0)  # an uploader with another key has no files
    with st.container(key=f"cf-drop-{place}"):
        uploads = st.file_uploader(
            t("common.upload"),  # of any type: anything but a photo is refused here, in the reader's language
            accept_multiple_files=True,
            key=f"w.upload.{place}{again or ''}",
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
        st.rerun()  # the choice above was drawn before the photo was added
    if gone := photos.made_room(new):
        names = plain(", ".join(gone), 400)
        limits = {"most": photos.MAX_OWN, "megabytes": photos.MAX_OWN_BYTES // 2**20}
        st.warning(t("common.made_room", names=names, **limits), icon=":material/info:")
    for name, error in refused:
        reason = t(f"images.error_{error.code}", **plain_fields(error.fields))
        st.error(f"**{plain(name, 80)}** {reason}", icon=":material/error:")
    if photos.own():
        st.button(
            t("common.forget_photos"), icon=":material/delete:", type="tertiary", key=f"w.forget.{place}",
            help=t("common.forget_photos_help"), on_click=_forget,
        )  # fmt: skip


def _forget() -> None:
    photos.forget()
    st.session_state[_FORGOTTEN] = st.session_state.get(_FORGOTTEN, 0) + 1


def photo_title(t: Translator, id: str) -> str:
    """A photo's name: translated for the gallery; the reader's own are called so, with the file's name."""
    if id in photos.own():
        return t("common.yours", name=photos.own()[id].name or t("common.unnamed"))
    return t(f"gallery.{id}")


def photo_order(ctx: Context) -> list[str]:
    """The ids of the gallery's photos, those that the chosen model can know first."""
    ids = [entry.id for entry in gallery()]
    return sorted(ids, key=lambda id: models.shown(ctx.settings.model, id) == ())


def photo_credit(t: Translator, id: str) -> str:
    """One line of Markdown that credits the photographer."""
    for entry in gallery():
        if entry.id == id:
            return entry.credit(t)
    return t("common.credit_own")
