"""What Mask R-CNN learns from: which anchors hold something, then class, box and mask of some proposals.

The rules and numbers are torchvision's (https://arxiv.org/abs/1506.01497, https://arxiv.org/abs/1703.06870).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

from .anchors import Anchors
from .boxes import UNIT, Stds, encode
from .losses import BACKGROUND, Target, flat, matched
from .roi import STDS

ANCHORS, ANCHOR_SHARE = 256, 0.5  # of an image that are learned from, and how many of them may hold something
REGIONS, REGION_SHARE = 512, 0.25
BETA = 1 / 9  # from which distance of a delta on its loss is linear
Heads = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Masks = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def sampled(match: torch.Tensor, most: int, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw boxes to learn from.

    Args:
        match: (A,), from `matched`.
        most: Boxes to draw.
        share: How many of them may be such that are to find something.

    Returns:
        Numbers of those that are to find something, and of those that are to find nothing.
    """

    def some(chosen: torch.Tensor, n: int) -> torch.Tensor:
        numbers = chosen.nonzero()[:, 0]
        return numbers[torch.randperm(len(numbers), device=numbers.device)[:n]]

    found = some(match >= 0, int(most * share))
    return found, some(match == BACKGROUND, most - len(found))


def box_loss(
    deltas: torch.Tensor, boxes: torch.Tensor, wanted: torch.Tensor, stds: Stds = UNIT
) -> torch.Tensor:
    """Return the distance of deltas from those that move boxes to the wanted ones, summed: all (n, 4)."""
    return F.smooth_l1_loss(deltas, encode(boxes, wanted, stds), reduction="sum", beta=BETA)


def proposal_losses(
    logits: Sequence[torch.Tensor],
    deltas: Sequence[torch.Tensor],
    targets: Sequence[Target],
    anchors: Anchors,
) -> dict[str, torch.Tensor]:
    """Return the losses of the first stage, each divided by the number of anchors that were drawn.

    Args:
        logits, deltas: Of each level, (B, A, H_i, W_i) and (B, A*4, H_i, W_i).
        targets: For each image `boxes` (n, 4) in pixels of the input.
        anchors: The head's.
    """
    every = torch.cat([anchors.on(i, x.shape[2:], x.device) for i, x in enumerate(logits)])
    scores, moves = flat(logits, 1)[..., 0].float(), flat(deltas, 4).float()
    objects, boxes, number = scores.new_zeros(()), scores.new_zeros(()), 0
    for score, move, target in zip(scores, moves, targets, strict=True):
        match = matched(every, target["boxes"], found=0.7, nothing=0.3)
        found, none = sampled(match, ANCHORS, ANCHOR_SHARE)
        drawn = score[torch.cat([found, none])]
        wanted = torch.zeros_like(drawn)
        wanted[: len(found)] = 1
        objects = objects + F.binary_cross_entropy_with_logits(drawn, wanted, reduction="sum")
        boxes = boxes + box_loss(move[found], every[found], target["boxes"][match[found]])
        number += len(drawn)
    return {"loss_objectness": objects / max(1, number), "loss_rpn_box_reg": boxes / max(1, number)}


@dataclass(frozen=True, eq=False)
class Sample:
    """Regions of an image that the second stage learns from; those that hold something come first.

    Attributes:
        boxes: (n, 4).
        match: (m,), the number of the thing that each of the first m holds.
    """

    boxes: torch.Tensor
    match: torch.Tensor


def regions_of(proposals: torch.Tensor, boxes: torch.Tensor) -> Sample:
    """Draw regions from an image's proposals and from the boxes themselves: (n, 4), (m, 4)."""
    every = torch.cat([proposals, boxes])
    match = matched(every, boxes, found=0.5, nothing=0.5, rescue=False)
    found, none = sampled(match, REGIONS, REGION_SHARE)
    return Sample(every[torch.cat([found, none])], match[found])


def region_losses(
    heads: Heads, masks: Masks, proposals: Sequence[torch.Tensor], targets: Sequence[Target]
) -> dict[str, torch.Tensor]:
    """Return the losses of the second stage.

    Args:
        heads: Returns class logits (n, K + 1), the background last, and deltas (n, K*4) of regions (n, 5).
        masks: Returns the mask logits (n, S, S) of regions (n, 5), each for the class it has, (n,).
        proposals: For each image (n, 4); nothing is learned through them.
        targets: For each image `boxes` (n, 4), `labels` (n,) and `masks` (n, H, W).
    """
    drawn = [regions_of(p.detach(), t["boxes"]) for p, t in zip(proposals, targets, strict=True)]
    logits, deltas = heads(numbered([one.boxes for one in drawn]))
    logits, deltas = logits.float(), deltas.float().view(len(deltas), -1, 4)
    classes = torch.full((len(logits),), logits.shape[1] - 1, device=logits.device)
    at, first, labels, goals = [], 0, [], []
    for one, target in zip(drawn, targets, strict=True):
        at.append(torch.arange(first, first + len(one.match), device=logits.device))
        labels.append(target["labels"][one.match])
        goals.append(target["boxes"][one.match])
        first += len(one.boxes)
    found, label = torch.cat(at), torch.cat(labels)
    classes[found] = label
    inside = [one.boxes[: len(one.match)] for one in drawn]
    moved = box_loss(deltas[found, label], torch.cat(inside), torch.cat(goals), STDS)
    return {
        "loss_classifier": F.cross_entropy(logits, classes),
        "loss_box_reg": moved / max(1, len(logits)),
        "loss_mask": _mask_loss(masks(numbered(inside), label), inside, drawn, targets),
    }


def _mask_loss(
    logits: torch.Tensor, inside: Sequence[torch.Tensor], drawn: Sequence[Sample], targets: Sequence[Target]
) -> torch.Tensor:
    """Compare the masks of regions with what is inside them, at the masks' resolution."""
    if not len(logits):
        return logits.sum()
    side = logits.shape[-1]
    wanted = [
        roi_align(
            target["masks"][:, None].float(),
            torch.cat([one.match[:, None].to(boxes), boxes], 1),
            (side, side),
            aligned=True,
        )[:, 0]
        for boxes, one, target in zip(inside, drawn, targets, strict=True)
    ]
    return F.binary_cross_entropy_with_logits(logits.float(), torch.cat(wanted))


def numbered(boxes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put the number of its image in front of each box: (n_b, 4) for each image -> (n, 5)."""
    return torch.cat([F.pad(one, (1, 0), value=b) for b, one in enumerate(boxes)])
