"""The section on what a detector or segmenter computes: operations, shapes, measured time, ONNX file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cfviz.framing import Size
from cfviz.measured.dense import DenseSubject
from cfviz.models.dense.export import export_dense
from cfviz.models.dense.model import DenseModel, MaskRCNN
from cfviz.ui.context import Context
from cfviz.ui.figures import scenes
from cfviz.ui.figures.operations import show_operations
from cfviz.ui.session import photos

from .view import scene_of

PASSES, FEW = 9, 3  # of a model that is quick, and of one that takes long
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
    onnx = None if isinstance(net, MaskRCNN) else partial(_onnx, net, subject.input)
    show_operations(
        ctx, subject.source, net, subject.fitted.tensor[0], PASSES if subject.quick else FEW,
        CODE.format(opening=opening, photo=photo, model=said), onnx, name, subject.input,
    )  # fmt: skip


def _onnx(model: DenseModel, size: Size) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_dense(model, path, size)
        return path.read_bytes()
