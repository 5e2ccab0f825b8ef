"""Export a detector or segmenter as an ONNX file and check it against onnxruntime."""

from __future__ import annotations

from copy import deepcopy
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from cfviz.framing import Size, as_pair
from cfviz.geometry import map_sizes
from cfviz.jobs import replacing
from cfviz.models.crossformer import CrossFormer
from cfviz.models.export import INPUT, OUTPUT, TOLERANCE, check_packages, exported, metadata
from cfviz.models.inputs import check_eval

from .model import DenseModel, RetinaNet, Segmenter

LEVELS = 5  # of RetinaNet's pyramid


class _Maps(nn.Module):
    """What the layers of a detector or segmenter return, without what turns it into boxes or labels."""

    def __init__(self, model: RetinaNet | Segmenter) -> None:
        super().__init__()
        self.model = model

    @property
    def names(self) -> list[str]:
        """The outputs' names."""
        if isinstance(self.model, Segmenter):
            return [OUTPUT]
        return [f"{kind}_{n}" for kind in (OUTPUT, "deltas") for n in range(LEVELS)]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.model.features(x)
        if isinstance(self.model, Segmenter):
            return (self.model.from_maps(maps),)
        found = self.model.from_maps(maps)
        return (*found["logits"], *found["deltas"])


def export_dense(
    model: DenseModel, path: str | PathLike[str], size: Size, batch: int | None = None
) -> tuple[list[str], float]:
    """Write what a detector's or segmenter's layers compute as one ONNX file, float32.

    A segmenter's file returns `logits`, (B, K, H/4, W/4). RetinaNet's returns `logits_N` and `deltas_N` of
    its five levels, from stride 8 on; boxes are what `RetinaNet.select` makes of them. onnxruntime runs the
    file before it is moved into place, and all outputs must match the model's.

    Args:
        model: In eval mode; it is copied.
        path: The file to write.
        size: Input size: a side in pixels or (height, width), multiples of 32.
        batch: Photos per batch; None for any number.

    Returns:
        The names of the outputs, and the largest difference between onnxruntime's and the model's, relative
        to the largest value of the output.

    Raises:
        ValueError: If packages are missing, the model is Mask R-CNN or in training mode, the size does not
            fit, or onnxruntime disagrees with the model.
    """
    check_packages()
    check_eval(model)
    if not isinstance(model, RetinaNet | Segmenter) or not isinstance(model.backbone, CrossFormer):
        raise ValueError(
            f"{type(model).__name__} cannot be exported: how many regions its second stage reads depends on "
            "the photo; expected RetinaNet or a segmenter, with a CrossFormer inside"
        )
    H, W = as_pair(size)
    map_sizes(H, W)  # raises if the size does not fit
    maps = _Maps(deepcopy(model).to("cpu", torch.float32)).eval()
    program = exported(maps, (batch or 2, 3, H, W), maps.names, dynamic=not batch)
    facts = metadata(model.backbone) | {"architecture": str(model.pretrained_cfg["architecture"])}
    program.model.metadata_props.update(facts | {"weights": model.provenance.source})
    with replacing(Path(path)) as part:
        program.save(part)
        difference = max(_difference(maps, part, (n, 3, H, W)) for n in ((batch,) if batch else (1, 3)))
        if not difference <= TOLERANCE:
            raise ValueError(
                f"onnxruntime's outputs differ from the model's by {difference:.1e} of the largest; at most "
                f"{TOLERANCE:.0e} was expected, so nothing was written"
            )
    return maps.names, difference


def _difference(maps: _Maps, file: Path, shape: tuple[int, ...]) -> float:
    import onnxruntime  # optional, and slow to load

    x = torch.randn(shape, generator=torch.Generator().manual_seed(shape[0]))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(maps.names, {INPUT: x.numpy()})
    with torch.no_grad():
        wanted = maps(x)
    pairs = zip(map(torch.from_numpy, found), wanted, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)
