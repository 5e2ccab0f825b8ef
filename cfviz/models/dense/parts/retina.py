"""RetinaNet's head: a class and a box for every anchor (https://arxiv.org/abs/1708.02002)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .anchors import Anchors
from .boxes import best, decode
from .layers import ConvUnit, begin

STRIDES = (8, 16, 32, 64, 128)
SCALE = 4.0  # side of the smallest square anchor, in cells
PER_LEVEL = 1000  # anchors of a level that are looked at, those with the best class


class RetinaHead(nn.Module):
    """Two towers of convolutions, shared by all levels; a sigmoid for each class and no background.

    Attributes:
        threshold: Score that a detection has to exceed.
        iou: Overlap above which the lesser of two boxes of a class is dropped.
        most: Detections of one image.
    """

    def __init__(self, num_classes: int, channels: int = 256, anchor_scale: float = SCALE) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.anchors = Anchors(STRIDES, tuple(anchor_scale * 2 ** (i / 3) for i in range(3)))
        self.threshold, self.iou, self.most = 0.05, 0.5, 100
        A = self.anchors.per_cell
        self.cls_convs = nn.ModuleList(ConvUnit(channels, channels) for _ in range(4))
        self.reg_convs = nn.ModuleList(ConvUnit(channels, channels) for _ in range(4))
        self.retina_cls = nn.Conv2d(channels, A * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(channels, A * 4, 3, padding=1)
        begin(self.retina_cls, 0.01, -4.595)  # a score of 0.01: most anchors hold nothing
        begin(self.retina_reg, 0.01)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Args: levels: (B, C, H_i, W_i). Returns: logits (B, A*K, H_i, W_i), deltas (B, A*4, H_i, W_i)."""
        logits, deltas = [], []
        for x in levels:
            y = x
            for cls, reg in zip(self.cls_convs, self.reg_convs, strict=True):
                x, y = cls(x), reg(y)
            logits.append(self.retina_cls(x))
            deltas.append(self.retina_reg(y))
        return logits, deltas

    def select(
        self, logits: Sequence[torch.Tensor], deltas: Sequence[torch.Tensor], size: tuple[int, int]
    ) -> dict[str, torch.Tensor]:
        """Turn one image's outputs into detections.

        Args:
            logits, deltas: Of each level, without the batch: (A*K, H_i, W_i), (A*4, H_i, W_i).
            size: Height and width of the image without padding; boxes are clipped to it.

        Returns:
            `boxes` (n, 4), `scores` (n,), `labels` (n,), and what found each: `levels` (n,), and `anchors`
            (n,), the anchor's number in the level.
        """
        boxes, scores, levels, numbers = [], [], [], []
        for i, (cls, reg) in enumerate(zip(logits, deltas, strict=True)):
            anchors = self.anchors.on(i, cls.shape[1:], cls.device)
            score = cls.float().permute(1, 2, 0).reshape(-1, self.num_classes).sigmoid()  # H*W*A, K
            delta = reg.float().permute(1, 2, 0).reshape(-1, 4)
            number = torch.arange(len(score), device=cls.device)
            if len(score) > PER_LEVEL:
                number = top = score.amax(1).topk(PER_LEVEL).indices
                anchors, score, delta = anchors[top], score[top], delta[top]
            boxes.append(decode(anchors, delta, size=size))
            scores.append(score)
            levels.append(torch.full((len(score),), i, device=cls.device))
            numbers.append(number)
        all_boxes, all_scores = torch.cat(boxes), torch.cat(scores)
        kept, labels = best(all_boxes, all_scores, self.threshold, self.iou, self.most)
        return {
            "boxes": all_boxes[kept],
            "scores": all_scores[kept, labels],
            "labels": labels,
            "levels": torch.cat(levels)[kept],
            "anchors": torch.cat(numbers)[kept],
        }
