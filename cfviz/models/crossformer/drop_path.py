"""Stochastic depth, written here because importing timm for it would take a second."""

from __future__ import annotations

import torch
from torch import nn


class DropPath(nn.Module):
    """Drop a whole branch of a block for some images of a batch, in training only.

    Kept branches are divided by the share that is kept, so that the mean stays. As in timm, random numbers
    included.

    Source: G. Huang et al., "Deep networks with stochastic depth", 2016.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, ...). Returns: (B, ...)."""
        if not self.training or self.drop_prob == 0.0:
            return x
        keep = 1 - self.drop_prob
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (kept.div_(keep) if keep > 0 else kept)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:g}"
