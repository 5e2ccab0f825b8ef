"""Swin and Swin V2: windows, every other layer shifted and masked, with a bias for every offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import Any

import numpy as np
import torch
from timm.models import swin_transformer, swin_transformer_v2
from torch import nn
from torch.nn import functional as F

from cfviz.geometry.schemes import Scheme, SizeError, swin_windows

from .layer import Family, Layer, Off, Terms, heads_of, patch_side, refuse_size

SHARPEST = log(1 / 0.01)  # Swin V2's largest logarithm of a temperature


@dataclass(frozen=True)
class SwinLayer(Layer):
    """The attention of one block of Swin.

    Attributes:
        window: Height and width of a window, in tokens.
        shift: Rows and columns that the windows are shifted by.
    """

    window: tuple[int, int]
    shift: tuple[int, int]

    @cached_property
    def scheme(self) -> Scheme:
        """Windows of neighbours, perhaps shifted."""
        return swin_windows(self.H, self.W, self.window, self.shift)

    def terms(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Terms:
        """Take the attention apart: the module gets windows, (B*nG, N, C), and perhaps a mask."""
        x, mask = args[0], args[1] if len(args) > 1 else kwargs.get("mask")
        x = x.unflatten(0, (-1, len(self.scheme.queries)))  # B, nG, N, C
        q, k, v = self._vectors(x)
        return Terms(self._content(q, k), v, self._bias(), mask)

    def output(self, mixed: torch.Tensor, args: Sequence[Any]) -> torch.Tensor:
        """Project each window: (B*nG, N, C)."""
        return self.module.proj(mixed.flatten(0, 1))

    @property
    def has_bias(self) -> bool:
        """Every layer has one."""
        return True

    @property
    def shifted(self) -> bool:
        """Every other layer, unless one window holds its whole map."""
        return any(self.shift)

    def without(self, args: Sequence[Any], kwargs: Mapping[str, Any], off: Off) -> torch.Tensor:
        """What the module would return without some of its parts.

        Without the shift, the tokens of all windows are put back on the map, cut into windows that are not
        shifted, and what comes of it is dealt out to the windows that the block will put back itself.
        """
        if not off.shift:
            return super().without(args, kwargs, off)
        plain, x = replace(self, shift=(0, 0)), args[0]
        given = self._on_map(x.unflatten(0, (-1, len(self.scheme.queries))))
        windows = plain._cut(given).flatten(0, 1)  # B*nG, N, C
        out = plain.without((windows,), {}, replace(off, shift=False))
        found = plain._on_map(out.unflatten(0, (-1, len(plain.scheme.queries))))
        return self._cut(found).flatten(0, 1)

    def _on_map(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows (B, nG, N, C) as the tokens of the map, padding left out: (B, H*W, C)."""
        where = torch.as_tensor(self.scheme.queries.reshape(-1), device=windows.device)
        tokens = windows.new_empty(len(windows), self.H * self.W, windows.shape[-1])
        tokens[:, where[where >= 0]] = windows.flatten(1, 2)[:, where >= 0]
        return tokens

    def _cut(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens of the map (B, H*W, C) in windows, zeros for padding: (B, nG, N, C)."""
        where = torch.as_tensor(self.scheme.queries, device=tokens.device)
        return F.pad(tokens, (0, 0, 0, 1))[:, where]  # -1 is the row of zeros

    def _vectors(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return heads_of(self.module.qkv(x), self.module.num_heads, 3)

    def _content(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (q * self.module.scale) @ k.transpose(-2, -1)

    def _bias(self) -> torch.Tensor:
        attn, N = self.module, self.window[0] * self.window[1]
        rows = attn.relative_position_bias_table[attn.relative_position_index.view(-1)]
        return rows.view(N, N, -1).permute(2, 0, 1)  # nH, N, N


@dataclass(frozen=True)
class SwinV2Layer(SwinLayer):
    """The attention of one block of Swin V2: cosines with a temperature, and a bias from a small MLP."""

    def _vectors(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        attn = self.module
        added = None if attn.q_bias is None else torch.cat((attn.q_bias, attn.k_bias, attn.v_bias))
        return heads_of(F.linear(x, attn.qkv.weight, added), attn.num_heads, 3)

    def _content(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        sharp = self.module.logit_scale.clamp(max=SHARPEST).exp()
        return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * sharp

    def _bias(self) -> torch.Tensor:
        attn, N = self.module, self.window[0] * self.window[1]
        table = attn.cpb_mlp(attn.relative_coords_table).view(-1, attn.num_heads)
        rows = table[attn.relative_position_index.view(-1)].view(N, N, -1).permute(2, 0, 1)
        return 16 * rows.sigmoid()  # nH, N, N


class Swin(Family):
    """Swin, in timm's class `SwinTransformer`."""

    name = "Swin"
    kind: type[nn.Module] = swin_transformer.SwinTransformer
    attention: type[nn.Module] = swin_transformer.WindowAttention
    layer: type[SwinLayer] = SwinLayer

    def has(self, model: nn.Module) -> bool:
        """Whether a model is a Swin."""
        return isinstance(model, self.kind)

    def layers(self, model: Any, height: int, width: int) -> list[list[Layer]]:
        """One layer per block. A model with masks of a fixed size takes inputs of one size only."""
        embed = model.patch_embed
        if getattr(embed, "strict_img_size", True):
            refuse_size(model, height, width, embed.img_size)
        elif height % embed.patch_size[0] or width % embed.patch_size[1]:
            ph, pw = embed.patch_size
            raise SizeError(f"its patches are {ph} x {pw} pixels, and must divide the input evenly")
        H, W = height // embed.patch_size[0], width // embed.patch_size[1]
        found: list[list[Layer]] = []
        for s, stage in enumerate(model.layers):
            if s:  # merging pads an odd side
                H, W = -(-H // 2), -(-W // 2)
            found.append([self._layer(block, H, W) for block in stage.blocks])
        return found

    def strides(self, model: Any, stages: int) -> tuple[int, ...]:
        """A patch, then twice as much in each stage."""
        return tuple(patch_side(model.patch_embed) * 2**s for s in range(stages))

    def grain(self, model: Any) -> tuple[int, int]:
        """A patch."""
        height, width = model.patch_embed.patch_size
        return height, width

    def merging(self, model: Any) -> list[np.ndarray]:
        """By place among 2 x 2 tokens; the norm's scale counts where it comes before the weights."""
        found = []
        for stage in model.layers[1:]:
            joined = stage.downsample
            weight = joined.reduction.weight.detach().float()  # C', 4*C
            if joined.norm.weight.numel() == weight.shape[1]:  # Swin; Swin V2 normalises afterwards
                weight = weight * joined.norm.weight.detach().float()
            by_place = (
                weight.abs().sum(0).view(2, 2, -1).sum(-1)
            )  # column, row: the order in which timm joins
            found.append(by_place.T.cpu().numpy())
        return found

    def _layer(self, block: Any, H: int, W: int) -> Layer:
        if type(block.attn) is not self.attention:
            raise ValueError(
                f"a block of this model attends with {type(block.attn).__name__}; expected timm's "
                f"{self.attention.__name__}"
            )
        return self.layer(block.attn, block, H, W, tuple(block.window_size), tuple(block.shift_size))


class SwinV2(Swin):
    """Swin V2, in timm's class `SwinTransformerV2`."""

    name = "Swin V2"
    kind = swin_transformer_v2.SwinTransformerV2
    attention = swin_transformer_v2.WindowAttention
    layer = SwinV2Layer
