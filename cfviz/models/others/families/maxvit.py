"""MaxViT: attention within windows, then within grids spread over the whole map, in every block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any

import torch
from timm.models import maxxvit
from torch import nn

from cfviz.geometry.schemes import Scheme, maxvit_block, maxvit_grid

from .layer import Family, Layer, Terms


@dataclass(frozen=True)
class PartitionLayer(Layer):
    """Attention within the parts of a map.

    Attributes:
        size: Height and width of a part, in tokens.
        spread: Whether the members of a part are spread over the map (grid) rather than neighbours (block).
    """

    size: tuple[int, int]
    spread: bool

    @cached_property
    def scheme(self) -> Scheme:
        """Windows of neighbours, or grids of tokens a fixed distance apart."""
        return (maxvit_grid if self.spread else maxvit_block)(self.H, self.W, self.size)

    @property
    def has_bias(self) -> bool:
        """Unless the model was made without one."""
        return self.module.rel_pos is not None

    def terms(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Terms:
        """Take the attention apart: the module gets parts, (B*nG, h, w, C) or (B*nG, C, h, w)."""
        attn, made = self.module, self.module.qkv(args[0])
        rows = made.flatten(2).transpose(1, 2) if _channels_first(attn) else made.flatten(1, 2)
        rows = rows.unflatten(0, (-1, len(self.scheme.queries)))  # B, nG, N, 3*nH*d
        if attn.head_first:
            split = rows.unflatten(-1, (attn.num_heads, 3, attn.dim_head)).transpose(-2, -3)
        else:
            split = rows.unflatten(-1, (3, attn.num_heads, attn.dim_head))
        q, k, v = (part.transpose(-2, -3) for part in split.unbind(-3))  # B, nG, nH, N, d
        bias = None if attn.rel_pos is None else attn.rel_pos.get_bias().reshape(-1, *2 * rows.shape[2:3])
        return Terms((q * attn.scale) @ k.transpose(-2, -1), v, bias)

    def output(self, mixed: torch.Tensor, args: Sequence[Any]) -> torch.Tensor:
        """Project each part, in the layout that the module got."""
        rows = mixed.flatten(0, 1)  # B*nG, N, C
        if _channels_first(self.module):
            return self.module.proj(rows.transpose(1, 2).unflatten(-1, args[0].shape[-2:]))
        return self.module.proj(rows.unflatten(1, args[0].shape[1:3]))

    def tokens(self, out: torch.Tensor) -> torch.Tensor:
        """The map in what the block returns, in either layout: (H, W, C)."""
        return out[0].permute(1, 2, 0) if _channels_first(self.module) else out[0]


def _channels_first(attn: Any) -> bool:
    return isinstance(attn, maxxvit.Attention2d)


class Maxvit(Family):
    """MaxViT and MaxxViT, in timm's class `MaxxVit`."""

    name = "MaxViT"
    mixes = "the convolutions of every block"

    def has(self, model: nn.Module) -> bool:
        """Whether a model is a MaxViT; timm's class also holds CoAtNet, which `layers` refuses."""
        return isinstance(model, maxxvit.MaxxVit)

    def layers(self, model: Any, height: int, width: int) -> list[list[Layer]]:
        """Two layers per block, window and grid; or the grid alone where the model has no windows."""
        H, W = -(-height // model.stem.stride), -(-width // model.stem.stride)
        found: list[list[Layer]] = []
        for stage in model.stages:
            H, W = -(-H // 2), -(-W // 2)
            found.append([layer for block in stage.blocks for layer in self._both(block, H, W)])
        return found

    def strides(self, model: Any, stages: int) -> tuple[int, ...]:
        """The stem's, doubled in each stage."""
        return tuple(model.stem.stride * 2 ** (s + 1) for s in range(stages))

    def grain(self, model: Any) -> tuple[int, int]:
        """What the windows and grids of all stages divide evenly."""
        strides = self.strides(model, len(model.stages))
        made = self.layers(model, strides[-1], strides[-1])
        sides = [
            [stride * n for n in layer.size]
            for stride, stage in zip(strides, made, strict=True)
            for layer in stage
            if isinstance(layer, PartitionLayer)
        ]
        return lcm(*(height for height, _ in sides)), lcm(*(width for _, width in sides))

    def _both(self, block: Any, H: int, W: int) -> list[Layer]:
        if type(block) is not maxxvit.MaxxVitBlock:
            raise ValueError(
                f"this model has blocks of another kind ({type(block).__name__}), as CoAtNet does; expected "
                "MaxViT's blocks, whose attention is in windows and grids"
            )
        parts = ((block.attn_block, False), (block.attn_grid, True))
        return [
            PartitionLayer(part.attn, part, H, W, tuple(part.partition_size), spread)
            for part, spread in parts
            if part is not None
        ]
