"""Regions of interest: the features inside a box, its class, and its place (https://arxiv.org/abs/1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import roi_align

from .boxes import Stds, best, decode
from .layers import begin

FINEST = 56  # side in pixels, in the geometric mean, from which on a box goes to the second level
STRIDES = (4, 8, 16, 32)
STDS: Stds = (0.1, 0.1, 0.2, 0.2)


def levels_of(boxes: torch.Tensor) -> torch.Tensor:
    """Return the level whose features a box gets, by its area: (n, 4) -> (n,), 0 to 3."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.floor(torch.log2(sides.prod(1).sqrt() / FINEST + 1e-6)).clamp(0, len(STRIDES) - 1).long()


def roi_features(levels: Sequence[torch.Tensor], rois: torch.Tensor, side: int) -> torch.Tensor:
    """Return the features inside boxes: RoIAlign without rounding, with as many samples as a bin has cells.

    Args:
        levels: (B, C, H_i, W_i) at strides 4, 8, 16, 32.
        rois: (n, 5): number of the image in the batch, and the box in pixels of the input. A box without
            width or height gets zeros.
        side: Of the result.

    Returns:
        (n, C, side, side).
    """
    where = levels_of(rois[:, 1:])
    features = levels[0].new_zeros((len(rois), levels[0].shape[1], side, side))
    for i, stride in enumerate(STRIDES):
        chosen = (where == i).nonzero().flatten()
        if len(chosen):
            # in 16 bits, a box far from the corner would be a pixel off
            x = levels[i] if levels[i].dtype == torch.float64 else levels[i].float()
            boxes = rois[chosen].to(x)
            inside = roi_align(x, boxes, side, 1 / stride, sampling_ratio=0, aligned=True)
            features[chosen] = inside.to(features.dtype)
    return features


class BoxHead(nn.Module):
    """Two linear layers, then scores, the background last, and a box for each class.

    Attributes:
        threshold: Score that a detection has to exceed.
        iou: Overlap above which the lesser of two boxes of a class is dropped.
        most: Detections of one image.
    """

    def __init__(self, num_classes: int, channels: int = 256, hidden: int = 1024, side: int = 7) -> None:
        super().__init__()
        self.num_classes, self.side = num_classes, side
        self.threshold, self.iou, self.most = 0.05, 0.5, 100
        self.fc_cls = nn.Linear(hidden, num_classes + 1)
        self.fc_reg = nn.Linear(hidden, num_classes * 4)
        self.shared_fcs = nn.ModuleList(
            [nn.Linear(channels * side * side, hidden), nn.Linear(hidden, hidden)]
        )
        begin(self.fc_cls, 0.01)
        begin(self.fc_reg, 0.001)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Args: x: (n, C, 7, 7). Returns: logits (n, K + 1) and deltas (n, K*4)."""
        x = x.flatten(1)
        for layer in self.shared_fcs:
            x = F.relu(layer(x))
        return self.fc_cls(x), self.fc_reg(x)

    def select(
        self, boxes: torch.Tensor, logits: torch.Tensor, deltas: torch.Tensor, size: tuple[int, int]
    ) -> dict[str, torch.Tensor]:
        """Turn one image's outputs into detections.

        Args:
            boxes: Proposals, (n, 4).
            logits: (n, K + 1).
            deltas: (n, K*4).
            size: Height and width of the image without padding; boxes are clipped to it.

        Returns:
            `boxes` (m, 4), `scores` (m,), `labels` (m,), and `proposals` (m, 4), where each came from.
        """
        scores = logits.float().softmax(1)[:, :-1]
        moved = decode(boxes, deltas.float().view(len(boxes), -1, 4), STDS, size)
        kept, labels = best(moved, scores, self.threshold, self.iou, self.most)
        return {
            "boxes": moved[kept, labels],
            "scores": scores[kept, labels],
            "labels": labels,
            "proposals": boxes[kept],
        }
