"""The reader's own weights of a model of timm: a place to drop them, kept for the session."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.models.others.own import OwnWeights, load_own, own_names
from cfviz.models.room import MOST_CLASSES
from cfviz.ui.context import Context
from cfviz.ui.session.plain import file_title
from cfviz.ui.session.state import OWN
from cfviz.ui.widgets import weights

MAX_OWN = 2
_OWN = "cfviz.attention.own_timm"
_NAME, _CLASSES = "w.attention.timm_name", "w.attention.timm_classes"
_OPEN = "w.attention.timm_open"


def own() -> dict[str, OwnWeights]:
    """The reader's own weights by id; they live as long as the session."""
    return st.session_state.setdefault(_OWN, {})


def title(found: OwnWeights) -> str:
    """The name of the file, harmless in Markdown and in figures."""
    return file_title(found.provenance.source, found.name)


def upload(ctx: Context) -> None:
    """A place to say which model it is and to drop its file; a refused one gets a reason."""
    t = ctx.t
    st.session_state[_OPEN] = opened = bool(ctx.get(weights.OWN_TIMM, 0, (0, 1)))
    if opened:
        _arrive()(key="attention.timm_arrive")
    with st.popover(
        t("attention.others_own"), icon=":material/upload_file:", key=_OPEN,
        on_change=lambda: ctx.put(**{weights.OWN_TIMM: int(st.session_state[_OPEN])}),
    ):  # fmt: skip
        name = st.selectbox(
            t("attention.others_own_model"), own_names(), index=None, key=_NAME,
            placeholder=t("attention.others_own_choose"), help=t("attention.others_own_model_help"),
        )  # fmt: skip
        typed = st.text_input(
            t("attention.others_own_classes"), key=_CLASSES, help=t("attention.others_own_classes_help")
        )
        classes = split_names(typed)
        if name is None:
            st.caption(t("attention.others_own_first"))
            return
        weights.receive(
            ctx, "attention.timm_file", t("attention.others_own_file"), t("attention.others_own_help"),
            lambda file: ctx.put(timm=keep(file, name, classes), **{weights.OWN_TIMM: 0}),
            told=f"{name} {classes}",
        )  # fmt: skip


@lru_cache(maxsize=1)
def _arrive() -> Any:
    """Brings this place into view."""
    return st.components.v2.component("cfviz.arrive", js=web.script("shell/arrive.js"))


def split_names(typed: str) -> tuple[str, ...]:
    """The names in a line, between commas of either language."""
    return tuple(name for part in re.split("[,，、]", typed) if (name := part.strip()))


def keep(file: Any, name: str, classes: tuple[str, ...] = ()) -> str:
    """Open an upload and keep its weights for this session; returns their id.

    Raises:
        ValueError: If it is too large, not this model's, or has another number of classes than names.
    """
    weights.check_size(file)
    found = load_own(file.getvalue(), name, classes, file.name, allow_pickle=False)
    weights.check_shape(file.name, 3, found.num_classes, MOST_CLASSES)
    weights.hold_bytes(found, found.nbytes, file.name)
    mine, key = own(), f"{OWN}{str(found.provenance.sha256)[:10]}"
    mine[key] = found
    while len(mine) > MAX_OWN:
        del mine[next(iter(mine))]
    return key
