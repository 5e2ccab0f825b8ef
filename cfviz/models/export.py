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

import torch

from cfviz.framing import Size, as_pair
from cfviz.geometry import map_sizes
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
    check_packages()
    check_eval(model)
    H, W = as_pair(size)
    map_sizes(H, W)  # raises if the size does not fit
    copied = deepcopy(model).to("cpu", torch.float32)
    shape = (batch or 2, copied.in_chans, H, W)
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad(), quiet():
        program: Any = torch.onnx.export(
            copied,
            (torch.zeros(shape),),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    program.model.metadata_props.update(_metadata(model))
    with replacing(Path(path)) as part:
        program.save(part)
        difference = max(_difference(copied, part, (n, *shape[1:])) for n in ((batch,) if batch else (1, 3)))
        if not difference <= TOLERANCE:
            raise ValueError(
                f"onnxruntime's logits differ from the model's by {difference:.1e} of the largest; at most "
                f"{TOLERANCE:.0e} was expected, so nothing was written"
            )
    return difference


def check_packages() -> None:
    """Check that the packages needed for an export are installed.

    Raises:
        ValueError: If a package is missing, with the command that installs it.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"ONNX export needs {', '.join(missing)}, not installed here: pip install {' '.join(missing)}"
        )


def _metadata(model: CrossFormer) -> dict[str, str]:
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
