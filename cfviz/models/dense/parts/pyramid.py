"""The feature pyramid between a backbone and a head: every level sees what the coarser ones know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from .layers import ConvUnit

Extra = Literal["none", "pool", "convs"]


class FeaturePyramid(nn.Module):
    """A feature pyramid without norms and activations (https://arxiv.org/abs/1612.03144).

    Args:
        channels: Of the backbone's maps, finest first.
        out: Channels of every level.
        extra: Levels above the coarsest map: "none"; "pool", every second pixel of the last level; or
            "convs", a convolution with stride 2 of the backbone's last map, and another one of its result,
            with no ReLU between them (torchvision has one there).
    """

    def __init__(self, channels: Sequence[int], out: int = 256, extra: Extra = "none") -> None:
        super().__init__()
        self.extra, self.sides = extra, len(channels)
        self.lateral_convs = nn.ModuleList(ConvUnit(c, out, 1, act=False) for c in channels)
        levels = [ConvUnit(out, out, act=False) for _ in channels]
        if extra == "convs":
            levels += [ConvUnit(c, out, stride=2, act=False) for c in (channels[-1], out)]
        self.fpn_convs = nn.ModuleList(levels)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Args: maps: (B, C_i, H_i, W_i), finest first. Returns: the levels, (B, out, H_i, W_i)."""
        sums = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(sums) - 1, 0, -1):
            size = (sums[i - 1].shape[2], sums[i - 1].shape[3])
            sums[i - 1] = sums[i - 1] + F.interpolate(sums[i], size, mode="nearest")
        levels = [conv(x) for conv, x in zip(self.fpn_convs, sums, strict=False)]
        if self.extra == "pool":
            levels.append(levels[-1][:, :, ::2, ::2])
        if self.extra == "convs":
            levels.append(self.fpn_convs[self.sides](maps[-1]))
            levels.append(self.fpn_convs[self.sides + 1](levels[-1]))
        return levels
