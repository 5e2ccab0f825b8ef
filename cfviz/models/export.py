"""Export a model as an ONNX file and check it against onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cfviz import point_names
from cfviz.framing import Size, as_pair
from cfviz.geometry import map_sizes
from cfviz.hooks import capture
from cfviz.jobs import replacing

from .crossformer import CrossFormer
from .inputs import check_eval

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # largest difference between two logits, relative to the largest logit
INPUT, OUTPUT = "pixels", "logits"


def export_onnx(
    model: CrossFormer,
    path: str | PathLike[str],
    size: Size = 224,
    batch: int | None = None,
) -> float:
    """Write a model as one ONNX file: normalised pixels (B, 3, H, W) -> logits (B, num_classes), float32.

    onnxruntime runs the file before it is moved into place, and its logits must match the model's.

    Args:
        model: In eval mode; it is copied.
        path: The file to write.
        size: Input size of the exported model: a side in pixels or (height, width), multiples of 32.
        batch: Photos per batch; None for any number.

    Returns:
        The largest difference between onnxruntime's logits and the model's, relative to the largest logit.

    Raises:
        ValueError: If packages are missing, the model is in training mode, the size does not fit, or
            onnxruntime disagrees with the model.
    """
    copied, H, W = _copied(model, size)
    shape = (batch or 2, copied.in_chans, H, W)
    program = exported(copied, shape, [OUTPUT], dynamic=not batch)
    return _kept(
        program, Path(path), model, copied, [(n, *shape[1:]) for n in ((batch,) if batch else (1, 3))]
    )


def export_watched(model: CrossFormer, path: str | PathLike[str], size: Size = 224) -> None:
    """Write a model for one photo as an ONNX file that also returns what the figures draw.

    The outputs, all float32:

        logits            (1, num_classes)
        content_{s}_{b}   of each block, (H*W, nH, N): q.k / sqrt(d) of each token of the map with the members
                          of its group. With the position bias and the mask of the padding added, their
                          softmax is the attention
        cel_{s}           (H, W, C): the concatenated tokens of the embedding layer before each stage
        stage_{s}         (H, W, C): the output of each stage

    Args:
        model: In eval mode; it is copied.
        path: The file to write.
        size: Input size, fixed in the file.

    Raises:
        ValueError: As for `export_onnx`.
    """
    copied, H, W = _copied(model, size)
    watched, shape = _Watched(copied, (H, W)).eval(), (1, copied.in_chans, H, W)
    _kept(exported(watched, shape, watched.names), Path(path), model, copied, [shape])


class _Watched(nn.Module):
    """A model that returns its logits, every block's content logits in the order of the map, and maps."""

    def __init__(self, model: CrossFormer, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.blocks: list[tuple[str, str, str]] = []  # q, k, and the block's number
        self.maps = {f"cel_{s}": point_names.embedding(s) for s in range(len(model.depths))}
        outputs = point_names.stage_outputs(model.depths)
        self.maps |= {f"stage_{s}": point for s, point in enumerate(outputs)}
        for s, stage in enumerate(model.groupings(*size)):
            for b, g in enumerate(stage):
                self.blocks.append(
                    (point_names.attention(s, b, "q"), point_names.attention(s, b, "k"), f"{s}_{b}")
                )
                place = g.scatter(np.arange(g.nG * g.N).reshape(g.nG, g.N, 1)).reshape(-1)
                self.register_buffer(f"place_{s}_{b}", torch.from_numpy(place))

    @property
    def names(self) -> list[str]:
        """The outputs' names."""
        return [OUTPUT, *(f"content_{at}" for _, _, at in self.blocks), *self.maps]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        products = (name for q, k, _ in self.blocks for name in (q, k))
        with capture(self.model, *products, *self.maps.values()) as seen:
            out = [self.model(x)]
        for q, k, at in self.blocks:
            content = seen[q] @ seen[k].transpose(-1, -2) * seen[q].shape[-1] ** -0.5  # nG, nH, N, N
            rows = content.transpose(1, 2).flatten(0, 1)  # nG*N, nH, N
            out.append(rows[self.get_buffer(f"place_{at}")])  # H*W, nH, N
        return tuple(out) + tuple(seen[point].squeeze(0) for point in self.maps.values())  # H, W, C


def _copied(model: CrossFormer, size: Size) -> tuple[CrossFormer, int, int]:
    """A copy of a model to export, after all checks, and the input's height and width."""
    check_packages()
    check_eval(model)
    H, W = as_pair(size)
    map_sizes(H, W)  # raises if the size does not fit
    return deepcopy(model).to("cpu", torch.float32), H, W


def exported(model: nn.Module, shape: tuple[int, ...], outputs: list[str], dynamic: bool = False) -> Any:
    """Return a model as an ONNX program for inputs of a shape, or for any number of photos."""
    with torch.no_grad(), quiet():
        return torch.onnx.export(
            model,
            (torch.zeros(shape),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},) if dynamic else None,
            input_names=[INPUT],
            output_names=outputs,
            verbose=False,
        )


def _kept(
    program: Any, path: Path, model: CrossFormer, copied: CrossFormer, shapes: list[tuple[int, ...]]
) -> float:
    """Write a program, unless its logits differ from the model's; returns the largest difference."""
    program.model.metadata_props.update(metadata(model))
    with replacing(path) as part:
        program.save(part)
        difference = max(_difference(copied, part, shape) for shape in shapes)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"onnxruntime's logits differ from the model's by {difference:.1e} of the largest; at most "
                f"{TOLERANCE:.0e} was expected, so nothing was written"
            )
    return difference


def missing_packages() -> list[str]:
    """The packages that an export needs and that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def check_packages() -> None:
    """Check that the packages needed for an export are installed.

    Raises:
        ValueError: If a package is missing, with the command that installs it.
    """
    if missing := missing_packages():
        raise ValueError(
            f"ONNX export needs {', '.join(missing)}, not installed here: pip install {' '.join(missing)}"
        )


def metadata(model: CrossFormer) -> dict[str, str]:
    """Return the metadata of the file: how pixels are normalised, and where the weights come from."""
    cfg: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    facts = {key: cfg.get(key) for key in ("architecture", "mean", "std")}
    facts |= {"group_size": model.group_size, "interval": model.interval, "lda": model.lda}
    facts |= {"weights": model.provenance.source, "trained": model.provenance.trained}
    return {key: str(value) for key, value in facts.items() if value is not None}


def _difference(model: CrossFormer, file: Path, shape: tuple[int, ...]) -> float:
    import onnxruntime  # optional, and slow to load

    x = torch.randn(shape, generator=torch.Generator().manual_seed(shape[0]))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])
    with torch.no_grad():
        expected = model(x)
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's remarks on its own optimisations."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
