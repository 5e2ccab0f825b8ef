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
from cfviz.models.dense.parts.boxes import encode
from cfviz.models.dense.parts.losses import BACKGROUND, IGNORED, flat, matched, retina_losses
from cfviz.models.dense.parts.retina import RetinaHead

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


def test_the_loss_is_nothing_where_the_head_returns_exactly_the_boxes() -> None:
    head, boxes = RetinaHead(K, 8, anchor_scale=2.0), torch.tensor([[10.0, 12, 42, 40], [30, 3, 61, 20]])
    target = {"boxes": boxes, "labels": torch.tensor([2, 4])}
    sizes = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
    every = torch.cat([head.anchors.on(i, size, torch.device("cpu")) for i, size in enumerate(sizes)])
    match = matched(every, boxes)
    scores, moves = torch.full((len(every), K), -20.0), torch.zeros(len(every), 4)
    at = match >= 0
    scores[at, target["labels"][match[at]]] = 20
    moves[at] = encode(every[at], boxes[match[at]])
    A, ends = head.anchors.per_cell, [h * w * head.anchors.per_cell for h, w in sizes]
    logits, deltas = (
        [
            part.reshape(*size, A * rows.shape[1]).permute(2, 0, 1)[None]
            for part, size in zip(rows.split(ends), sizes, strict=True)
        ]
        for rows in (scores, moves)
    )
    losses = retina_losses(logits, deltas, [target], head.anchors, K)
    assert all(value < 1e-6 for value in losses.values())
    found = head.select([x[0] for x in logits], [x[0] for x in deltas], (64, 64))
    assert sorted(found["labels"].tolist()) == [2, 4]
    for box, label in zip(found["boxes"], found["labels"], strict=True):
        torch.testing.assert_close(box, boxes[0 if label == 2 else 1])


@pytest.mark.slow
def test_a_detectors_losses_fall(tiny_model: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RetinaNet(tiny_model(), num_classes=3, channels=16, anchor_scale=2.0)
        x = torch.randn(1, 3, 64, 64)
    target = {"boxes": torch.tensor([[10.0, 12, 42, 40]]), "labels": torch.tensor([2])}
    optimizer, falling = torch.optim.AdamW(model.parameters(), 5e-3), []
    for _ in range(40):
        losses = model.losses(x, [target])
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimizer.step()
        falling.append({name: loss.item() for name, loss in losses.items()})
    assert all(falling[-1][name] < falling[0][name] / 2 for name in falling[0])


@pytest.mark.slow
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
