"""Mask R-CNN's losses are torchvision's on the same boxes, and the models learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection import roi_heads as theirs
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import roi_align

from cfviz.data.scenes import compose
from cfviz.models.dense.model import MaskRCNN, SemanticFPN, UPerNet
from cfviz.models.dense.parts.anchors import Anchors
from cfviz.models.dense.parts.losses import flat, pixel_loss
from cfviz.models.dense.parts.roi import STDS
from cfviz.models.dense.parts.two_stage_losses import numbered, proposal_losses, region_losses, sampled

Make = Callable[..., Any]
K, SIDE = 3, 28
ANCHORS = Anchors((8, 16), (2.0,))
SMALL: dict[type, dict[str, Any]] = {
    MaskRCNN: {"channels": 16, "hidden": 32},
    SemanticFPN: {"channels": 16, "hidden": 8},
    UPerNet: {"hidden": 16, "auxiliary": 8},
}


def square(box: tuple[int, int, int, int]) -> torch.Tensor:
    mask = torch.zeros(64, 64)
    mask[box[1] : box[3], box[0] + 4 : box[2]] = 1
    return mask


BOXES = ((3, 5, 30, 28), (20, 10, 60, 60))
TARGETS = [
    {
        "boxes": torch.tensor(BOXES, dtype=torch.float32),
        "labels": torch.tensor([1, 2]),
        "masks": torch.stack([square(box) for box in BOXES]),
    },
    {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 64, 64),
    },
]


def test_the_first_stages_losses_are_torchvisions() -> None:
    """On so few anchors that all are drawn."""
    torch.manual_seed(0)
    A, sizes = ANCHORS.per_cell, ((6, 5), (3, 2))
    logits, deltas = ([torch.randn(2, A * n, *size) for size in sizes] for n in (1, 4))
    every = torch.cat([ANCHORS.on(i, size, torch.device("cpu")) for i, size in enumerate(sizes)])
    rpn = RegionProposalNetwork(nn.Identity(), nn.Identity(), 0.7, 0.3, 256, 0.5, {}, {}, 0.7)
    labels, boxes = rpn.assign_targets_to_anchors([every, every], TARGETS)
    goals = rpn.box_coder.encode(boxes, [every, every])
    told = rpn.compute_loss(flat(logits, 1).reshape(-1, 1), flat(deltas, 4).reshape(-1, 4), labels, goals)
    ours = proposal_losses(logits, deltas, TARGETS, ANCHORS)
    torch.testing.assert_close((ours["loss_objectness"], ours["loss_rpn_box_reg"]), told)
    assert min(told) > 0


def test_the_second_stages_losses_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the half pixel by which this model's regions are aligned; heads are made up of the boxes."""
    torch.manual_seed(0)
    proposals = [
        torch.tensor([[2.0, 4, 31, 30], [22, 8, 55, 63], [0, 0, 64, 64], [40, 40, 50, 50]]),
        torch.tensor([[1.0, 1, 20, 20]]),
    ]
    weights = {n: torch.randn(5, n) / 50 for n in (K + 1, K * 4, SIDE * SIDE)}

    def heads(rois: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rois @ weights[K + 1], rois @ weights[K * 4]

    def masks(rois: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (rois @ weights[SIDE * SIDE]).view(-1, SIDE, SIDE) * (1 + labels[:, None, None])

    ours = region_losses(heads, masks, proposals, TARGETS)
    monkeypatch.setattr(theirs, "roi_align", partial(roi_align, aligned=True))
    head: Any = theirs.RoIHeads
    head = head(None, None, None, 0.5, 0.5, 512, 0.25, tuple(1 / std for std in STDS), 0.05, 0.5, 100)
    shifted = [{**target, "labels": target["labels"] + 1} for target in TARGETS]  # their background is 0
    drawn, matches, labels, goals = head.select_training_samples(proposals, shifted)
    logits, deltas = heads(numbered(drawn))
    cls = torch.cat([logits[:, -1:], logits[:, :-1]], 1)
    reg = torch.cat([torch.zeros(len(deltas), 4), deltas], 1)
    told = theirs.fastrcnn_loss(cls, reg, labels, goals)
    torch.testing.assert_close((ours["loss_classifier"], ours["loss_box_reg"]), told)
    kept = [label > 0 for label in labels]
    inside = [box[at] for box, at in zip(drawn, kept, strict=True)]
    of = [label[at] - 1 for label, at in zip(labels, kept, strict=True)]
    every = masks(numbered(inside), torch.cat(of))[:, None].expand(-1, K, -1, -1)
    where = [match[at] for match, at in zip(matches, kept, strict=True)]
    both = [target["labels"] for target in TARGETS], [target["masks"] for target in TARGETS]
    wanted = theirs.maskrcnn_loss(every, inside, both[1], both[0], where)
    torch.testing.assert_close(ours["loss_mask"], wanted)
    assert sum(map(len, inside)) == 4, "two proposals, and the boxes themselves"


def test_at_most_a_share_of_what_is_drawn_holds_something() -> None:
    match = torch.tensor([0] * 300 + [-1] * 300 + [-2] * 50)
    found, none = sampled(match, 256, 0.5)
    assert (len(found), len(none)) == (128, 128)
    assert (match[found] == 0).all()
    assert (match[none] == -1).all()
    found, none = sampled(match[295:], 256, 0.5)
    assert (len(found), len(none)) == (5, 251)


def test_pixels_without_a_class_count_for_nothing() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, K, 8, 8), torch.randint(0, K, (1, 32, 32))
    whole = nn.functional.interpolate(logits, (32, 32), mode="bilinear")
    torch.testing.assert_close(pixel_loss(logits, labels), nn.functional.cross_entropy(whole, labels))
    labels[:, 8:] = 255
    known = nn.functional.cross_entropy(whole[:, :, :8], labels[:, :8])
    torch.testing.assert_close(pixel_loss(logits, labels), known)
    assert pixel_loss(logits, labels * 0 + 255) == 0


@pytest.fixture
def make(tiny_model: Make) -> Make:
    def made(kind: type) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return kind(tiny_model(), num_classes=K, **SMALL[kind]).train()

    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MaskRCNN, SemanticFPN, UPerNet])
