"""Measures of attention and embeddings, taken during the forward: one number per photo each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from cfviz import point_names
from cfviz.framing import Size, as_pair
from cfviz.geometry import CEL_STRIDES, Grouping
from cfviz.hooks import edit
from cfviz.models.crossformer import CrossFormer

TINY = 1e-30


def columns(model: CrossFormer) -> list[str]:
    """Names of the measures: `distance.s.b.h`, `entropy.s.b.h` and `share.s.k`, counted from 0."""
    heads = [
        (s, b, h) for s, n in enumerate(model.depths) for b in range(n) for h in range(model.num_heads[s])
    ]
    named = [f"{what}.{s}.{b}.{h}" for what in ("distance", "entropy") for s, b, h in heads]
    kernels = [len(_channels(model, s)) for s in range(len(model.depths))]
    return named + [f"share.{s}.{k}" for s, n in enumerate(kernels) for k in range(n)]


def _channels(model: CrossFormer, stage: int) -> list[int]:
    convs = model.patch_embed.projs if stage == 0 else model.stages[stage - 1].downsample.reductions  # type: ignore[union-attr]
    return [int(conv.out_channels) for conv in convs]  # type: ignore[arg-type]


def summaries(model: CrossFormer) -> list[str]:
    """Names of the summaries taken under every change: `distance`, `entropy` and `share.s.k`, from 0."""
    return ["distance", "entropy", *(name for name in columns(model) if name.startswith("share."))]


def summary(found: Mapping[str, np.ndarray], model: CrossFormer) -> dict[str, np.ndarray]:
    """The summaries, from name to (B,): means over all heads with every block weighted equally, and shares.

    Args:
        found: The values from `measuring`, for every column.
        model: The model that was measured.
    """
    out: dict[str, np.ndarray] = {}
    for what in ("distance", "entropy"):
        blocks = [
            np.mean([found[f"{what}.{s}.{b}.{h}"] for h in range(model.num_heads[s])], 0)
            for s, n in enumerate(model.depths)
            for b in range(n)
        ]
        out[what] = np.mean(blocks, 0)
    return out | {name: found[name] for name in summaries(model)[2:]}


@contextmanager
def measuring(model: CrossFormer, size: Size) -> Iterator[dict[str, np.ndarray]]:
    """Measure every forward inside the `with` block; the dict holds the values of the latest one.

    Under a change to the grouping, distances are those of the changed groups. If a forward starts part of the
    way through, only the blocks and stages that it runs are measured.

    Args:
        model: In eval mode.
        size: Side of the input in pixels, or its height and width.

    Yields:
        A dict from column to float64 (B,): mean attention distance in pixels, entropy in bits, and the share
        of a normalised token's energy in each kernel's channels, all averaged over the tokens of the map.
    """
    found: dict[str, np.ndarray] = {}
    edits: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    stride = 1
    for s, blocks in enumerate(model.groupings(*as_pair(size))):
        stride *= CEL_STRIDES[s]
        for b, groups in enumerate(blocks):
            edits[point_names.attention(s, b)] = _attention(found, s, b, groups, stride)
        edits[point_names.embedding(s)] = _shares(found, model, s)
    with edit(model, edits):
        yield found


def _attention(
    found: dict[str, np.ndarray], s: int, b: int, groups: Grouping, stride: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    row, col = np.divmod(groups.index[0], groups.Wp)
    apart = torch.from_numpy(np.hypot(row[:, None] - row, col[:, None] - col) * stride).float()
    valid = torch.from_numpy(groups.valid).float()

    def measure(probs: torch.Tensor) -> torch.Tensor:
        p = probs.float().unflatten(0, (-1, groups.nG))  # B, nG, nH, N, N
        real, tokens = valid.to(p.device)[None, :, None], float(valid.sum())
        far = torch.einsum("bghqk,qk->bghq", p, apart.to(p.device))
        spread = torch.special.entr(p).sum(-1) / np.log(2)
        for what, each in (("distance", far), ("entropy", spread)):
            mean = ((each * real).sum((1, 3)) / tokens).double().cpu().numpy()  # B, nH
            found.update({f"{what}.{s}.{b}.{h}": mean[:, h] for h in range(mean.shape[1])})
        return probs

    return measure


def _shares(
    found: dict[str, np.ndarray], model: CrossFormer, s: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    norm = model.patch_embed.norm if s == 0 else model.stages[s].block_list[0].norm1
    channels = _channels(model, s)

    def measure(x: torch.Tensor) -> torch.Tensor:
        y = torch.layer_norm(x.float(), (x.shape[-1],), norm.weight.float(), None, norm.eps) ** 2
        parts = torch.stack([part.sum(-1) for part in y.split(channels, -1)], -1)  # B, H, W, K
        mean = (parts / parts.sum(-1, keepdim=True).clamp_min(TINY)).mean((1, 2)).double().cpu().numpy()
        found.update({f"share.{s}.{k}": mean[:, k] for k in range(len(channels))})
        return x

    return measure
