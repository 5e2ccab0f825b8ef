"""The lab's section on what the unchanged model computes: operations, shapes, measured time, ONNX file."""

from __future__ import annotations

from cfviz.measured import quick
from cfviz.models.export import export_onnx
from cfviz.ui.compute import keys
from cfviz.ui.compute.models import model_code
from cfviz.ui.figures.operations import show_operations
from cfviz.ui.session import photos

from .experiment import Experiment


def show_computes(experiment: Experiment) -> None:
    """The figure of the operations."""
    ctx, model = experiment.ctx, experiment.model
    size = ctx.settings.sides
    show_operations(
        ctx, keys.joined(experiment.key, experiment.photo.sha256), model, experiment.image,
        quick(model, size), _code(experiment), export_onnx,
        ctx.settings.model.rpartition("/")[2] or "model", size,
    )  # fmt: skip


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
