"""What a model must be given: pixels on its device, in its number format; and the mode it must be in."""

from __future__ import annotations

import torch
from torch import nn


def input_for(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the device of a model's parameters and in their number format."""
    first = next(model.parameters())
    return x.to(first.device, first.dtype)


def check_eval(model: nn.Module) -> None:
    """Check that a model computes what it computes for a reader, not what it computes while it learns.

    Raises:
        ValueError: If the model is in training mode.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() first")
