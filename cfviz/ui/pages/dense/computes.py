"""The section on what a detector or segmenter computes: operations, shapes, measured time, ONNX file."""

from __future__ import annotations

from cfviz.measured.dense import DenseSubject
from cfviz.models.dense.export import export_dense
from cfviz.models.dense.model import MaskRCNN
from cfviz.ui.context import Context
from cfviz.ui.figures import scenes
from cfviz.ui.figures.operations import show_operations
from cfviz.ui.session import photos

from .view import scene_of

CODE = """
import cfviz
from cfviz.measured.operations import measure_operations

{opening}measured = measure_operations({photo}, {model})
for one in measured.found.root.walk():
    print("  " * len(one.path), one.kind, one.inputs, one.output, one.macs, one.seconds)
"""


def show_computes(ctx: Context, subject: DenseSubject) -> None:
    """The figure of the operations."""
    net, source = subject.model, subject.model.provenance.source
    name = str(net.pretrained_cfg["architecture"])
    said = f'"{name}"' if source == "bundled" else f'cfviz.create_model("{name}", weights={source!r})'
    photo, opening = photos.named(ctx.settings.photo), ""
    if subject.truth is not None:
        photo, opening = "photo", scenes.code(scene_of(ctx)) + "\n"
    onnx = None if isinstance(net, MaskRCNN) else export_dense
    show_operations(
        ctx, subject.source, net, subject.fitted.tensor[0], subject.quick,
        CODE.format(opening=opening, photo=photo, model=said), onnx, name, subject.input,
    )  # fmt: skip
