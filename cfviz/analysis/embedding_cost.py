"""What other embedding layers cost and see, beside CrossFormer's, counted the same way.

PVT embeds and merges with one convolution as wide as its stride; Swin embeds the same way and merges by
stacking 2 x 2 neighbours' channels, a LayerNorm and a linear layer, which costs what a 2 x 2 convolution of
stride 2 costs; a pyramidal convolution runs several kernel sizes with as many channels each (Duta et al.,
2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cfviz.geometry import CEL_KERNELS, CEL_STRIDES, cel_channels


@dataclass(frozen=True)
class Embedding:
    """One way to embed.

    Attributes:
        name: "crossformer", "pvt", "swin" or "pyramid".
        kernels: Sides of its kernels.
        channels: Output channels of each.
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
    """The ways to make tokens of `dim` channels before a stage.

    Args:
        stage: 0 to 3.
        inputs: Channels it reads: 3 for stage 0.
        dim: Channels it writes.
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
    """Channels a way of embedding could afford for as many multiply-adds a token."""
    return int(sum(other.channels) * budget / other.macs)
