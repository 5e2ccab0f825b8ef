"""An ONNX file reproduces the model's logits, or is not written."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch

from cfviz import point_names
from cfviz.cli import main
from cfviz.geometry import MASKED
from cfviz.hooks import capture
from cfviz.models import export
from cfviz.models.crossformer import CrossFormer
from cfviz.models.export import export_onnx, export_watched
from cfviz.stats import softmax

# Padded groups in the first of two stages; a map that is smaller than its group in the second.
TINY = {"embed_dim": 32, "depths": (2, 1), "num_heads": (1, 2), "num_classes": 5}
TINY |= {"group_size": (7, 14), "interval": (8, 4)}


@pytest.fixture
def model() -> CrossFormer:
    torch.manual_seed(0)
    return timm.create_model("crossformer_nano", **TINY).eval()


def run(file: Path, x: torch.Tensor) -> tuple[list, np.ndarray]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.get_inputs()[0].shape, session.run(["logits"], {"pixels": x.numpy()})[0]


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "shape"), [(None, ["batch", 3, 96, 64]), (1, [1, 3, 96, 64])])
def test_the_file_reproduces_the_models_logits(model, tmp_path, batch, shape) -> None:
    file = tmp_path / "tiny.onnx"
    assert export_onnx(model, file, (96, 64), batch) < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
    for n in (batch,) if batch else (1, 4):
        x = torch.randn(n, 3, 96, 64)
        found, logits = run(file, x)
        assert found == shape
        with torch.no_grad():
            np.testing.assert_allclose(logits, model(x).numpy(), rtol=1e-4, atol=1e-5)
    facts = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert facts["architecture"] == "crossformer_nano"
    assert facts["mean"] == "(0.485, 0.456, 0.406)"
    assert facts["weights"] == "random"


@pytest.mark.slow
def test_a_watched_file_returns_what_the_softmax_is_taken_of_and_the_maps(model, tmp_path) -> None:
    """On a map whose groups are padded: the tokens of the map alone, in their order."""
    file, size = tmp_path / "watched.onnx", (96, 64)
    export_watched(model, file, size)
    x = torch.randn(1, 3, *size)
    maps = (
        [point_names.embedding(s) for s in range(len(model.depths))],
        point_names.stage_outputs(model.depths),
    )
    with torch.no_grad(), capture(model, "layers.*.blocks.*.attn.*", *maps[0], *maps[1]) as seen:
        logits = model(x)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"pixels": x.numpy()}), strict=True))
    np.testing.assert_allclose(found.pop("logits"), logits.numpy(), rtol=1e-4, atol=1e-5)
    for kind, points in zip(("cel", "stage"), maps, strict=True):
        for s, point in enumerate(points):
            np.testing.assert_allclose(found.pop(f"{kind}_{s}"), seen[point][0].numpy(), atol=1e-5)
    padded = 0
    for s, stage in enumerate(model.groupings(*size)):
        for b, g in enumerate(stage):
            bias, probs = (seen[point_names.attention(s, b, name)].numpy() for name in ("bias", "probs"))
            mask = np.where(g.valid, 0, MASKED)[:, None, None]
            added = g.scatter((bias + mask + np.zeros_like(probs)).swapaxes(1, 2))  # H, W, nH, N
            wanted = g.scatter(probs.swapaxes(1, 2)).reshape(g.H * g.W, -1, g.N)
            content = found.pop(f"content_{s}_{b}")
            assert content.shape == wanted.shape
            np.testing.assert_allclose(softmax(content + added.reshape(wanted.shape)), wanted, atol=1e-5)
            padded += g.padded
    assert not found
    assert padded


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch) -> None:
    one = {"depths": (1,), "num_heads": (1,), "group_size": 7, "interval": 8}
    model = timm.create_model("crossformer_nano", **TINY | one).eval()
    monkeypatch.setattr(export, "_difference", lambda *args: 0.01)
    (tmp_path / "old.onnx").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"differ from the model's by 1\.0e-02.*nothing was written"):
        export_onnx(model, tmp_path / "old.onnx", 32, batch=1)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_bad_requests_are_refused_by_name(model, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"100 x 100 pixels.*multiples of 32"):
        export_onnx(model, tmp_path / "x.onnx", 100)
    with pytest.raises(ValueError, match=r"training mode; call model\.eval\(\) first"):
        export_onnx(model.train(), tmp_path / "x.onnx")


def test_the_command_says_which_packages_are_missing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else sys)
    assert main(["export-onnx", "--out", str(tmp_path / "x.onnx")]) == 2
    assert capsys.readouterr().err == (
        "cfviz: ONNX export needs onnxruntime, not installed here: pip install onnxruntime\n"
    )


@pytest.mark.slow
def test_the_command_writes_a_file(tmp_path, capsys) -> None:
    file = tmp_path / "nano.onnx"
    assert main(["export-onnx", "--out", str(file), "--size", "64", "--batch", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{file}: pixels (2, 3, 64, 64) -> logits (2, 20), ")
    assert "onnxruntime's logits agree with the model's to " in out
    assert err == ""
    assert main(["export-onnx", "--out", str(tmp_path / "no" / "x.onnx")]) == 2
    assert "there is no folder" in capsys.readouterr().err