def test_a_model_learns_composed_scenes(make: Make, kind: type) -> None:
    rng = np.random.default_rng(0)
    photos = [(rng.integers(0, 256, (64, 64, 3), np.uint8), label) for label in (0, 1, 0, 1)]
    scenes = [compose(photos, seed, 96) for seed in (1, 2)]
    x = torch.stack([torch.from_numpy(one.image).permute(2, 0, 1) for one in scenes]).float() / 128 - 1
    told: Any = [
        {name: torch.from_numpy(getattr(one, name)) for name in ("boxes", "labels", "masks")}
        for one in scenes
    ]
    assert all(len(one["boxes"]) for one in told)
    if kind in (SemanticFPN, UPerNet):
        told = torch.stack([torch.from_numpy(one.label_map(K - 1)) for one in scenes]).long()
    model = make(kind)
    optimizer, falling = torch.optim.AdamW(model.parameters(), 3e-3), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(20):
            losses = model.losses(x, told)
            optimizer.zero_grad()
            loss = torch.stack([*losses.values()]).sum()
            loss.backward()
            optimizer.step()
            falling.append(loss.item())
    assert np.mean(falling[-3:]) < 0.7 * np.mean(falling[:3])
    untouched = [name for name, p in model.named_parameters() if p.grad is None]
    assert not untouched, "every parameter learns"


def test_targets_that_do_not_fit_are_refused(make: Make) -> None:
    model, x = make(MaskRCNN), torch.zeros(2, 3, 64, 64)
    bare = [{name: target[name] for name in ("boxes", "labels")} for target in TARGETS]
    with pytest.raises(ValueError, match=r"a target has no masks; expected \(2, 64, 64\), one for each box"):
        model.losses(x, bare)
    with pytest.raises(ValueError, match=r"has masks \(2, 64, 64\); expected \(2, 64, 96\)"):
        model.losses(torch.zeros(2, 3, 64, 96), TARGETS)
    segmenter, labels = make(SemanticFPN), torch.zeros(2, 64, 64, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"labels are int64 \(2, 64, 64\); expected int64 \(2, 64, 96\)"):
        segmenter.losses(torch.zeros(2, 3, 64, 96), labels)
    with pytest.raises(ValueError, match="none of 0 to 2, nor 255 for none"):
        segmenter.losses(x, labels + 3)
    segmenter.num_classes = 256
    with pytest.raises(ValueError, match="there are 256 classes; expected at most 255"):
        segmenter.losses(x, labels)
