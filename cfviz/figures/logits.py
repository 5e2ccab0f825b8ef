"""Logits small enough to travel, and back: 16 bits a number, with the lowest value and step of each row."""

from __future__ import annotations

import numpy as np

from cfviz.geometry import relative_index

MASKED = -1e6  # what the model adds to the logits of padded keys


def quantise(content: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of logits as 16-bit whole numbers: content = low + codes * step.

    Args:
        content: (..., N) float.

    Returns:
        codes uint16 (..., N), low float32 (...), step float32 (...). The error is at most half a step.
    """
    low = content.min(-1).astype(np.float32)
    step = ((content.max(-1) - low) / 65535).astype(np.float32)
    safe = np.where(step > 0, step, 1)[..., None]
    codes = np.rint((content - low[..., None]) / safe).clip(0, 65535).astype(np.uint16)
    return codes, low, step


def restore(codes: np.ndarray, low: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The logits the browser sees: float64 (..., N)."""
    return low[..., None].astype(np.float64) + codes * step[..., None].astype(np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def bias_table(bias: np.ndarray, G: int) -> np.ndarray:
    """The position bias of every offset, gathered back from the (query, key) matrix.

    Args:
        bias: (nH, N, N), N = G * G.

    Returns:
        float32 (nH, (2G-1)^2), h-major from (1-G, 1-G).
    """
    heads, n, _ = bias.shape
    if n != G * G:
        raise ValueError(f"the bias is {bias.shape}; groups of {G} x {G} need (heads, {G * G}, {G * G})")
    table = np.zeros((heads, (2 * G - 1) ** 2), np.float32)
    table[:, relative_index(G, G).reshape(-1)] = bias.reshape(heads, -1)
    return table
