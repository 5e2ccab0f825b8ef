"""What a user could run instead of our model: the authors' code as it is, compiled, and in two runtimes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cfviz.models.export import quiet

Call = Callable[[], Any]


def rivals(theirs: torch.nn.Module, x: torch.Tensor) -> dict[str, Call | str]:
    """Ways of running the authors' model on one batch.

    Args:
        theirs: The authors' model, in eval mode.
        x: Normalised pixels (B, 3, H, W).

    Returns:
        For each name a call that returns logits (B, K), or why it cannot be run here.
    """
    found: dict[str, Call | str] = {"torch.compile": _compiled(theirs, x)}
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "theirs.onnx"
        if not missing:
            _export(theirs, x, file)
        for name, start in {"onnxruntime": _onnxruntime, "openvino": _openvino}.items():
            needed = [*missing, *([] if find_spec(name) else [name])]
            found[name] = f"not installed: {', '.join(needed)}" if needed else start(file, x)
    return found


def _compiled(theirs: torch.nn.Module, x: torch.Tensor) -> Call | str:
    torch.compiler.reset()
    compiled = torch.compile(theirs, dynamic=False)

    def call() -> Any:
        with torch.inference_mode():
            return compiled(x)

    try:
        call()
    except Exception as error:  # no C++ compiler, or a part that cannot be compiled: whatever the reason
        return f"torch.compile failed: {type(error).__name__}"
    return call


def _export(theirs: torch.nn.Module, x: torch.Tensor, file: Path) -> None:
    with torch.no_grad(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            theirs, (x,), str(file), dynamo=True, input_names=["x"], output_names=["y"], verbose=False
        )


def _onnxruntime(file: Path, x: torch.Tensor) -> Call:
    import onnxruntime  # optional, as below

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    pixels = x.numpy()
    return lambda: torch.from_numpy(session.run(["y"], {"x": pixels})[0])


def _openvino(file: Path, x: torch.Tensor) -> Call:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(str(file)), "CPU", settings).create_infer_request()
    pixels = x.numpy()
    return lambda: torch.from_numpy(request.infer({"x": pixels})[0])
