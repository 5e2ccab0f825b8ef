"""The backbone under heads that others wrote: torchvision's detectors and segmentation_models_pytorch.

Both train and run on `features_only=True`; the examples are those of docs/dense.md.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork

import cfviz  # noqa: F401  (registers the variants with timm)

DOCUMENT = Path(__file__).parents[2] / "docs" / "dense.md"


class Maps(nn.Module):
    """The backbone's maps and a pyramid, as torchvision's detectors want them."""

    def __init__(self, name: str, out_channels: int = 32) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, lda="whole")
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), out_channels)
        self.out_channels = out_channels

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.fpn(OrderedDict((str(i), maps) for i, maps in enumerate(self.body(x))))


@pytest.mark.slow
def test_torchvisions_detector_trains_and_runs() -> None:
    torch.manual_seed(0)
    anchors = AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 4)
    sizes = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_train": 50, "rpn_post_nms_top_n_test": 50}
    model = FasterRCNN(Maps("crossformer_nano"), 3, rpn_anchor_generator=anchors, **sizes)
    image = torch.rand(3, 64, 96)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.tensor([1])}
    losses = model([image], [target])
    sum(losses.values()).backward()
    weight = next(model.backbone.body.parameters())
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0
    with torch.inference_mode():
        found = model.eval()([image])[0]
    assert set(found) == {"boxes", "labels", "scores"}


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["fpn", "unet"])
def test_segmentation_models_pytorch_trains_and_runs(arch: str) -> None:
    torch.manual_seed(0)
    model = smp.create_model(arch, "tu-crossformer_nano", encoder_weights=None, classes=4)
    x = torch.rand(2, 3, 64, 96)
    logits = model(x)
    assert logits.shape == (2, 4, 64, 96)
    nn.functional.cross_entropy(logits, torch.zeros(2, 64, 96, dtype=torch.long)).backward()
    assert all(p.grad is not None for p in model.decoder.parameters())
    with torch.inference_mode():
        assert model.eval()(x).shape == (2, 4, 64, 96)


@pytest.mark.slow(10)
def test_the_examples_run() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    assert len(found) >= 2
    for block in found:
        exec(compile(block, "<block of docs/dense.md>", "exec"), {})
