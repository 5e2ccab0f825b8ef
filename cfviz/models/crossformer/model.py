"""CrossFormer and CrossFormer++: vision transformers with long and short distance attention.

CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention, https://arxiv.org/abs/2108.00154
CrossFormer++: A Versatile Vision Transformer Hinging on Cross-scale Attention,
https://arxiv.org/abs/2303.06908

Written from scratch after the papers. Parameter names match the authors' checkpoints for easy loading.

Read from the top: position bias, attention, block, cross-scale embedding, stage, model. Symbols: B batch
size, H, W sides of the token map, C channels, Gh, Gw sides of a group (G if equal), I interval, nG number of
groups, N = Gh*Gw tokens in a group, nH number of heads, d channels per head. Maps are channels last,
(B, H, W, C). Groups are laid out at call time to fit the input; `forward` writes nothing to a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from cfviz.geometry import (
    CEL_KERNELS,
    CEL_STRIDES,
    LDA,
    MASKED,
    Grouping,
    Interval,
    Kind,
    Lda,
    cel_channels,
    lsda,
    map_sizes,
    offsets,
    relative_index,
)
from cfviz.hooks import HookPoint, Setting
from cfviz.provenance import Provenance

from .attend import attend, attend_by_head, spread, suits_heads, windows
from .bias_cache import BiasCache
from .drop_path import DropPath
from .initial import truncated_normal_
from .linear import Mlp, linear, product
from .origin import WithProvenance, with_new_head
from .shortcuts import bare, constant, recorded, transformed

PositionBias = Literal["dpb", "rpb", "none"]
FEW_TOKENS = 64
POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # (B, H, W, C) -> (B, C)
    "avg": lambda x: x.mean((1, 2)),
    "max": lambda x: x.amax((1, 2)),
    "avgmax": lambda x: (x.mean((1, 2)) + x.amax((1, 2))) / 2,
}


class PosBias(nn.Module):
    """A position bias: for an offset (dh, dw), query minus key, one number per head.

    Modules are called with offsets (n, 2), and with (Gh, Gw) if these are all the offsets of such a group.
    """

    def bias(self, Gh: int, Gw: int | None = None) -> torch.Tensor:
        """Return the bias of every pair in a group of Gh x Gw (Gh x Gh by default) tokens: (nH, N, N)."""
        like = next(self.parameters(), torch.empty(0, device="cpu"))
        sides = (Gh, Gh if Gw is None else Gw)
        offset, index = _pairs(*sides, like.device)
        table = self(offset.to(like.dtype), sides).T.contiguous()  # nH, n: read faster than (n, nH)
        return table.index_select(1, index.flatten()).unflatten(1, index.shape)

    def by_offset(self, Gh: int, Gw: int) -> torch.Tensor:
        """Return the bias of every offset in a group of Gh x Gw tokens: (nH, 2Gh-1, 2Gw-1)."""
        like = next(self.parameters(), torch.empty(0, device="cpu"))
        table = self(torch.from_numpy(offsets(Gh, Gw)).to(like), (Gh, Gw)).T.contiguous()
        return table.unflatten(1, (2 * Gh - 1, 2 * Gw - 1))


class DynamicPosBias(PosBias):
    """Dynamic position bias: an MLP from the offset (dh, dw) to one number per head (section 3.3).

    The offsets are raw, not normalised, so the MLP extrapolates in groups larger than those of training.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        hidden = dim // 16
        self.pos_proj = nn.Linear(2, hidden)
        self.pos1 = self._layer(hidden, hidden)
        self.pos2 = self._layer(hidden, hidden)
        self.pos3 = self._layer(hidden, num_heads)

    @staticmethod
    def _layer(dim: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, out))

    def forward(self, offset: torch.Tensor, sides: tuple[int, int] | None = None) -> torch.Tensor:
        """Args: offset: (..., 2), query minus key, in tokens; sides: ignored. Returns: (..., nH)."""
        return self.pos3(self.pos2(self.pos1(self.pos_proj(offset))))


