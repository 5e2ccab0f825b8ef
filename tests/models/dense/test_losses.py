"""RetinaNet's losses: torchvision's on the same anchors, and what an anchor is to find."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models.detection import _utils as theirs
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead
from torchvision.ops import box_iou

from cfviz.models.dense.model import RetinaNet
from cfviz.models.dense.parts.anchors import Anchors
from cfviz.models.dense.parts.losses import BACKGROUND, IGNORED, flat, matched, retina_losses

K = 5
ANCHORS = Anchors((8, 16), (2.0, 3.0))


def outputs() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    sizes, A = ((8, 12), (4, 6)), ANCHORS.per_cell
    return ([torch.randn(2, A * n, *size) for size in sizes] for n in (K, 4))  # type: ignore[return-value]


TARGETS = [
    {
        "boxes": torch.tensor([[3.0, 5, 30, 28], [40, 10, 90, 60], [0, 0, 7, 6]]),
        "labels": torch.tensor([1, 4, 0]),
    },
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


def every_anchor() -> torch.Tensor:
    cpu = torch.device("cpu")
    return torch.cat([ANCHORS.on(0, (8, 12), cpu), ANCHORS.on(1, (4, 6), cpu)])


def test_anchors_are_matched_as_torchvision_matches_them() -> None:
    boxes, anchors = TARGETS[0]["boxes"], every_anchor()
    wanted = theirs.Matcher(0.5, 0.4, allow_low_quality_matches=True)(box_iou(boxes, anchors))
    found = matched(anchors, boxes)
    positive = wanted >= 0
    assert torch.equal(found >= 0, positive)
    assert torch.equal(found == BACKGROUND, wanted == -1)
    assert torch.equal(found == IGNORED, wanted == -2)
    assert torch.equal(found[positive], wanted[positive])
    assert {*found[positive].tolist()} == {0, 1, 2}  # the box smaller than any anchor is found, too


def test_losses_are_torchvisions() -> None:
    logits, deltas = outputs()
    ours = retina_losses(logits, deltas, TARGETS, ANCHORS, K)
    anchors = every_anchor()
    match = [matched(anchors, target["boxes"]) for target in TARGETS]
    cls = RetinaNetClassificationHead(8, ANCHORS.per_cell, K)
    reg = RetinaNetRegressionHead(8, ANCHORS.per_cell)
    told = {"cls_logits": flat(logits, K), "bbox_regression": flat(deltas, 4)}
    both = int((match[0] >= 0).sum())
    # theirs divide by each image's own number of matches and by the number of images
    alone: Any = cls.compute_loss(TARGETS[:1], {"cls_logits": told["cls_logits"][:1]}, match[:1])
    empty: Any = cls.compute_loss(TARGETS[1:], {"cls_logits": told["cls_logits"][1:]}, match[1:])
    torch.testing.assert_close(ours["classification"], alone + empty / both)
    moved: Any = reg.compute_loss(
        TARGETS[:1], {"bbox_regression": told["bbox_regression"][:1]}, [anchors], match[:1]
    )
    torch.testing.assert_close(ours["bbox_regression"], moved)


def test_a_detector_learns_a_scene_by_heart(tiny_model: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RetinaNet(tiny_model(), num_classes=3, channels=16, anchor_scale=2.0)
        x = torch.randn(1, 3, 64, 64)
    target = {"boxes": torch.tensor([[10.0, 12, 42, 40]]), "labels": torch.tensor([2])}
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    falling = []
    for _ in range(60):
        loss = sum(model.losses(x, [target]).values())
        assert isinstance(loss, torch.Tensor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.append(loss.item())
    assert falling[-1] < falling[0] / 3
    found = model.eval()(x)[0]
    assert found["labels"][0] == 2
    assert box_iou(found["boxes"][:1], target["boxes"]).item() > 0.4


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"boxes": torch.zeros(1, 4), "labels": torch.zeros(1).long()}, "a box without width or height"),
        ({"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([3])}, "none of 0 to 2"),
        ({"boxes": torch.zeros(2, 4), "labels": torch.zeros(1).long()}, r"boxes \(2, 4\) and labels \(1,\)"),
    ],
)
def test_targets_that_are_none_are_refused(target: Any, said: str, tiny_model: Any) -> None:
    model = RetinaNet(tiny_model(), num_classes=3, channels=8)
    with pytest.raises(ValueError, match=said):
        model.losses(torch.zeros(1, 3, 64, 64), [target])
    with pytest.raises(ValueError, match="there are 0 targets for 1 images"):
        model.losses(torch.zeros(1, 3, 64, 64), [])
