"""Random weights, drawn here because importing timm for it would take a second."""

from __future__ import annotations

import math

import torch

FAR = 2.0  # where the distribution is cut, as in timm


@torch.no_grad()
def truncated_normal_(weight: torch.Tensor, std: float) -> torch.Tensor:
    """Fill a tensor with normal numbers of mean 0, none beyond -2 and 2, in place: timm's, bit for bit.

    PyTorch's own function of this kind draws again what lies outside, which no fake tensor can do; here
    uniform numbers go through the inverse of the normal distribution.
    """
    inside = math.erf(FAR / std / math.sqrt(2))  # the share of a normal distribution between the cuts
    weight.uniform_(-inside, inside).erfinv_().mul_(std * math.sqrt(2))
    return weight.clamp_(-FAR, FAR)
