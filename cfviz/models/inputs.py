"""Bring pixels to a model: onto its device, in its number format."""

from __future__ import annotations

import torch
from torch import nn


def input_for(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the device of a model's parameters and in their number format."""
    first = next(model.parameters())
    return x.to(first.device, first.dtype)
