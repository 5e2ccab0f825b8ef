"""What the benchmark compares our model with computes the same, or says why it does not run."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from bench import rivals as module
from bench.rivals import rivals


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 4, 4), torch.nn.Flatten(), torch.nn.Linear(256, 5)
    ).eval()


@pytest.mark.slow(6)
def test_every_way_of_running_a_model_gives_its_logits() -> None:
    model, x = net(), torch.randn(2, 3, 32, 32)
    # torch.compile is told what the processor can, or it compiles programs to see
    with torch._inductor.config.patch({"cpp.vec_isa_ok": True}):
        found = rivals(model, x)
        assert list(found) == ["torch.compile", "onnxruntime", "openvino"]
        assert callable(found["onnxruntime"])  # a requirement of the tests; the others are optional
        for name, call in found.items():
            if callable(call):
                torch.testing.assert_close(call(), model(x), rtol=1e-4, atol=1e-5)
            else:
                assert name in call, call


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ("onnxscript", "openvino")
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in absent else find_spec(name))
    monkeypatch.setattr(module, "_compiled", lambda *_: "torch.compile failed: RuntimeError")
    assert rivals(net(), torch.randn(1, 3, 32, 32)) == {
        "torch.compile": "torch.compile failed: RuntimeError",
        "onnxruntime": "not installed: onnxscript",
        "openvino": "not installed: onnxscript, openvino",
    }
