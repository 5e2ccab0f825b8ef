"""UPerNet's heads: the coarsest map pooled at four sizes, a pyramid, all levels joined; an auxiliary head.

Unified Perceptual Parsing for Scene Understanding, https://arxiv.org/abs/1807.10221
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .layers import ConvUnit, resized

POOLS = (1, 2, 3, 6)  # sides of the pooled maps


class UPerHead(nn.Module):
    """Pyramid pooling and a feature pyramid with norms."""

    def __init__(self, num_classes: int, channels: Sequence[int], hidden: int = 512) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(hidden, num_classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvUnit(channels[-1], hidden, 1, norm=True))
            for side in POOLS
        )
        self.bottleneck = ConvUnit(channels[-1] + len(POOLS) * hidden, hidden, norm=True)
        self.lateral_convs = nn.ModuleList(ConvUnit(c, hidden, 1, norm=True) for c in channels[:-1])
        self.fpn_convs = nn.ModuleList(ConvUnit(hidden, hidden, norm=True) for _ in channels[:-1])
        self.fpn_bottleneck = ConvUnit(len(channels) * hidden, hidden, norm=True)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Args: maps: (B, C_i, H_i, W_i) at strides 4, 8, 16, 32. Returns: logits (B, K, H/4, W/4)."""
        last = maps[-1]
        pooled = [resized(pool(last), last.shape[2:]) for pool in self.psp_modules]
        sums = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=False)]
        sums.append(self.bottleneck(torch.cat([last, *pooled], 1)))
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = sums[i - 1] + resized(sums[i], sums[i - 1].shape[2:])
        levels = [conv(x) for conv, x in zip(self.fpn_convs, sums, strict=False)] + sums[-1:]
        joined = torch.cat([resized(x, levels[0].shape[2:]) for x in levels], 1)
        return self.conv_seg(self.dropout(self.fpn_bottleneck(joined)))


class AuxiliaryHead(nn.Module):
    """A small head on the map at stride 16, which helps in training; predictions do not use it."""

    def __init__(self, num_classes: int, channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(hidden, num_classes, 1)
        self.convs = nn.Sequential(ConvUnit(channels, hidden, norm=True))
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, C, H/16, W/16). Returns: logits (B, K, H/16, W/16)."""
        return self.conv_seg(self.dropout(self.convs(x)))
