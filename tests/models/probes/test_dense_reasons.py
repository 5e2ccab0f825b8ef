"""What scores of detectors and segmenters rest on, compared with what happens when it is taken away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cfviz.hooks import edit
from cfviz.models.dense.model import MaskRCNN, RetinaNet, SemanticFPN
from cfviz.models.probes.dense import of_pixel, of_regions, reasons, without_stage

Make = Callable[..., Any]
SMALL: dict[type, dict[str, int]] = {
    RetinaNet: {"channels": 8},
    MaskRCNN: {"channels": 8, "hidden": 8},
    SemanticFPN: {"channels": 8, "hidden": 8},
}
IMAGE = torch.randn((3, 64, 96), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make(tiny_model: Make) -> Make:
    def made(kind: type) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return kind(tiny_model(lda="whole"), num_classes=3, **SMALL[kind]).eval()

    return made


@pytest.mark.parametrize("kind", [RetinaNet, MaskRCNN])
def test_the_logit_picked_is_the_one_behind_the_score(make: Make, kind: type) -> None:
    model = make(kind)
    head = model.bbox_head if kind is RetinaNet else model.roi_head.bbox_head
    head.threshold, head.most = 0.0, 3
    with torch.inference_mode():
        outputs = model.outputs(IMAGE[None])
        (found,) = model.select(outputs, [(64, 96)])
        logits = model.class_logits(outputs, found)
    assert len(logits) == 3
    told = list(reasons(model, IMAGE, lambda out: model.class_logits(out, found)))
    assert [one.logit for one in told] == pytest.approx(logits.tolist(), abs=1e-5)
    if kind is RetinaNet:
        assert logits.sigmoid().tolist() == pytest.approx(found["scores"].tolist())


def test_a_heads_total_is_what_the_logit_loses_with_it_to_first_order(make: Make) -> None:
    """Scaling one head's output by 1 - e changes the logit by e times its total."""
    model, pick = make(SemanticFPN), of_pixel(1, 20, 30, (64, 96))
    (told,) = reasons(model, IMAGE, pick)
    step, head = 1e-2, 1

    def scaled(sign: int) -> float:
        def less(z: torch.Tensor) -> torch.Tensor:
            factor = torch.ones_like(z)
            factor[:, head] += sign * step
            return z * factor

        with torch.inference_mode(), edit(model.backbone, {"layers.1.blocks.1.attn.heads": less}):
            return float(pick(model.logits(IMAGE[None].double())))

    model.double()
    change = (scaled(1) - scaled(-1)) / (2 * step)
    assert told.by_key[1, 1][:, head].sum() == pytest.approx(change, rel=2e-2, abs=1e-6)
    assert abs(change) > 1e-5


def test_the_field_of_a_pixel_is_around_it_and_the_model_is_unchanged(make: Make) -> None:
    model = make(SemanticFPN)
    (told,) = reasons(model, IMAGE, of_pixel(0, 8, 8, (64, 96)))
    assert told.field.shape == (64, 96)
    assert told.field[:32, :32].mean() > told.field[32:, 64:].mean()
    assert all(p.grad is None for p in model.parameters())


def test_regions_are_asked_for_the_mean_of_their_class(make: Make) -> None:
    model = make(SemanticFPN)
    masks = np.zeros((2, 16, 24), bool)
    masks[0, :4], masks[1, 5:, 7] = True, True
    found = [one.logit for one in reasons(model, IMAGE, of_regions([2, 0], masks))]
    with torch.inference_mode():
        logits = model.logits(IMAGE[None])[0]
    assert found == pytest.approx([float(logits[2, :4].mean()), float(logits[0, 5:, 7].mean())], abs=1e-5)
    assert not list(reasons(model, IMAGE, of_regions([], masks[:0])))


def test_a_stage_that_is_left_out_tells_no_place() -> None:
    maps = [torch.randn(1, 4, 8 >> i, 8 >> i) for i in range(3)]
    left = without_stage(maps, 1)
    assert left[0] is maps[0]
    assert left[1].shape == maps[1].shape
    assert torch.equal(left[1][..., 0, 0], maps[1].mean((2, 3)))
    assert left[1].flatten(2).std(2).max() == 0
    with pytest.raises(ValueError, match="expected 0 to 2"):
        without_stage(maps, 3)
