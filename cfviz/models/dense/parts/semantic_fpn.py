"""Semantic FPN's head: every level brought to stride 4 in steps, and added.

Panoptic Feature Pyramid Networks, https://arxiv.org/abs/1901.02446
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .layers import ConvUnit, resized

LEVELS = 4


class SemanticFPNHead(nn.Module):
    """One convolution at stride 4; one, two and three at 8, 16 and 32, each followed by doubling the size."""

    def __init__(self, num_classes: int, channels: int = 256, hidden: int = 128) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(hidden, num_classes, 1)
        self.scale_heads = nn.ModuleList(self._steps(level, channels, hidden) for level in range(LEVELS))
        self.dropout = nn.Dropout2d(0.1)

    @staticmethod
    def _steps(level: int, channels: int, hidden: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for step in range(max(level, 1)):
            layers.append(ConvUnit(hidden if step else channels, hidden, norm=True))
            if level:
                layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        return nn.Sequential(*layers)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Args: levels: (B, C, H_i, W_i) at strides 4, 8, 16, 32. Returns: logits (B, K, H/4, W/4)."""
        scaled = [head(x) for head, x in zip(self.scale_heads, levels, strict=True)]
        total = scaled[0]
        for x in scaled[1:]:
            total = total + resized(x, total.shape[2:])
        return self.conv_seg(self.dropout(total))
