"""Twins: local windows without a shift, and global attention to sub-sampled keys, in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from timm.models import twins
from torch import nn
from torch.nn import functional as F

from cfviz.geometry.schemes import Scheme, SizeError, twins_global, twins_local

from .layer import Family, Layer, Terms, heads_of, patch_side
from .pvt import ReducedLayer


@dataclass(frozen=True)
class LocalLayer(Layer):
    """Attention within windows, padded with zeros that take part."""

    @cached_property
    def scheme(self) -> Scheme:
        """Windows of neighbours."""
        return twins_local(self.H, self.W, self.module.ws)

    def terms(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Terms:
        """Take the attention apart: the module gets tokens, (B, H*W, C), and cuts them itself."""
        attn, where = self.module, torch.as_tensor(self.scheme.queries)  # nG, N
        x = F.pad(args[0], (0, 0, 0, 1))[:, where.to(args[0].device)]  # B, nG, N, C: -1 is the row of zeros
        q, k, v = heads_of(attn.qkv(x), attn.num_heads, 3)
        return Terms((q * attn.scale) @ k.transpose(-2, -1), v)

    def output(self, mixed: torch.Tensor, args: Sequence[Any]) -> torch.Tensor:
        """Put the windows back, crop the padding, project: (B, H*W, C)."""
        where = torch.as_tensor(self.scheme.queries.reshape(-1), device=mixed.device)
        tokens = mixed.new_empty(len(mixed), self.H * self.W, mixed.shape[-1])
        tokens[:, where[where >= 0]] = mixed.flatten(1, 2)[:, where >= 0]
        return self.module.proj(tokens)


@dataclass(frozen=True)
class GlobalLayer(ReducedLayer):
    """Attention of all tokens to sub-sampled keys."""

    @cached_property
    def scheme(self) -> Scheme:
        """One group: every token scores every key."""
        return twins_global(self.H, self.W, self.ratio)


class Twins(Family):
    """Twins-SVT and Twins-PCPVT, in timm's class `Twins`."""

    name = "Twins"
    mixes = "convolutions (position encodings, and those that join tokens into keys)"

    def has(self, model: nn.Module) -> bool:
        """Whether a model is a Twins."""
        return isinstance(model, twins.Twins)

    def layers(self, model: Any, height: int, width: int) -> list[list[Layer]]:
        """One layer per block, at any size."""
        H, W = height, width
        found: list[list[Layer]] = []
        for embed, blocks in zip(model.patch_embeds, model.blocks, strict=True):
            H, W = H // embed.patch_size[0], W // embed.patch_size[1]
            if not (H and W):
                raise SizeError("a stage would have no token")
            found.append([self._layer(block, H, W) for block in blocks])
        return found

    def strides(self, model: Any, stages: int) -> tuple[int, ...]:
        """The patches of all stages up to this one; pixels beyond the last whole patch are in no token."""
        return tuple(prod(map(patch_side, model.patch_embeds[: s + 1])) for s in range(stages))

    def smallest(self, model: Any) -> int:
        """Enough for one token of the last stage, and one key of each."""
        strides = self.strides(model, len(model.blocks))
        ratios = [max(getattr(block.attn, "sr_ratio", 1) for block in stage) for stage in model.blocks]
        return max(stride * ratio for stride, ratio in zip(strides, ratios, strict=True))

    def entry(self, model: Any, stage: int, layer: Layer) -> nn.Module | None:
        """None: the model counts its photos at its input."""
        return None

    def _layer(self, block: Any, H: int, W: int) -> Layer:
        attn = block.attn
        if type(attn) is twins.LocallyGroupedAttn:
            return LocalLayer(attn, block, H, W)
        if type(attn) is twins.GlobalSubSampleAttn:
            return GlobalLayer(attn, block, H, W)
        raise ValueError(
            f"a block of this Twins attends with {type(attn).__name__}; expected timm's LocallyGroupedAttn "
            "or GlobalSubSampleAttn"
        )
