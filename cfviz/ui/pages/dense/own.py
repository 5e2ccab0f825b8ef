"""The reader's own file of a detector or segmenter, dropped on the page."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz.models.dense.checkpoints import load_dense
from cfviz.models.dense.factory import build_dense
from cfviz.models.dense.model import DenseModel
from cfviz.models.weights.errors import CheckpointError, readable_size
from cfviz.ui.compute import dense as models
from cfviz.ui.context import Context
from cfviz.ui.session import budget, state
from cfviz.ui.session.plain import explain
from cfviz.ui.widgets.weights import MAX_MB, TYPES

MAX_OWN = 2
SEEN, REFUSED = "cfviz.dense_seen", "cfviz.refused_dense"


def upload(ctx: Context) -> None:
    """A place to drop a file; a refused one gets a reason, an accepted one is chosen."""
    t = ctx.t
    with st.popover(t("dense.own"), icon=":material/upload_file:"):
        file = st.file_uploader(
            t("dense.upload"),
            TYPES,
            key="w.dense.weights",
            help=t("dense.upload_help"),
            max_upload_size=MAX_MB,
        )
        if file is not None and st.session_state.get(SEEN) != file.file_id:
            st.session_state[SEEN] = file.file_id
            st.session_state.pop(REFUSED, None)
            try:
                name = keep(file)
            except ValueError as error:
                st.session_state[REFUSED] = error
            else:
                ctx.put(net=name)
                st.rerun()
        if (refused := st.session_state.get(REFUSED)) is not None and file is not None:
            st.error(explain(t, refused), icon=":material/error:")


def keep(file: Any) -> str:
    """Open an upload and keep its model for this session; returns its id.

    Raises:
        CheckpointError: If it is too large, or holds no learned detector or segmenter for colour photos.
    """
    if file.size > MAX_MB * 2**20:  # only the browser has checked so far
        limit, size = f"{MAX_MB} MB", readable_size(file.size)
        raise CheckpointError("too_heavy", source=file.name, size=size, limit=limit)
    checkpoint = load_dense(file.getvalue(), name=file.name, allow_pickle=False)
    if checkpoint.backbone.in_chans != 3:
        raise CheckpointError("channels", source=file.name, channels=checkpoint.backbone.in_chans)
    if not checkpoint.provenance.predicts:
        raise ValueError(f"{file.name} holds random weights, which have learned nothing")
    net: DenseModel = build_dense(checkpoint)
    try:
        budget.shared().hold(net, sum(p.nbytes for p in net.parameters()))
    except budget.FullError as full:
        raise CheckpointError("no_room", source=file.name, limit=full.limit) from None
    mine, name = models.own(), f"{state.OWN}{str(checkpoint.backbone.sha256)[:10]}"
    mine[name] = net
    while len(mine) > MAX_OWN:
        del mine[next(iter(mine))]
    return name