class RelativePosBias(PosBias):
    """Relative position bias: a learned table with one number per head and offset, as in Swin.

    If groups are of another size than in training, the table is resized bicubically, each side for itself.
    """

    def __init__(self, G: int, num_heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(truncated_normal_(torch.zeros((2 * G - 1) ** 2, num_heads), std=0.02))

    def forward(self, offset: torch.Tensor, sides: tuple[int, int] | None = None) -> torch.Tensor:
        """Args: offset: all n offsets of a group, (n, 2); sides: (Gh, Gw), if not equal. Returns: (n, nH)."""
        # A copy, because observers of outputs (PyTorch's FLOP counter) fail on a module that returns its own
        # parameter.
        return _looked_up(self.table, offset, sides).clone()


def _looked_up(table: torch.Tensor, offset: torch.Tensor, sides: tuple[int, int] | None) -> torch.Tensor:
    G = (round(len(offset) ** 0.5) + 1) // 2
    return stretched(table, *(sides or (G, G)))


def stretched(table: torch.Tensor, Gh: int, Gw: int | None = None) -> torch.Tensor:
    """Resize a table of position biases bicubically, in float32: ((2T-1)^2, nH) -> ((2Gh-1)*(2Gw-1), nH).

    If Gw is left out, groups are Gh x Gh.
    """
    Gw = Gh if Gw is None else Gw
    if Gh == Gw and (2 * Gh - 1) ** 2 == len(table):
        return table
    from timm.layers import resize_rel_pos_bias_table_simple  # deferred: timm takes a second to import

    shape = ((2 * Gh - 1) * (2 * Gw - 1), table.shape[1])
    return resize_rel_pos_bias_table_simple(table.float(), (Gh, Gw), shape).to(table.dtype)


class NoPosBias(PosBias):
    """No position bias: zeros, so that figures and edits always work on the same shape."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, offset: torch.Tensor, sides: tuple[int, int] | None = None) -> torch.Tensor:
        """Args: offset: (n, 2); sides: ignored. Returns: zeros (n, nH)."""
        return torch.zeros_like(offset[:, :1]).expand(-1, self.num_heads)


AnyPosBias = DynamicPosBias | RelativePosBias | NoPosBias


@constant
def _pairs(Gh: int, Gw: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the offsets of a group, (n, 2), n = (2Gh-1)*(2Gw-1), and the number of each pair's, (N, N)."""
    return torch.from_numpy(offsets(Gh, Gw)).to(device), torch.from_numpy(relative_index(Gh, Gw)).to(device)


@constant
def _masks(
    kind: Kind, H: int, W: int, Gh: int, interval: int, Gw: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the distinct masks of padded keys, (P, 1, 1, N), 0 or -1e6; and each group's index, (nG,)."""
    valid, which = Grouping(kind, H, W, Gh, interval, Gw).patterns
    mask = np.where(valid, 0, MASKED).astype(np.float32)[:, None, None, :]
    return torch.from_numpy(mask).to(device), torch.from_numpy(which).to(device)


def _padding(groups: Grouping, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    g = groups
    return _masks(g.kind, g.H, g.W, g.Gh, g.I, g.Gw, device)  # plain arguments, for the compiler


def _masked(bias: torch.Tensor, groups: Grouping, change: Setting | None) -> torch.Tensor:
    """Add each distinct padding mask of a map to a bias: (nH, N, N) -> (P, nH, N, N)."""
    if not groups.padded:
        return bias[None]
    mask = _padding(groups, bias.device)[0].to(bias.dtype)
    return bias[None] + (mask if change is None else change(mask))


def _which(groups: Grouping, device: torch.device) -> torch.Tensor | None:
    """Return the mask index of each group of a map, (nG,); None if all groups share one mask."""
    return _padding(groups, device)[1] if groups.padded else None


class Attention(nn.Module):
    """Multi-head self-attention inside groups, with a position bias."""

    def __init__(
        self, dim: int, num_heads: int, G: int, position_bias: PositionBias = "dpb", drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.drop = drop
        self.pos = _position_bias(position_bias, dim, num_heads, G)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.cache = BiasCache()
        self.q, self.k, self.v = HookPoint(), HookPoint(), HookPoint()
        self.bias, self.mask, self.probs = HookPoint(), Setting(), HookPoint()
        self.heads, self.out = HookPoint(), HookPoint()

    def train(self, mode: bool = True) -> Attention:
        self.cache.clear()
        return super().train(mode)

    def forward(self, x: torch.Tensor, groups: Grouping) -> torch.Tensor:
        """Args: x: (B*nG, N, C), groups batch-major. Returns: (B*nG, N, C)."""
        BG, N, C = x.shape
        qkv = linear(self.qkv, x).view(BG, N, 3, self.num_heads, C // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # B*nG, nH, N, d
        q, k, v = self.q(q), self.k(k), self.v(v)
        drop = self.drop if self.training else 0.0
        watched, which = self.probs.watched, _which(groups, q.device)  # nG or nothing
        if not watched and not self._observed(q) and suits_heads(q):
            bias, mask = self._windows(groups)
            x = attend_by_head(q, k, v, bias, which, self.scale, mask, backwards=True)
            return self._joined(x, groups)
        bias = self._logit_bias(groups, q)  # P, nH, N, N
        if watched:
            logits = (q * self.scale) @ k.transpose(-2, -1) + spread(bias, which, BG)
            probs = self.probs(torch.softmax(logits, -1))  # B*nG, nH, N, N
        if watched and self.probs.decides:
            x = F.dropout(probs, drop) @ v
        else:
            x = attend(q, k, v, bias, which, self.scale, drop)  # B*nG, nH, N, d
        return self._joined(x, groups)

    def _joined(self, x: torch.Tensor, groups: Grouping) -> torch.Tensor:
        """Join the heads and project: (B*nG, nH, N, d) -> (B*nG, N, C)."""
        x = self.heads(x, groups).transpose(1, 2).flatten(2)
        return self.out(linear(self.proj, x))

    def _observed(self, like: torch.Tensor) -> bool:
        """Whether a bias must be made from the position bias in ordinary calls, all of it at once."""
        return (
            self.bias.watched
            or self.mask.overridden
            or self.training
            or torch.is_grad_enabled()
            or recorded(like)
        )

    def _windows(self, groups: Grouping) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the position bias and the distinct padding masks, keys from last to first.

        Returns:
            (1, nH, Gh, Gw, N), windows of a table; (P, N), None if no group is padded.
        """
        Gh, Gw = groups.Gh, groups.Gw
        table = self.cache.get(self.pos, ("offsets", Gh, Gw), lambda: self.pos.by_offset(Gh, Gw))
        mask = _padding(groups, table.device)[0].flatten(1).flip(-1) if groups.padded else None
        return windows(table)[None], mask

    def _logit_bias(self, groups: Grouping, like: torch.Tensor) -> torch.Tensor:
        """Return the position bias plus each distinct padding mask, (P, nH, N, N)."""

        def make() -> torch.Tensor:
            # attention would copy a non-contiguous bias once per group
            bias = self.bias(self.pos.bias(groups.Gh, groups.Gw), groups).to(like).contiguous()  # nH, N, N
            return _masked(bias, groups, self.mask if self.mask.overridden else None)

        if self._observed(like):
            return make()
        return self.cache.get(self.pos, (groups, like.dtype, like.device), make)


def _position_bias(kind: PositionBias, dim: int, num_heads: int, G: int) -> AnyPosBias:
    if kind == "dpb":
        return DynamicPosBias(dim, num_heads)
    if kind == "rpb":
        return RelativePosBias(G, num_heads)
    if kind == "none":
        return NoPosBias(num_heads)
    raise ValueError(f"position_bias is {kind!r}; expected 'dpb', 'rpb' or 'none'")


def group(x: torch.Tensor, groups: Grouping) -> torch.Tensor:
    """Pad a map and cut it into groups: (B, H, W, C) -> (B*nG, N, C)."""
    if groups.padded:
        x = F.pad(x, (0, 0, 0, groups.Wp - groups.W, 0, groups.Hp - groups.H))
    Gh, Gw, I = groups.Gh, groups.Gw, groups.I  # noqa: E741
    if groups.kind == "sda":
        return rearrange(x, "b (h g1) (w g2) c -> (b h w) (g1 g2) c", g1=Gh, g2=Gw)
    return rearrange(x, "b (h g1 i1) (w g2 i2) c -> (b h w i1 i2) (g1 g2) c", g1=Gh, g2=Gw, i1=I, i2=I)


def ungroup(x: torch.Tensor, groups: Grouping) -> torch.Tensor:
    """Put groups back into their map and crop the padding: (B*nG, N, C) -> (B, H, W, C)."""
    (h, w), Gh, I = groups.regions, groups.Gh, groups.I  # noqa: E741
    if groups.kind == "sda":
        x = rearrange(x, "(b h w) (g1 g2) c -> b (h g1) (w g2) c", h=h, w=w, g1=Gh)
    else:
        x = rearrange(x, "(b h w i1 i2) (g1 g2) c -> b (h g1 i1) (w g2 i2) c", h=h, w=w, i1=I, i2=I, g1=Gh)
    return x[:, : groups.H, : groups.W] if groups.padded else x


def _lsda(H: int, W: int, index: int, G: int, I: Interval, lda: Lda) -> Grouping:  # noqa: E741
    return lsda(int(H), int(W), index, G, I, lda)  # in a trace, sizes are tensors


class CrossFormerBlock(nn.Module):
    """Attention in groups, an MLP and, in some blocks of CrossFormer++, an amplitude cooling layer.

    Within a stage, even blocks use short distance attention and odd blocks long distance attention (section
    3.2).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int,
        G: int,
        I: Interval,  # noqa: E741
        position_bias: PositionBias = "dpb",
        mlp_ratio: float = 4.0,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        cooling: bool = False,
    ) -> None:
        super().__init__()
        self.index, self.G, self.I = index, G, I
        self.lda: Lda = "regions"
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads, G, position_bias, drop=attn_drop)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=proj_drop)
        self.drop_path1 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.drop_path2 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.cooling = cooling
        if cooling:
            self.ex_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            self.ex_ln = nn.LayerNorm(dim)
        self.attn_branch, self.mlp_branch, self.out = HookPoint(), HookPoint(), HookPoint()
        self.partition = Setting()

    def groups(self, H: int, W: int) -> Grouping:
        """Return this block's partition of a map of H x W tokens."""
        return _lsda(*self.partition((H, W, self.index, self.G, self.I, self.lda)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, H, W, C). Returns: (B, H, W, C)."""
        _, H, W, _ = x.shape
        groups = self.groups(H, W)
        y = ungroup(self.attn(group(self.norm1(x), groups), groups), groups)  # B, H, W, C
        x = x + self.drop_path1(self.attn_branch(y))
        x = x + self.drop_path2(self.mlp_branch(self.mlp(self.norm2(x))))
        if self.cooling:
            x = self.ex_ln(self.ex_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.out(x)


def _kernels(x: torch.Tensor, convs: nn.ModuleList, names: nn.ModuleList) -> torch.Tensor:
    """Run several kernels with one stride and concatenate their outputs: (B, C, H, W) -> (B, H', W', C')."""
    maps = [name(_conv(x, cast(nn.Conv2d, conv))) for conv, name in zip(convs, names, strict=True)]
    return torch.cat([m.permute(0, 2, 3, 1) for m in maps], -1)


def _conv(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """Convolve, with a matrix product if there are few tokens on a CPU: (B, C, H, W) -> (B, C_i, H', W').

    A convolution first rearranges its weights in memory, which takes longer than the arithmetic if there are
    few tokens and many weights; a matrix product reads the weights as they are.
    """
    if recorded(x):
        return conv(x)
    B, C, H, W = x.shape
    s = conv.stride[0]
    h, w = H // s, W // s
    few = B * h * w <= FEW_TOKENS <= C
    if not few or x.device.type != "cpu" or type(conv) is not nn.Conv2d or not bare(conv):
        return conv(x)
    columns = F.unfold(
        x, conv.kernel_size, padding=cast(tuple[int, ...], conv.padding), stride=s
    )  # B, C*k*k, h*w
    y = product(conv, columns.transpose(1, 2))  # B, h*w, C_i
    return y.transpose(1, 2).unflatten(2, (h, w))


def _cel(stage: int, in_chans: int, dim: int) -> nn.ModuleList:
    kernels, stride = CEL_KERNELS[stage], CEL_STRIDES[stage]
    return nn.ModuleList(
        nn.Conv2d(in_chans, c, k, stride, padding=(k - stride) // 2)
        for k, c in zip(kernels, cel_channels(dim, kernels), strict=True)
    )


class PatchEmbed(nn.Module):
    """The first cross-scale embedding layer: four kernels with stride 4 on the image (section 3.1)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.projs = _cel(0, in_chans, dim)
        self.norm = nn.LayerNorm(dim)
        self.kernels = nn.ModuleList(HookPoint() for _ in self.projs)
        self.concat, self.out = HookPoint(), HookPoint()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, 3, H, W) pixels. Returns: (B, H/4, W/4, C)."""
        if not transformed():  # `vmap` does not support memory formats
            x = x.contiguous(memory_format=torch.channels_last)
        return self.out(self.norm(self.concat(_kernels(x, self.projs, self.kernels))))


class PatchMerging(nn.Module):
    """A later cross-scale embedding layer: two kernels with stride 2 on the previous stage's tokens."""

    def __init__(self, stage: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reductions = _cel(stage, dim, 2 * dim)
        self.kernels = nn.ModuleList(HookPoint() for _ in self.reductions)
        self.concat = HookPoint()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, H, W, C). Returns: (B, H/2, W/2, 2C)."""
        x = self.norm(x).permute(0, 3, 1, 2)  # B, C, H, W, channels last in memory
        return self.concat(_kernels(x, self.reductions, self.kernels))


class Stage(nn.Module):
    """Blocks at one resolution, and the embedding layer that leads to the next."""

    def __init__(self, blocks: Sequence[CrossFormerBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample
        self.grad_checkpointing = False

    @property
    def block_list(self) -> list[CrossFormerBlock]:
        """The blocks, typed as `CrossFormerBlock`."""
        return cast(list[CrossFormerBlock], list(self.blocks))

    def forward_blocks(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, H, W, C). Returns: (B, H, W, C), the output of the last block."""
        if self.grad_checkpointing and torch.is_grad_enabled():
            from timm.models import checkpoint_seq  # deferred: timm takes a second to import

            return checkpoint_seq(self.blocks, x)
        return self.blocks(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, H, W, C). Returns: (B, H/2, W/2, 2C), or the same shape in the last stage."""
        x = self.forward_blocks(x)
        return x if self.downsample is None else self.downsample(x)


def _per_stage(name: str, value: int | Sequence[int], stages: int) -> tuple[int, ...]:
    values = (value,) * stages if isinstance(value, int) else tuple(value)
    if len(values) != stages or not all(isinstance(v, int) and v > 0 for v in values):
        raise ValueError(f"{name} is {value!r}; expected a whole number from 1, or {stages} of them")
    return values


class CrossFormer(WithProvenance):
    """CrossFormer, or CrossFormer++ with `cooling`.

    Args:
        num_classes: Classes of the head; 0 for none.
        in_chans: Channels of the image.
        img_size: Size the model is meant for, a side in pixels or (height, width); only recorded, any
            multiple of 32 works.
        embed_dim: Channels of the first stage; each stage doubles them.
        depths: Blocks per stage.
        num_heads: Heads per stage.
        group_size: Side G of a group in tokens, one number or one per stage.
        interval: Interval I of long distance attention in tokens, one number or one per stage, or "adaptive"
            for ceil(side / G) of each map.
        lda: Form of long distance attention: "regions" (groups of G x G, as in the paper) or "whole" (I x I
            groups that each reach over the whole map, as in the authors' detectors and segmenters).
        position_bias: "dpb" (dynamic, the paper's), "rpb" (learned table) or "none".
        cooling: Add amplitude cooling layers (CrossFormer++).
        mlp_ratio: Hidden channels of the MLP divided by its channels.
        global_pool: Pooling over tokens: "avg" (mean), "max", "avgmax" (the mean of both) or "" (none).
        drop_rate: Dropout before the head.
        proj_drop_rate: Dropout in the MLPs.
        attn_drop_rate: Dropout of attention probabilities.
        drop_path_rate: Stochastic depth rate of the last block; it rises linearly from 0 in the first.
        device: Device of the parameters.
        dtype: Number format of the parameters.

    Raises:
        ValueError: If an argument has the wrong number of stages or an unknown name, or a side does not fit.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        group_size: int | Sequence[int] = 7,
        interval: int | Sequence[int] | Literal["adaptive"] = (8, 4, 2, 1),
        lda: Lda = "regions",
        position_bias: PositionBias = "dpb",
        cooling: bool = False,
        mlp_ratio: float = 4.0,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.embed_dim, self.depths, self.num_heads = embed_dim, tuple(depths), tuple(num_heads)
        self.position_bias, self.cooling = position_bias, cooling
        self.num_features = self.head_hidden_size = embed_dim * 2 ** (len(self.depths) - 1)
        self.output_fmt = "NHWC"
        self.patch_embed = PatchEmbed(in_chans, embed_dim)
        G = _per_stage("group_size", group_size, len(self.depths))
        rates = iter(np.linspace(0, drop_path_rate, sum(self.depths), dtype=np.float32).tolist())
        stages = []
        for s, depth in enumerate(self.depths):
            dim, last = embed_dim * 2**s, s == len(self.depths) - 1
            blocks = [
                CrossFormerBlock(
                    dim,
                    self.num_heads[s],
                    index=b,
                    G=G[s],
                    I=1,
                    position_bias=position_bias,
                    mlp_ratio=mlp_ratio,
                    proj_drop=proj_drop_rate,
                    attn_drop=attn_drop_rate,
                    drop_path=next(rates),
                    cooling=cooling and (b + 1) % 3 == 0 and b < depth - 1,
                )
                for b in range(depth)
            ]
            stages.append(Stage(blocks, None if last else PatchMerging(s + 1, dim)))
        self.layers = nn.Sequential(*stages)
        self.feature_info = [
            dict(num_chs=embed_dim * 2**s, reduction=4 * 2**s, module=f"layers.{s}.blocks.{depth - 1}")
            for s, depth in enumerate(self.depths)
        ]
        self.norm: nn.Module = nn.LayerNorm(self.num_features)
        self.features, self.pooled, self.logits = HookPoint(), HookPoint(), HookPoint()
        self.head_drop = nn.Dropout(drop_rate)
        self.set_grouping(group_size, interval, lda)
        self.set_input_size(img_size)
        self.trained_group = self.group_size  # largest G in training; corrected when weights are loaded
        self.trained_on_maps = False  # whether LDA was trained over whole maps, of unknown sizes
        self._new_head(num_classes, global_pool)
        self.apply(_init_weights)
        self.provenance = Provenance()
        if (
            device is not None or dtype is not None
        ):  # fake tensors cannot be moved, not even to where they are
            self.to(device=device, dtype=dtype)
            self.provenance = Provenance()  # again: on "meta" there are no numbers

    @property
    def stages(self) -> list[Stage]:
        """The stages, typed as `Stage`."""
        return cast(list[Stage], list(self.layers))

    def set_grouping(
        self,
        group_size: int | Sequence[int] | None = None,
        interval: int | Sequence[int] | Literal["adaptive"] | None = None,
        lda: Lda | None = None,
    ) -> None:
        """Change the groups, to train at growing sizes or to experiment.

        Args:
            group_size: G, one number or one per stage; None keeps it.
            interval: I, one number, one per stage, or "adaptive"; None keeps it.
            lda: Form of long distance attention, "regions" or "whole"; None keeps it.

        Raises:
            ValueError: If there are not as many numbers as stages, or a name is unknown.
        """
        stages = len(self.depths)
        if group_size is not None:
            self.group_size = _per_stage("group_size", group_size, stages)
        if isinstance(interval, str) and interval != "adaptive":
            raise ValueError(f"interval is {interval!r}; expected numbers or 'adaptive'")
        if interval is not None:
            self.interval: tuple[int, ...] | Literal["adaptive"] = (
                "adaptive" if isinstance(interval, str) else _per_stage("interval", interval, stages)
            )
        if lda is not None:
            if lda not in LDA:
                raise ValueError(f"lda is {lda!r}; expected {' or '.join(map(repr, LDA))}")
            self.lda: Lda = lda
        for s, stage in enumerate(self.stages):
            for block in stage.block_list:
                block.lda = self.lda
                block.G = self.group_size[s]
                block.I = "adaptive" if self.interval == "adaptive" else self.interval[s]

    @property
    def group_settings(self) -> dict[str, Any]:
        """What says how maps are cut into groups, as plain values: `set_grouping` takes them."""
        own = self.interval
        interval = own if isinstance(own, str) else list(own)
        return {"group_size": list(self.group_size), "interval": interval, "lda": self.lda}

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, window_size: int | Sequence[int] | None = None
    ) -> None:
        """Record the size the model is meant for and set G; `set_grouping` under timm's names.

        Args:
            img_size: A side in pixels, or (height, width); None keeps it.
            window_size: G, one number or one per stage; None keeps it.

        Raises:
            ValueError: If a side is not a positive multiple of 32.
        """
        if img_size is not None:
            H, W = (img_size, img_size) if isinstance(img_size, int) else img_size
            map_sizes(H, W)  # raises if the size does not fit
            self.img_size = img_size
        self.set_grouping(window_size)

    def groupings(self, height: int, width: int) -> list[list[Grouping]]:
        """Return each block's partition of its map, by stage, for an input of height x width pixels."""
        sizes = map_sizes(height, width)
        return [[b.groups(*sizes[s]) for b in stage.block_list] for s, stage in enumerate(self.stages)]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, 3, H, W), H and W multiples of 32. Returns: (B, H/32, W/32, C), normalised."""
        x = self.layers(self.patch_embed(_checked(x)))
        return self.features(self.norm(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Args: x: (B, H/32, W/32, C). Returns: (B, num_classes), or (B, C) before the last layer."""
        if self.global_pool:
            x = self.pooled(POOLS[self.global_pool](x))  # B, C
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, 3, H, W), normalised pixels. Returns: (B, num_classes) logits.

        Raises:
            ValueError: If H or W is not a multiple of 32.
        """
        return self.logits(self.forward_head(self.forward_features(x)))

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the features of the stages: the output of each last block, before merging.

        Args:
            x: (B, 3, H, W).
            indices: A number for the last n stages, a list of stages, or None for all.
            norm: Apply the final norm to the last stage's features.
            stop_early: Stop after the last requested stage.
            output_fmt: "NCHW" or "NHWC".
            intermediates_only: Return the list alone.

        Returns:
            The list of maps, or (final features (B, H/32, W/32, C), list).
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt is {output_fmt!r}; expected 'NCHW' or 'NHWC'")
        take, last = _taken(len(self.layers), indices)
        stages = self.stages[: last + 1] if stop_early or intermediates_only else self.stages
        maps = []
        x = self.patch_embed(_checked(x))
        for s, stage in enumerate(stages):
            x = stage.forward_blocks(x)
            if s in take:
                y = self.norm(x) if norm and s == len(self.depths) - 1 else x
                maps.append(y.permute(0, 3, 1, 2).contiguous() if output_fmt == "NCHW" else y)
            if stage.downsample is not None and s < len(stages) - 1:
                x = stage.downsample(x)
        return maps if intermediates_only else (self.features(self.norm(x)), maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the layers that the requested stages do not need; returns the indices of these stages."""
        take, last = _taken(len(self.layers), indices)
        told = self.provenance
        del self.layers[last + 1 :]
        self.stages[-1].downsample = None
        if prune_norm or len(self.layers) < len(self.depths):  # the norm belongs to the last stage
            self.norm = nn.Identity().train(self.training)
        if prune_head:
            self.reset_classifier(0, "")
        self.provenance = with_new_head(told, 0) if prune_head else told
        return take

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Install a new, untrained last layer in the model's number format and mode; 0 classes for none."""
        told = self.provenance
        self._new_head(num_classes, global_pool)
        self.provenance = with_new_head(told, num_classes)

    def _new_head(self, num_classes: int, global_pool: str | None) -> None:
        """Install a last layer, and leave the record of the weights' origin to the caller."""
        if global_pool is not None:
            if global_pool not in ("", *POOLS):
                raise ValueError(f"global_pool is {global_pool!r}; expected 'avg', 'max', 'avgmax' or ''")
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Linear(self.num_features, num_classes)
            _init_weights(self.head)
            like = next(self.patch_embed.parameters())
            if (like.device, like.dtype) != (self.head.weight.device, self.head.weight.dtype):
                self.head.to(like.device, like.dtype)
        self.head.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save memory in training at the cost of computing time."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Return the parameters without weight decay: the tables of a relative position bias."""
        return {name for name, _ in self.named_parameters() if name.endswith("attn.pos.table")}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's grouping of parameters by depth, for layer-wise learning rates."""
        fine = [
            (r"^layers\.(\d+)\.downsample", (99999,)),
            (r"^layers\.(\d+)\.blocks\.(\d+)", None),
            (r"^norm", (99999,)),
        ]
        return dict(stem=r"^patch_embed", blocks=r"^layers\.(\d+)" if coarse else fine)


def _taken(layers: int, indices: int | list[int] | None) -> tuple[list[int], int]:
    """The stages that timm's `indices` ask for, and the last of them."""
    from timm.models._features import feature_take_indices  # deferred: timm takes a second to import

    return feature_take_indices(layers, indices)


def _checked(x: torch.Tensor) -> torch.Tensor:
    """Return an image if the model accepts its size; in a trace, fix the size to the traced one."""
    H, W = int(x.shape[-2]), int(x.shape[-1])
    map_sizes(H, W)  # raises if the size does not fit
    return x.expand(-1, -1, H, W) if torch.jit.is_tracing() else x


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        truncated_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Functions that FX records as one step, because they branch on sizes or arguments.
for _step in ("_checked", "_looked_up", "_lsda", "_masked", "_pairs", "_which", "attend", "group", "spread",
              "ungroup"):  # fmt: skip
    torch.fx.wrap(_step)
