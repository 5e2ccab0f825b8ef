"""Region proposals: boxes that may hold something, of whatever class (https://arxiv.org/abs/1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import batched_nms

from .anchors import Anchors
from .boxes import decode
from .layers import begin

ANCHORS = Anchors((4, 8, 16, 32, 64), (8.0,))
PER_LEVEL, MOST, IOU = 1000, 1000, 0.7


class ProposalHead(nn.Module):
    """One convolution, shared by all levels, then a score and a box for every anchor."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.anchors = ANCHORS
        A = self.anchors.per_cell
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, A, 1)
        self.rpn_reg = nn.Conv2d(channels, A * 4, 1)
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            begin(conv, 0.01)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Args: levels: (B, C, H_i, W_i). Returns: logits (B, A, H_i, W_i), deltas (B, A*4, H_i, W_i)."""
        hidden = [F.relu(self.rpn_conv(x)) for x in levels]
        return [self.rpn_cls(x) for x in hidden], [self.rpn_reg(x) for x in hidden]

    def select(
        self, logits: Sequence[torch.Tensor], deltas: Sequence[torch.Tensor], size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn one image's outputs into proposals, best first.

        Boxes that clipping left without width or height stay in the list, as in the authors' code.

        Args:
            logits, deltas: Of each level, without the batch: (A, H_i, W_i), (A*4, H_i, W_i).
            size: Height and width of the image without padding; boxes are clipped to it.

        Returns:
            Boxes (n, 4) and scores (n,), n at most 1000.
        """
        boxes, scores, levels = [], [], []
        for i, (cls, reg) in enumerate(zip(logits, deltas, strict=True)):
            score = cls.float().permute(1, 2, 0).flatten().sigmoid()  # H*W*A
            delta = reg.float().permute(1, 2, 0).reshape(-1, 4)
            top = score.topk(min(PER_LEVEL, len(score))).indices
            anchors = self.anchors.on(i, cls.shape[1:], cls.device)[top]
            boxes.append(decode(anchors, delta[top], size=size))
            scores.append(score[top])
            levels.append(torch.full((len(top),), i, device=cls.device))
        all_boxes, all_scores = torch.cat(boxes), torch.cat(scores)
        kept = batched_nms(all_boxes, all_scores, torch.cat(levels), IOU)[:MOST]
        return all_boxes[kept], all_scores[kept]
