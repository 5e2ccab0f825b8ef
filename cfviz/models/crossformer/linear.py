"""Linear layers whose bias and activation are part of the matrix product where the machine can do that."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import register_flop_formula

# oneDNN's product, the one torch.compile uses; a plain one writes its output two or three times
_FUSED = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
PART = 8_000_000  # bytes between the two layers of an MLP
_FUSED_DTYPES = {torch.float32} | (
    {torch.bfloat16} if _FUSED is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported() else set()
)


class Linear(nn.Linear):
    """`nn.Linear`, followed by a GELU if asked for; the same parameters and, to rounding, the same numbers.

    On a CPU without gradients bias and GELU are fused into the product.
    """

    def __init__(self, in_features: int, out_features: int, gelu: bool = False) -> None:
        super().__init__(in_features, out_features)
        self.gelu = gelu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _FUSED is not None and self._plain_cpu(x):
            return _FUSED(x, self.weight, self.bias, "gelu" if self.gelu else "none", [], "none")
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.gelu else y

    def _plain_cpu(self, x: torch.Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype
            and x.dtype in _FUSED_DTYPES
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )


class Mlp(nn.Module):
    """Two linear layers with a GELU between.

    On a CPU without gradients many tokens go part by part, so that what lies between the layers, four times
    as wide, stays in the processor's cache and never asks the system for fresh memory.
    """

    def __init__(self, dim: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden, gelu=True)
        self.drop1 = nn.Dropout(drop)
        self.fc2 = Linear(hidden, dim)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (..., C). Returns: (..., C)."""
        part = PART // (self.fc1.out_features * x.element_size())  # tokens
        if x.device.type != "cpu" or x.numel() <= part * x.shape[-1] or torch.is_grad_enabled():
            return self._whole(x)
        return torch.cat([self._whole(some) for some in x.flatten(0, -2).split(part)]).view(x.shape)

    def _whole(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop2(self.fc2(self.drop1(self.fc1(x))))


if _FUSED is not None:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x_shape: Any, w_shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        """Two a multiply-add, as torch counts a plain product."""
        return 2 * prod(x_shape) * w_shape[0]
