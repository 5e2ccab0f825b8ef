"""Masks: which pixels of a box belong to the thing found (https://arxiv.org/abs/1703.06870)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .layers import ConvUnit


class MaskHead(nn.Module):
    """Four convolutions, a transposed one that doubles the size, and a map for each class."""

    def __init__(self, num_classes: int, channels: int = 256, side: int = 14) -> None:
        super().__init__()
        self.side = side
        self.convs = nn.ModuleList(ConvUnit(channels, channels) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (n, C, 14, 14). Returns: logits (n, K, 28, 28)."""
        for conv in self.convs:
            x = conv(x)
        return self.conv_logits(F.relu(self.upsample(x)))


def paste(logits: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Put the masks of boxes into an image: probabilities, sampled bilinearly at the pixels' centres.

    A pixel belongs to a mask where the result is 0.5 or more. Boxes are neither enlarged nor rounded, and
    outside a mask there are zeros; a box without width or height has an empty mask.

    Args:
        logits: (n, 28, 28), of each box's class.
        boxes: (n, 4) in pixels of the image.
        size: Height and width of the image.

    Returns:
        (n, 1, H, W) float32.
    """
    H, W = size
    masks = torch.zeros((len(logits), 1, H, W), device=logits.device)
    probs = logits.float().sigmoid()
    for mask, prob, box in zip(masks, probs, boxes.float().tolist(), strict=True):
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        # a mask's outermost values fade out over half of one of its pixels
        (left, right), (top, bottom) = (
            _span(box[axis], box[axis + 2], prob.shape[1 - axis], side) for axis, side in ((0, W), (1, H))
        )
        if left >= right or top >= bottom:
            continue
        x = _along(left, right, box[0], box[2], prob.device)
        y = _along(top, bottom, box[1], box[3], prob.device)
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)  # h, w, (x, y)
        pasted = F.grid_sample(prob[None, None], grid[None], align_corners=False)
        mask[0, top:bottom, left:right] = pasted[0, 0]
    return masks


def _span(first: float, last: float, cells: int, side: int) -> tuple[int, int]:
    """Return the pixels that a box's mask can reach along one axis, from and to."""
    margin = (last - first) / cells / 2 + 1
    return max(0, int(first - margin)), min(side, int(last + margin) + 1)


def _along(start: int, stop: int, first: float, last: float, device: torch.device) -> torch.Tensor:
    """Return the positions of pixels in a box along one axis, from -1 at its first edge to 1 at its last."""
    return (torch.arange(start, stop, device=device) + 0.5 - first) / (last - first) * 2 - 1
