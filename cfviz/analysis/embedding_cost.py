"""What other embedding layers cost and see, counted like CrossFormer's own.

PVT embeds and merges with one convolution as wide as its stride; Swin embeds the same way and merges by
stacking the channels of 2 x 2 neighbours, a LayerNorm and a linear layer, which costs what a 2 x 2
convolution of stride 2 costs; a pyramidal convolution runs kernels of several sizes, all with the same number
of channels (Duta et al., 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cfviz.geometry import CEL_KERNELS, CEL_STRIDES, cel_channels


@dataclass(frozen=True)
class Embedding:
    """One embedding layer.

    Attributes:
        name: "crossformer", "pvt", "swin" or "pyramid".
        kernels: Side of each kernel.
        channels: Output channels of each kernel.
        macs: Multiply-adds for one token.
    """

    name: str
    kernels: tuple[int, ...]
    channels: tuple[int, ...]
    macs: int


def macs(kernels: Sequence[int], channels: Sequence[int], inputs: int) -> tuple[int, ...]:
    """Multiply-adds of each kernel for one token: k * k * inputs * D_i."""
    return tuple(k * k * inputs * d for k, d in zip(kernels, channels, strict=True))


def embeddings(stage: int, inputs: int, dim: int) -> list[Embedding]:
    """The layers that would make tokens of `dim` channels before a stage.

    Args:
        stage: 0 to 3.
        inputs: Channels that the layer reads: 3 for stage 0.
        dim: Channels that the layer writes.
    """
    kernels, stride = CEL_KERNELS[stage], CEL_STRIDES[stage]
    equal = tuple(dim // len(kernels) for _ in kernels)
    rows = {
        "crossformer": (kernels, cel_channels(dim, kernels)),
        "pvt": ((stride,), (dim,)),
        "swin": ((stride,), (dim,)),
        "pyramid": (kernels, equal),
    }
    return [Embedding(name, k, c, sum(macs(k, c, inputs))) for name, (k, c) in rows.items()]


def at_equal_cost(other: Embedding, budget: int) -> int:
    """Channels that a layer could afford with `budget` multiply-adds per token."""
    return int(sum(other.channels) * budget / other.macs)
