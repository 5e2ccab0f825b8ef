"""How much each kernel of a cross-scale embedding layer contributes to a token: arrays in, arrays out.

A token x of C channels concatenates the outputs of several kernels, D_i channels each (CrossFormer,
section 3.1). The LayerNorm that follows mixes them: it subtracts the mean of all channels and divides by
their standard deviation, y = gain * (x - mean(x)) / sqrt(var(x) + eps). Its constant offset is the same for
every token of every photo and is left out of everything measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfviz.stats import softmax

TINY = 1e-30


def kernel_slices(channels: Sequence[int]) -> list[slice]:
    """Which channels belong to each kernel: (48, 24, 12, 12) -> 0:48, 48:72, 72:84, 84:96."""
    ends = np.cumsum(channels)
    return [slice(int(end - n), int(end)) for end, n in zip(ends, channels, strict=True)]


def _check(x: np.ndarray, channels: Sequence[int]) -> None:
    if x.shape[-1] != sum(channels):
        raise ValueError(
            f"the tokens have {x.shape[-1]} channels; the kernels {tuple(channels)} give another number"
        )


def kernel_norms(x: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Length of each kernel's part of every token, before the LayerNorm.

    Args:
        x: (..., C), the concatenated tokens.
        channels: D_i of each kernel.

    Returns:
        float64 (K, ...).
    """
    _check(x, channels)
    return np.stack([np.linalg.norm(x[..., s].astype(np.float64), axis=-1) for s in kernel_slices(channels)])


def normalised(x: np.ndarray, gain: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """LayerNorm without its offset: float64 (..., C).

    Args:
        x: (..., C).
        gain: (C,).
        eps: Added to the variance.
    """
    x = x.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)


def carried_shares(y: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Share of a token's energy that each kernel's channels carry; sums to one over kernels.

    Energy is the sum of squares. For the raw token this is the share of the squared norms; for the normalised
    token (`normalised`) it counts what is in a kernel's channels, the subtracted mean included, whichever
    kernel caused it. A token of zeros is shared out by the number of channels.

    Args:
        y: (..., C).
        channels: D_i of each kernel.

    Returns:
        float64 (K, ...), from 0 to 1.
    """
    energy = kernel_norms(y, channels) ** 2
    total = energy.sum(0)
    even = np.asarray(channels, float).reshape(-1, *[1] * total.ndim) / sum(channels)
    return np.where(total > TINY, energy / np.maximum(total, TINY), even)


def caused_shares(x: np.ndarray, channels: Sequence[int], gain: np.ndarray) -> np.ndarray:
    """Share of the normalised token that each kernel causes, wherever it stands; sums to one over kernels.

    For a given standard deviation the LayerNorm is linear, so the normalised token is a sum of one vector per
    kernel: what the LayerNorm makes of that kernel's channels alone, the others set to zero. The share is
    that vector's projection on the whole, divided by the squared length of the whole. A kernel that works
    against the others has a negative share. Where all other kernels are zero the share is exactly 1.

    Args:
        x: (..., C), before the LayerNorm.
        channels: D_i of each kernel.
        gain: (C,).

    Returns:
        float64 (K, ...).
    """
    _check(x, channels)
    x = x.astype(np.float64)
    whole = gain * (x - x.mean(-1, keepdims=True))
    total = (whole**2).sum(-1)
    parts = []
    for s in kernel_slices(channels):
        mean = x[..., s].sum(-1) / x.shape[-1]  # what this kernel adds to the mean of all channels
        inside = (whole[..., s] * gain[s] * x[..., s]).sum(-1)
        parts.append(inside - mean * (whole * gain).sum(-1))
    even = np.asarray(channels, float).reshape(-1, *[1] * total.ndim) / sum(channels)
    return np.where(total > TINY, np.stack(parts) / np.maximum(total, TINY), even)


def read_shares(qkv: np.ndarray, gain: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """How strongly a block's query, key and value weights read each kernel's channels.

    The share of the squared weights, each multiplied by the LayerNorm's gain for the channel that it reads;
    sums to one over kernels. It is what would reach q, k and v if every normalised channel were equally
    strong.

    Args:
        qkv: (3C, C).
        gain: Of the LayerNorm before the block, (C,).
        channels: D_i of each kernel.

    Returns:
        float64 (3, K): query, key, value.
    """
    _check(qkv, channels)
    energy = (qkv.astype(np.float64) * gain) ** 2
    parts = np.stack([energy[:, s].sum(-1).reshape(3, -1).sum(-1) for s in kernel_slices(channels)], -1)
    return parts / np.maximum(parts.sum(-1, keepdims=True), TINY)  # 3, K


def relative_change(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Relative change of every token: |after - before| / |before|, over the last axis.

    Args:
        after: (..., C).
        before: (..., C).

    Returns:
        float64 (...); 0 where nothing changed, 1 where the change is as long as the token was.
    """
    before = before.astype(np.float64)
    return np.linalg.norm(after - before, axis=-1) / np.maximum(np.linalg.norm(before, axis=-1), TINY)


def prediction_changes(
    after: np.ndarray, before: np.ndarray, target: int | None = None
) -> dict[str, np.ndarray]:
    """What a change to the network costs one class: by default the one that it predicted.

    Args:
        after: Logits of the changed network, once per change, (n, classes).
        before: Logits of the unchanged network, (classes,).
        target: Index of the class.

    Returns:
        `logit` and `probability`: how much the class gains (negative: loses), each (n,); `winner`:
        the class predicted now, int (n,); `kl`: KL(before || after) in bits, (n,).
    """
    top = int(before.argmax()) if target is None else target
    p, q = softmax(before), softmax(after)
    logs = np.log2(np.maximum(p, TINY)) - np.log2(np.maximum(q, TINY))
    return {
        "logit": after[:, top] - before[top],
        "probability": q[:, top] - p[top],
        "winner": after.argmax(-1),
        "kl": (p * logs).sum(-1),
    }


def tap_strengths(weight: np.ndarray) -> np.ndarray:
    """How strongly a kernel reads each position of its window: root mean square weight over all channels.

    Args:
        weight: (D_i, C_in, k, k).

    Returns:
        float64 (k, k), in the unit of the weights.
    """
    if weight.ndim != 4:
        raise ValueError(f"the weights are {weight.shape}; expected (outputs, inputs, k, k)")
    return np.sqrt((weight.astype(np.float64) ** 2).mean((0, 1)))


def strongest_positions(maps: np.ndarray, count: int) -> list[tuple[int, int, int, float]]:
    """The positions that excite a channel most, one per photo.

    Args:
        maps: One channel's response to every photo, (n, H, W).
        count: How many photos.

    Returns:
        (photo, row, column, response), strongest first.
    """
    flat = maps.reshape(len(maps), -1)
    best = flat.argmax(-1)
    order = np.argsort(-flat.max(-1), kind="stable")[:count]
    W = maps.shape[2]
    return [(int(i), int(best[i] // W), int(best[i] % W), float(flat[i, best[i]])) for i in order]


def box_mean(values: np.ndarray, rows: tuple[float, float], cols: tuple[float, float]) -> np.ndarray:
    """Mean of maps over a box given in fractions of their sides: (..., H, W) -> (...)."""
    H, W = values.shape[-2:]
    box = values[..., round(rows[0] * H) : round(rows[1] * H), round(cols[0] * W) : round(cols[1] * W)]
    return box.mean((-2, -1))
