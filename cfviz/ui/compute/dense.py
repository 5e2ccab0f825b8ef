"""The detectors and segmenters on offer: those with learned weights at hand, opened once for all readers."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz.models.crossformer import settled
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.variants import DENSE
from cfviz.models.factory import create_model
from cfviz.models.variants import SHIPPED
from cfviz.models.weights.download import cache_dir
from cfviz.ui.session import queue
from cfviz.ui.session.plain import file_title

_OWN = "cfviz.own_dense"
TITLES = {
    "retinanet": "RetinaNet", "mask_rcnn": "Mask R-CNN", "semantic_fpn": "Semantic FPN", "upernet": "UPerNet",
}  # fmt: skip


def own() -> dict[str, DenseModel]:
    """The reader's own detectors and segmenters by id; they live as long as the session."""
    return st.session_state.setdefault(_OWN, {})


def source_of(name: str) -> str | None:
    """Where learned weights behind a name are: "own", "bundled" or "official"; None if there are none."""
    if name in own():
        return "own"
    if name in DENSE and name in SHIPPED:
        return "bundled"
    return "official" if name in DENSE and (cache_dir() / "weights" / f"{name}.pth").is_file() else None


def names() -> list[str]:
    """Names of the models with learned weights at hand, the bundled ones first, the reader's own last."""
    there = [name for name in DENSE if source_of(name)]
    return [*sorted(there, key=lambda name: source_of(name) != "bundled"), *own()]


def title(name: str) -> str:
    """`semantic_fpn_crossformer_nano` -> "Semantic FPN nano"; for a reader's own model, the file's name."""
    if name in own():
        return file_title(own()[name].provenance.source, name)
    return f"{TITLES[DENSE[name].kind]} {name.rpartition('_')[2]}"


def model(name: str, device: str) -> DenseModel:
    """The model behind a name, in float32.

    Raises:
        ValueError: If its weights cannot be opened, or are random.
    """
    found = source_of(name)
    if found == "own":
        return own()[name]
    net = _opened(name, str(found), device)
    if not net.provenance.predicts:
        raise ValueError(f"{name} holds random weights, which have learned nothing")
    return net


@st.cache_resource(show_spinner=False, max_entries=4)
def _opened(name: str, source: str, device: str) -> DenseModel:
    with queue.turn("model", name):
        made: Any = create_model(name, source)
        return settled(made.to(device))
