"""The reader's own file of a detector or segmenter, dropped on the page."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz.figures.live.dense import NONE
from cfviz.models.crossformer import settled
from cfviz.models.dense.checkpoints import load_dense
from cfviz.models.dense.factory import build_dense
from cfviz.models.dense.model import DenseModel
from cfviz.ui.compute import dense as models
from cfviz.ui.context import Context
from cfviz.ui.session import state
from cfviz.ui.widgets import weights

MAX_OWN = 2


def upload(ctx: Context) -> None:
    """A place to drop a file; a refused one gets a reason, an accepted one is chosen."""
    t = ctx.t
    with st.popover(t("dense.own"), icon=":material/upload_file:"):
        weights.receive(
            ctx,
            "dense.weights",
            t("dense.upload"),
            t("dense.upload_help"),
            lambda file: ctx.put(net=keep(file)),
        )


def keep(file: Any) -> str:
    """Open an upload and keep its model for this session; returns its id.

    Raises:
        ValueError: If it is too large, or holds no learned detector or segmenter for colour photos, or one
            with more classes than the figure can show.
    """
    weights.check_size(file)
    checkpoint = load_dense(file.getvalue(), name=file.name, allow_pickle=False)
    weights.check_shape(file.name, checkpoint.backbone.in_chans, checkpoint.num_classes, NONE)
    if not checkpoint.provenance.predicts:
        raise ValueError(f"{file.name} holds random weights, which have learned nothing")
    net: DenseModel = build_dense(checkpoint)
    weights.hold(net, file.name)
    mine, name = models.own(), f"{state.OWN}{str(checkpoint.backbone.sha256)[:10]}"
    mine[name] = settled(net)
    while len(mine) > MAX_OWN:
        del mine[next(iter(mine))]
    return name
