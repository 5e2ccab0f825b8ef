"""The heads of this project on backbones of timm, small ones with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from PIL import Image
from torch import nn

from cfviz.measured.dense import explain
from cfviz.models.dense.model import MaskRCNN, RetinaNet, SemanticFPN, UPerNet
from cfviz.models.dense.pipeline import find, label
from cfviz.models.dense.timm_maps import TimmMaps
from cfviz.provenance import Provenance

SWIN: dict[str, Any] = {
    "model_name": "swin_tiny_patch4_window7_224", "strict_img_size": False, "window_size": 2, "embed_dim": 8,
    "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2),
}  # fmt: skip
RESNET: dict[str, Any] = {"model_name": "test_resnet", "out_indices": (1, 2, 3, 4)}


def maps(**made: Any) -> TimmMaps:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TimmMaps(timm.create_model(features_only=True, **made))


@pytest.mark.parametrize("made", [SWIN, RESNET])
def test_maps_are_timms_with_channels_first(made: dict[str, Any]) -> None:
    backbone, x = maps(**made).eval(), torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        found, plain = backbone.forward_intermediates(x), backbone.body(x)
    assert [tuple(one.shape[2:]) for one in found] == [(64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert [one.shape[1] for one in found] == [info["num_chs"] for info in backbone.feature_info]
    last = plain[-1] if made is RESNET else plain[-1].permute(0, 3, 1, 2)
    assert torch.equal(found[-1], last)


@pytest.mark.parametrize(
    ("kind", "small"),
    [
        (RetinaNet, {"channels": 8}),
        (MaskRCNN, {"channels": 8, "hidden": 8}),
        (SemanticFPN, {"channels": 8, "hidden": 8}),
        (UPerNet, {"hidden": 8, "auxiliary": 8}),
    ],
)
def test_every_head_answers_on_a_photo(kind: Any, small: dict[str, int]) -> None:
    model = kind(maps(**RESNET), num_classes=3, **small).eval()
    photo = Image.new("RGB", (90, 50), "teal")
    if model.task == "segment":
        assert label(model, photo, sides=(96, 64)).shape == (50, 90)
    else:
        head = model.bbox_head if kind is RetinaNet else model.roi_head.bbox_head
        head.threshold, head.most = 0.0, 2
        assert find(model, photo, sides=(96, 64)).boxes.shape == (2, 4)


@pytest.mark.slow
@pytest.mark.parametrize("made", [SWIN, RESNET])
def test_heads_and_backbone_learn(made: dict[str, Any]) -> None:
    model = SemanticFPN(maps(**made), num_classes=3, channels=8, hidden=8).train()
    torch.manual_seed(0)
    x, labels = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[:, 20:, 30:] = 2
    optimizer, falling = torch.optim.AdamW(model.parameters(), 1e-2), []
    for _ in range(15):
        (loss,) = model.losses(x, labels).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.append(loss.item())
    assert falling[-1] < 0.6 * falling[0]
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_other_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="strides 2, 4, 8, 16, 32; expected 4, 8, 16, 32: choose them with"):
        maps(model_name="test_resnet")
    with pytest.raises(ValueError, match=r"got a Identity; expected a model made with timm\.create_model"):
        TimmMaps(nn.Identity())


def test_the_figure_of_a_score_needs_a_crossformer() -> None:
    model = SemanticFPN(maps(**RESNET), num_classes=3, channels=8, hidden=8).eval()
    model.provenance = Provenance("a file", trained="a test", classes=("a", "b", "c"))
    with pytest.raises(ValueError, match="what a score rests on is told of a CrossFormer's attention"):
        explain(Image.new("RGB", (90, 50)), model)
