"""What RetinaNet and the segmenters learn from: what each anchor and pixel is to find, and how far it is off.

The rules for anchors are those of https://arxiv.org/abs/1708.02002; torchvision's detectors use the same
matcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torchvision.ops import box_iou, sigmoid_focal_loss

from .anchors import Anchors
from .boxes import encode
from .layers import resized

FOUND, NOTHING = 0.5, 0.4  # overlap from which an anchor is to find a box, below which nothing
BACKGROUND, IGNORED = -1, -2
UNLABELLED = 255  # in label maps, as in the authors' settings
Target = Mapping[str, torch.Tensor]


def check_targets(
    targets: Sequence[Target], images: int, num_classes: int, masks: tuple[int, int] | None = None
) -> None:
    """Check that there is something to learn for each image.

    Args:
        targets: For each image.
        images: Their number.
        num_classes: Labels are below it.
        masks: Height and width that masks must have; None if none are needed.

    Raises:
        ValueError: If there are more or fewer targets than images, a box is none, a label is unknown, or
            masks are needed and do not fit.
    """
    if len(targets) != images:
        raise ValueError(f"there are {len(targets)} targets for {images} images; expected one each")
    for target in targets:
        boxes, labels = target["boxes"], target["labels"]
        if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            raise ValueError(
                f"a target has boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)}; expected (n, 4) "
                "and (n,)"
            )
        if not bool((boxes[:, 2:] > boxes[:, :2]).all()):
            raise ValueError("a target has a box without width or height, or with NaN in it")
        if bool(((labels < 0) | (labels >= num_classes)).any()):
            raise ValueError(f"a target has a label that is none of 0 to {num_classes - 1}")
        if masks is not None and ("masks" not in target or target["masks"].shape != (len(boxes), *masks)):
            found = f"masks {tuple(target['masks'].shape)}" if "masks" in target else "no masks"
            raise ValueError(f"a target has {found}; expected {(len(boxes), *masks)}, one for each box")


def matched(
    anchors: torch.Tensor,
    boxes: torch.Tensor,
    found: float = FOUND,
    nothing: float = NOTHING,
    rescue: bool = True,
) -> torch.Tensor:
    """Say what each anchor is to find: the box that it overlaps most, if that is by `found` or more.

    Args:
        anchors: (A, 4).
        boxes: (n, 4).
        found: Overlap from which an anchor is to find a box.
        nothing: Overlap below which it is to find nothing.
        rescue: Whether a box that no anchor overlaps so much is given to those that overlap it most.

    Returns:
        (A,) int64: the number of a box, `BACKGROUND`, or `IGNORED` for overlaps in between.
    """
    if not len(boxes):
        return anchors.new_full((len(anchors),), BACKGROUND, dtype=torch.int64)
    overlap = box_iou(boxes, anchors)  # n, A
    most, box = overlap.max(0)
    result = torch.where(most >= found, box, torch.where(most < nothing, BACKGROUND, IGNORED))
    if not rescue:
        return result
    best = overlap.amax(1, keepdim=True)
    at_best = ((overlap == best) & (best > 0)).any(0)
    return torch.where(at_best, box, result)


def check_labels(labels: torch.Tensor, x: torch.Tensor, num_classes: int) -> None:
    """Check that there is a class, or `UNLABELLED`, for each pixel of a batch.

    Raises:
        ValueError: If there is not.
    """
    if num_classes > UNLABELLED:
        raise ValueError(
            f"there are {num_classes} classes; expected at most {UNLABELLED}, the label of pixels without one"
        )
    B, _, H, W = x.shape
    if labels.shape != (B, H, W) or labels.dtype != torch.int64:
        kind = str(labels.dtype).removeprefix("torch.")
        raise ValueError(f"the labels are {kind} {tuple(labels.shape)}; expected int64 {(B, H, W)}")
    if bool(((labels != UNLABELLED) & ((labels < 0) | (labels >= num_classes))).any()):
        raise ValueError(f"a label is none of 0 to {num_classes - 1}, nor {UNLABELLED} for none")


def pixel_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of pixels that have a class: logits (B, K, h, w), labels (B, H, W)."""
    full = resized(logits, labels.shape[1:]).float()
    known = (labels != UNLABELLED).sum().clamp(min=1)
    return F.cross_entropy(full, labels, ignore_index=UNLABELLED, reduction="sum") / known


def flat(maps: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Put the maps of all levels in the order of the anchors: (B, A*width, H_i, W_i) -> (B, all, width)."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, width) for x in maps], 1)


def retina_losses(
    logits: Sequence[torch.Tensor],
    deltas: Sequence[torch.Tensor],
    targets: Sequence[Target],
    anchors: Anchors,
    num_classes: int,
) -> dict[str, torch.Tensor]:
    """Return the losses of a batch, each divided by the number of anchors that are to find something.

    Args:
        logits, deltas: Of each level, (B, A*K, H_i, W_i) and (B, A*4, H_i, W_i).
        targets: For each image `boxes` (n, 4) in pixels of the input, and `labels` (n,).
        anchors: The head's.
        num_classes: K.

    Returns:
        `classification`, the focal loss of all anchors but those ignored, and `bbox_regression`, the mean
        distance of the deltas, summed over the four, of the anchors that are to find something.
    """
    device = logits[0].device
    every = torch.cat([anchors.on(i, x.shape[2:], device) for i, x in enumerate(logits)])
    found = [matched(every, target["boxes"]) for target in targets]
    scores, moves = flat(logits, num_classes).float(), flat(deltas, 4).float()
    wanted = torch.zeros_like(scores)
    boxes = moves.new_zeros(())
    for b, (match, target) in enumerate(zip(found, targets, strict=True)):
        at = match >= 0
        wanted[b, at.nonzero()[:, 0], target["labels"][match[at]]] = 1
        goals = encode(every[at], target["boxes"][match[at]])
        boxes = boxes + F.l1_loss(moves[b, at], goals, reduction="sum")
    counted = torch.stack(found) != IGNORED
    classes = sigmoid_focal_loss(scores[counted], wanted[counted], reduction="sum")
    number = max(1, sum(int((match >= 0).sum()) for match in found))
    return {"classification": classes / number, "bbox_regression": boxes / number}
