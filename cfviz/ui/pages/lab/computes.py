"""The lab's section on what the unchanged model computes: operations, shapes, measured time, ONNX file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from cfviz.framing import Size, size_code
from cfviz.measured import quick
from cfviz.measured.operations import figure, how_measured, sentence
from cfviz.models.crossformer import CrossFormer
from cfviz.models.export import export_onnx, missing_packages
from cfviz.models.probes.operations import PASSES, Operations, operations
from cfviz.ui.compute.background import in_background
from cfviz.ui.compute.models import model_code
from cfviz.ui.session import photos
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import OPERATIONS
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import together

from .experiment import Experiment

FIGURE = "lab.computes"
AGAIN = "cfviz.lab.computes"  # how often this reader has asked for another measurement
FEW = 3  # passes of a model that takes long


def show_computes(experiment: Experiment) -> None:
    """The figure, measured once for this photo, model and size, or again when asked."""
    ctx = experiment.ctx
    found = _found(experiment)
    if found is None:
        return
    chart.show_hint(together(sentence(found, ctx.lang), ctx.t("lab.computes_look")))
    OPERATIONS.show(figure(found, ctx.lang), name=FIGURE)
    st.caption(how_measured(found, ctx.lang))
    with st.container(horizontal=True, key="lab-computes", gap="small", vertical_alignment="center"):
        st.button(
            ctx.t("lab.computes_again"), icon=":material/replay:", type="tertiary", key="lab.computes_again",
            on_click=lambda: st.session_state.update({AGAIN: st.session_state.get(AGAIN, 0) + 1}),
        )  # fmt: skip
        st.download_button(
            ctx.t("lab.computes_json"), lambda: json.dumps(found.as_dict(), indent=1).encode(),
            "cfviz-operations.json", "application/json", type="tertiary", icon=":material/data_object:",
            on_click="ignore", key="lab.computes_json",
        )  # fmt: skip
        _offer_onnx(experiment)
    take_away(ctx, "computes", code=_code(experiment))


def _found(experiment: Experiment) -> Operations | None:
    """The operations; None and a progress line while they are measured."""
    model, image = experiment.model, experiment.image
    passes = PASSES if quick(model, experiment.ctx.settings.sides) else FEW
    key = ("operations", experiment.key, experiment.photo.sha256, st.session_state.get(AGAIN, 0))
    found: Operations | None = in_background(
        key, partial(operations, model, image, passes), experiment.ctx.t("lab.computes_wait")
    )
    return found


def _offer_onnx(experiment: Experiment) -> None:
    """The model at this size as an ONNX file, made when it is asked for."""
    ctx = experiment.ctx
    if missing := missing_packages():
        st.caption(ctx.t("lab.computes_onnx_missing", names=" ".join(missing)))
        return
    size = ctx.settings.sides
    st.download_button(
        ctx.t("lab.computes_onnx"), partial(_onnx, experiment.model, size),
        f"{ctx.settings.model.rpartition('/')[2] or 'model'}-{size_code(size)}.onnx",
        "application/octet-stream", type="tertiary", icon=":material/schema:", on_click="ignore",
        key="lab.computes_onnx", help=ctx.t("lab.computes_onnx_help"),
    )  # fmt: skip


def _onnx(model: CrossFormer, size: Size) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path, size)
        return path.read_bytes()


def _code(experiment: Experiment) -> str:
    s = experiment.ctx.settings
    return f"""
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.probes.operations import operations

model = {model_code(experiment.model)}
x = prepare(load_image({photos.photo_code(s.photo)}), {s.framing_code}).tensor
found = operations(model, x)
print(found.root.seconds, found.plain, found.device, found.threads)   # recorded, and plain
for one in found.root.walk():
    print("  " * len(one.path), one.kind, one.inputs, one.output, one.macs, one.seconds)
"""
