"""Logits compressed for the browser: 16 bits each, with the highest value and the span of each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cfviz.geometry import relative_index

LAST = 65535  # the largest code


@dataclass(frozen=True)
class Encoded:
    """The attention of one block as it is sent.

    Attributes:
        content: "codes" uint16 (H*W, nH, N), "high" and "span" float32 (H*W, nH), see `quantise`; or "q" and
            "k" int16 (H*W, nH, d), "q_step" and "k_step" float32 (H*W, nH).
        bias: Position bias at every offset, float32 (nH, (2Gh-1) * (2Gw-1)); None if there is none.
        peak: The largest attention.
        error: The largest difference between a probability shown and the model's.
    """

    content: Mapping[str, np.ndarray]
    bias: np.ndarray | None
    peak: float
    error: float


def quantise(content: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of logits as 16-bit integers: content = high - span * (code / 65535)^2.

    The square puts the steps closest together just below the largest logit, where a small difference
    changes the softmax most, and widest where probabilities vanish.

    Args:
        content: (..., N) float.

    Returns:
        `codes` uint16 (..., N), `high` float32 (...), `span` float32 (...). The error is at most half a step,
        span * (code + 1/2) / 65535^2.
    """
    high = content.max(-1).astype(np.float32)
    below = np.maximum(high[..., None] - content, 0)
    span = below.max(-1).astype(np.float32)
    part = below / np.where(span > 0, span, 1)[..., None]
    return np.rint(LAST * np.sqrt(part)).clip(0, LAST).astype(np.uint16), high, span


def restore(codes: np.ndarray, high: np.ndarray, span: np.ndarray) -> np.ndarray:
    """The logits that the browser gets: float64 (..., N)."""
    return high[..., None] - span[..., None].astype(np.float64) * (codes / LAST) ** 2


def bias_by_offset(bias: np.ndarray, Gh: int, Gw: int | None = None) -> np.ndarray:
    """The position bias of every offset, read from the (query, key) matrix.

    Args:
        bias: (nH, N, N), N = Gh * Gw.
        Gh: Height of the groups.
        Gw: Width of the groups; if left out, they are Gh x Gh.

    Returns:
        float32 (nH, (2Gh-1) * (2Gw-1)), h-major from (1-Gh, 1-Gw).
    """
    Gw = Gh if Gw is None else Gw
    heads, n, _ = bias.shape
    if n != Gh * Gw:
        raise ValueError(
            f"the bias is {bias.shape}; groups of {Gh} x {Gw} need (heads, {Gh * Gw}, {Gh * Gw})"
        )
    table = np.zeros((heads, (2 * Gh - 1) * (2 * Gw - 1)), np.float32)
    table[:, relative_index(Gh, Gw).reshape(-1)] = bias.reshape(heads, -1)
    return table
