"""Boxes: how a head writes one relative to another, and which of many overlapping ones to keep.

A box is (x1, y1, x2, y2) in pixels; a box of width 1 reaches from x1 to x1 + 1.
"""

from __future__ import annotations

import math

import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

LIMIT = math.log(1000 / 16)  # of the logarithm of a ratio of sides, both ways; torchvision limits it one way
Stds = tuple[float, float, float, float]
UNIT: Stds = (1.0, 1.0, 1.0, 1.0)


def decode(
    boxes: torch.Tensor, deltas: torch.Tensor, stds: Stds = UNIT, size: tuple[int, int] | None = None
) -> torch.Tensor:
    """Move and resize boxes.

    Args:
        boxes: (n, 4).
        deltas: (n, 4), or (n, K, 4) for K results per box: the centre's shift, divided by the sides, and the
            logarithm of the sides' ratio.
        stds: What the deltas are multiplied by.
        size: Height and width to clip the results to; None leaves them as they are.

    Returns:
        (n, 4) or (n, K, 4).
    """
    boxes = boxes.unsqueeze(1) if deltas.dim() == 3 else boxes
    dx, dy, dw, dh = (deltas * deltas.new_tensor(stds)).unbind(-1)
    x1, y1, x2, y2 = boxes.unbind(-1)
    w, h = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + w * dx, (y1 + y2) / 2 + h * dy
    w, h = w * dw.clamp(-LIMIT, LIMIT).exp(), h * dh.clamp(-LIMIT, LIMIT).exp()
    moved = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    return moved if size is None else clip_boxes_to_image(moved, size)


def encode(boxes: torch.Tensor, wanted: torch.Tensor, stds: Stds = UNIT) -> torch.Tensor:
    """Return the deltas with which `decode` turns each box into the wanted one: (n, 4), (n, 4) -> (n, 4)."""
    sides, goal = boxes[:, 2:] - boxes[:, :2], wanted[:, 2:] - wanted[:, :2]
    shift = (wanted[:, :2] + wanted[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    return torch.cat([shift / sides, (goal / sides).log()], 1) / boxes.new_tensor(stds)


def best(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float, iou: float, most: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select detections: every class of every box above a threshold that no better one of its class overlaps.

    Args:
        boxes: (n, 4) for all classes, or (n, K, 4) for each class.
        scores: (n, K), without a background.
        threshold: Scores must be above it.
        iou: Overlap, intersection over union, above which the lesser of two boxes of one class is dropped.
        most: Number of detections to keep; None for all.

    Returns:
        Numbers of the kept boxes and their classes, two times (kept,), best first.
    """
    box, label = (scores > threshold).nonzero(as_tuple=True)
    candidates = boxes[box, label] if boxes.dim() == 3 else boxes[box]
    kept = batched_nms(candidates, scores[box, label], label, iou)[:most]
    return box[kept], label[kept]
