"""Plain ViT and DeiT: every token attends to every token, class and register tokens included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from timm.layers import Attention, PatchEmbed
from timm.models import vision_transformer
from torch import nn

from cfviz.geometry.schemes import Scheme, SizeError, vit

from .layer import Family, Layer, Terms, heads_of, patch_side, refuse_size


@dataclass(frozen=True)
class GlobalLayer(Layer):
    """Attention of all tokens to all.

    Attributes:
        prefix: Tokens before those of the map: class, registers.
    """

    prefix: int

    @cached_property
    def scheme(self) -> Scheme:
        """One group: every token scores every token."""
        return vit(self.H, self.W, self.prefix)

    def terms(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Terms:
        """Take the attention apart: the module gets tokens, (B, N, C)."""
        attn = self.module
        q, k, v = heads_of(attn.qkv(args[0]), attn.num_heads, 3)
        content = (attn.q_norm(q) * attn.scale) @ attn.k_norm(k).transpose(-2, -1)
        return Terms(content[:, None], v[:, None])

    def output(self, mixed: torch.Tensor, args: Sequence[Any]) -> torch.Tensor:
        """Normalise and gate where the module does, and project: (B, N, C)."""
        attn, x = self.module, self.module.norm(mixed[:, 0])
        return attn.proj(x if attn.gate is None else x * attn.gate(args[0]).sigmoid())


class Vit(Family):
    """ViT and DeiT, in timm's class `VisionTransformer`."""

    name = "ViT"

    def has(self, model: nn.Module) -> bool:
        """Whether a model is a plain ViT."""
        return isinstance(model, vision_transformer.VisionTransformer)

    def layers(self, model: Any, height: int, width: int) -> list[list[Layer]]:
        """One stage, one layer per block."""
        embed = model.patch_embed
        if type(embed) is not PatchEmbed:
            raise ValueError(
                f"this ViT makes its tokens with {type(embed).__name__}; expected patches (timm's PatchEmbed)"
            )
        if not model.dynamic_img_size:
            refuse_size(model, height, width, embed.img_size)
        elif not embed.dynamic_img_pad and (height % embed.patch_size[0] or width % embed.patch_size[1]):
            ph, pw = embed.patch_size
            raise SizeError(f"its patches are {ph} x {pw} pixels, and must divide the input evenly")
        H, W = embed.dynamic_feat_size((height, width))
        return [[self._layer(model, block, H, W) for block in model.blocks]]

    def strides(self, model: Any, stages: int) -> tuple[int, ...]:
        """A patch."""
        return (patch_side(model.patch_embed),) * stages

    def grain(self, model: Any) -> tuple[int, int]:
        """A patch."""
        height, width = model.patch_embed.patch_size
        return height, width

    def _layer(self, model: Any, block: Any, H: int, W: int) -> Layer:
        attn = getattr(block, "attn", None)
        if type(attn) is not Attention:
            raise ValueError(
                f"a block of this ViT ({type(block).__name__}) attends in a way of its own; expected timm's "
                "Attention"
            )
        return GlobalLayer(attn, block, H, W, model.num_prefix_tokens)
