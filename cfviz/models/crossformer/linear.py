"""Linear layers with bias and activation fused into the matrix product where the machine supports it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .shortcuts import bare, recorded

# oneDNN's matrix product, also used by torch.compile; a plain one writes its output two or three times
_FUSED = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
PART = 8_000_000  # bytes between the two layers of an MLP
_FUSED_DTYPES = {torch.float32} | (
    {torch.bfloat16} if _FUSED is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported() else set()
)


def linear(layer: nn.Module, x: torch.Tensor, gelu: nn.Module | None = None) -> torch.Tensor:
    """Apply a linear layer, then a GELU if given; up to rounding, the same as calling them in turn.

    On a CPU without gradients, bias and GELU are fused into the product unless the modules are observed or
    have been replaced by others.
    """
    if _FUSED is not None and not recorded(x) and _fusible(layer, x) and (gelu is None or _exact(gelu)):
        return _FUSED(x, layer.weight, layer.bias, "none" if gelu is None else "gelu", [], "none")
    y = layer(x)
    return y if gelu is None else gelu(y)


def product(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Multiply unfolded pixels (..., C*k*k) by a convolution's weights and add its bias: (..., C_out)."""
    weight = layer.weight.flatten(1)
    if _FUSED is not None and _plain(layer, x):
        return _FUSED(x, weight, layer.bias, "none", [], "none")
    return F.linear(x, weight, layer.bias)


def can_multiply_rows(x: torch.Tensor) -> bool:
    """Whether `rows_times_rows` can multiply a tensor's matrices: float32 on a CPU, without gradients."""
    return (
        _FUSED is not None
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not recorded(x)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def rows_times_rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multiply a matrix by another's transpose, (n, k), (m, k) -> (n, m), if `can_multiply_rows`.

    oneDNN has AVX-512 on every processor that has it; the library behind PyTorch's own products, MKL, leaves
    it unused on AMD's, and takes twice as long.
    """
    return _FUSED(x, y, None, "none", [], "none")  # type: ignore[misc]  # not None, as asked before


def _fusible(layer: nn.Module, x: torch.Tensor) -> bool:
    return type(layer) is nn.Linear and _plain(layer, x) and bare(layer)


def _plain(layer: nn.Linear | nn.Conv2d, x: torch.Tensor) -> bool:
    """Whether oneDNN can multiply `x` by the layer's weights, and no gradient or autocast forbids it."""
    weight, dtype = layer.weight, x.dtype
    return (
        type(weight) is nn.Parameter
        and x.device.type == "cpu"
        and dtype == weight.dtype
        and dtype in _FUSED_DTYPES
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _exact(gelu: nn.Module) -> bool:
    return type(gelu) is nn.GELU and gelu.approximate == "none" and bare(gelu)


class Mlp(nn.Module):
    """Two linear layers with a GELU in between.

    On a CPU without gradients, many tokens are processed in chunks, so that the hidden activations, four
    times as wide, stay in the processor's cache and need no new memory from the system.
    """

    def __init__(self, dim: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (..., C). Returns: (..., C)."""
        if recorded(x) or x.device.type != "cpu" or torch.is_grad_enabled():
            return self._whole(x)
        part = PART // (self.fc1.out_features * x.element_size())  # tokens
        if x.numel() <= part * x.shape[-1] or not bare(*self.children()):
            return self._whole(x)
        return torch.cat([self._whole(some) for some in x.flatten(0, -2).split(part)]).view(x.shape)

    def _whole(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop2(linear(self.fc2, self.drop1(linear(self.fc1, x, self.act))))
