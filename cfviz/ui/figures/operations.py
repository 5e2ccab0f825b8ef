"""The figure of what a forward computes, for the lab and the page of detectors and segmenters."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from cfviz.framing import Size, size_code
from cfviz.measured.operations import figure, how_measured, sentence
from cfviz.models.export import missing_packages
from cfviz.models.probes.operations import PASSES, Operations, operations
from cfviz.ui.compute.background import in_background
from cfviz.ui.context import Context
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import OPERATIONS
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import together

FEW = 3  # passes of a model that takes long
AGAIN = "cfviz.computes"  # how often this reader has asked for another measurement


def show_operations(
    ctx: Context,
    key: str,
    model: Any,
    image: Any,
    quick: bool,
    code: str,
    export: Callable[[Any, Path, Size], Any] | None,
    name: str,
    size: Size,
) -> None:
    """The figure, measured once for this photo, model and size, or again when asked.

    Args:
        ctx: The page.
        key: Stands for the model, the photo and the size.
        model: In eval mode.
        image: The model's input, (3, H, W).
        quick: Whether a forward takes little time, so that many can be timed.
        code: What computes the same in Python.
        export: Writes the model's ONNX file; None if there is none of such a model.
        name: The model's, for the file.
        size: Of the input.
    """
    asked = f"{AGAIN}.{ctx.name}"
    measure = partial(operations, model, image, PASSES if quick else FEW)
    found: Operations | None = in_background(
        ("operations", key, st.session_state.get(asked, 0)), measure, ctx.t("lab.computes_wait")
    )
    if found is None:
        return
    chart.show_hint(together(sentence(found, ctx.lang), ctx.t("lab.computes_look")))
    OPERATIONS.show(figure(found, ctx.lang), name=f"{ctx.name}.computes")
    st.caption(how_measured(found, ctx.lang))
    with st.container(horizontal=True, key=f"{ctx.name}-computes", gap="small", vertical_alignment="center"):
        st.button(
            ctx.t("lab.computes_again"), icon=":material/replay:", type="tertiary",
            key=f"{ctx.name}.computes_again",
            on_click=lambda: st.session_state.update({asked: st.session_state.get(asked, 0) + 1}),
        )  # fmt: skip
        st.download_button(
            ctx.t("lab.computes_json"), lambda: json.dumps(found.as_dict(), indent=1).encode(),
            "cfviz-operations.json", "application/json", type="tertiary", icon=":material/data_object:",
            on_click="ignore", key=f"{ctx.name}.computes_json",
        )  # fmt: skip
        if export is not None:
            _offer_onnx(ctx, partial(_onnx_bytes, export, model, size), f"{name}-{size_code(size)}.onnx")
    take_away(ctx, "computes", code=code)


def _offer_onnx(ctx: Context, onnx: Callable[[], bytes], file: str) -> None:
    """The model at this size as an ONNX file, made when it is asked for."""
    if missing := missing_packages():
        st.caption(ctx.t("lab.computes_onnx_missing", names=" ".join(missing)))
        return
    st.download_button(
        ctx.t("lab.computes_onnx"), onnx, file, "application/octet-stream", type="tertiary",
        icon=":material/schema:", on_click="ignore", key=f"{ctx.name}.computes_onnx",
        help=ctx.t("lab.computes_onnx_help"),
    )  # fmt: skip


def _onnx_bytes(export: Callable[[Any, Path, Size], Any], model: Any, size: Size) -> bytes:
    """A model as the bytes of an ONNX file, by the function that writes it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(model, path, size)
        return path.read_bytes()
