"""PVT v2 and the global attention of Twins: keys that a strided convolution makes of several tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from timm.models import pvt_v2
from torch import nn

from cfviz.geometry.schemes import Scheme, pvt

from .layer import Family, Layer, Terms, heads_of


@dataclass(frozen=True)
class ReducedLayer(Layer):
    """Attention of all tokens to keys that each stand for `ratio` x `ratio` tokens."""

    @property
    def ratio(self) -> int:
        """Side of a key, in tokens."""
        sr = self.module.sr
        return 1 if sr is None else int(sr.stride[0])

    @cached_property
    def scheme(self) -> Scheme:
        """One group: every token scores every key."""
        return pvt(self.H, self.W, self.ratio)

    def terms(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Terms:
        """Take the attention apart: the module gets tokens, (B, N, C)."""
        attn, x = self.module, args[0]
        (q,) = heads_of(attn.q(x), attn.num_heads, 1)  # B, nH, Nq, d
        if attn.sr is not None:
            whole = x.transpose(1, 2).unflatten(-1, (self.H, self.W))  # B, C, H, W
            x = attn.norm(attn.sr(whole).flatten(2).transpose(1, 2))  # B, Nk, C
        k, v = heads_of(attn.kv(x), attn.num_heads, 2)
        content = (q * attn.scale) @ k.transpose(-2, -1)
        return Terms(content[:, None], v[:, None])

    def output(self, mixed: torch.Tensor, args: Sequence[Any]) -> torch.Tensor:
        """Project all tokens: (B, N, C)."""
        return self.module.proj(mixed[:, 0])


class Pvt(Family):
    """PVT v2, in timm's class `PyramidVisionTransformerV2`."""

    name = "PVT v2"
    mixes = "convolutions (in the MLPs, and those that join tokens into keys)"

    def has(self, model: nn.Module) -> bool:
        """Whether a model is a PVT v2."""
        return isinstance(model, pvt_v2.PyramidVisionTransformerV2)

    def layers(self, model: Any, height: int, width: int) -> list[list[Layer]]:
        """One layer per block, at any size."""
        H, W = -(-height // 4), -(-width // 4)
        found: list[list[Layer]] = []
        for s, stage in enumerate(model.stages):
            if s:
                H, W = -(-H // 2), -(-W // 2)
            found.append([self._layer(block, H, W) for block in stage.blocks])
        return found

    def strides(self, model: Any, stages: int) -> tuple[int, ...]:
        """4, 8, 16, 32; patches overlap, and the last ones may reach beyond the input."""
        return tuple(4 * 2**s for s in range(stages))

    def smallest(self, model: Any) -> int:
        """Enough for one key of each stage."""
        ratios = [
            max(1 if b.attn.sr is None else int(b.attn.sr.stride[0]) for b in s.blocks) for s in model.stages
        ]
        return max(
            stride * (n - 1) + 1 for stride, n in zip(self.strides(model, len(ratios)), ratios, strict=True)
        )

    def entry(self, model: Any, stage: int, layer: Layer) -> nn.Module | None:
        """The stage, which counts its photos."""
        return model.stages[stage]

    def _layer(self, block: Any, H: int, W: int) -> Layer:
        attn = block.attn
        if type(attn) is not pvt_v2.Attention or attn.pool is not None:
            raise ValueError(
                "this PVT v2 averages the map into 7 x 7 keys that overlap (its linear form); expected keys "
                "made by a strided convolution, as in pvt_v2_b0 to pvt_v2_b5"
            )
        return ReducedLayer(attn, block, H, W)
