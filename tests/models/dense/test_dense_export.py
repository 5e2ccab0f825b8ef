"""ONNX files of detectors and segmenters: all outputs are the model's; what cannot be exported is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cfviz.cli import main
from cfviz.models.dense.export import export_dense
from cfviz.models.dense.factory import make_dense
from cfviz.models.factory import create_model

pytestmark = pytest.mark.slow


def test_a_segmenters_file_computes_its_logits_for_any_number_of_photos(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"embed_dim": 16, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 4, 8)}
    model = make_dense("semantic_fpn_crossformer_nano", **small).eval()
    names, difference = export_dense(model, path := tmp_path / "s.onnx", (64, 96))
    assert names == ["logits"]
    assert difference < 1e-4
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(5))
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"pixels": x.numpy()})
    with torch.no_grad():
        wanted = model.logits(x).numpy()
    assert found.shape == (2, model.num_classes, 16, 24)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_detectors_file_leads_to_its_boxes(tmp_path: Path) -> None:
    model = create_model("retinanet_crossformer_nano")
    name, path = "retinanet_crossformer_nano", tmp_path / "d.onnx"
    said = ["export-onnx", "--model", name, "--size", "64", "--batch", "1", "--out", str(path)]
    assert main(said) == 0
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    session = onnxruntime.InferenceSession(str(path))
    found = [torch.from_numpy(one) for one in session.run(None, {"pixels": x.numpy()})]
    with torch.no_grad():
        mine = model.select({"logits": found[:5], "deltas": found[5:]}, [(64, 64)])[0]
        wanted = model.detect(x)[0]
    assert torch.allclose(mine["boxes"], wanted["boxes"], atol=1e-2)
    assert torch.equal(mine["labels"], wanted["labels"])


def test_mask_rcnn_is_refused(tmp_path: Path) -> None:
    model = create_model("mask_rcnn_crossformer_small", weights=None).eval()
    with pytest.raises(ValueError, match="how many regions its second stage reads depends on the photo"):
        export_dense(model, tmp_path / "m.onnx", 64)
