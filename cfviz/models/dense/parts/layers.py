"""The convolution that all heads are made of, under the names of the authors' files."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cfviz.hooks import HookPoint


class ConvUnit(nn.Module):
    """A convolution that keeps the size of its map, then normalisation and ReLU if asked for.

    With a norm, the convolution has no bias of its own.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        norm: bool = False,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm2d(out)
        self.norm, self.act = norm, act
        self.out = HookPoint()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, C, H, W). Returns: (B, out, H / stride, W / stride), rounded up."""
        x = self.conv(x)
        x = self.bn(x) if self.norm else x
        return self.out(F.relu(x) if self.act else x)


def begin(layer: nn.Conv2d | nn.Linear, std: float, bias: float = 0.0) -> None:
    """Give a layer before an output small random weights and one bias."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)


def resized(x: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """Resize maps bilinearly, corners not aligned: (B, C, H, W) -> (B, C, *size)."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
