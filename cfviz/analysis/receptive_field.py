"""Maps over the photo: brought to one grid to be compared, and how focused they are."""

from __future__ import annotations

import numpy as np

from cfviz.stats import spearman


def summed_over_squares(pixels: np.ndarray, side: int) -> np.ndarray:
    """Sum a map over squares: (H, W) -> (H / side, W / side).

    Raises:
        ValueError: If the sides are not multiples of `side`.
    """
    H, W = pixels.shape
    if H % side or W % side:
        raise ValueError(f"the map is {H} x {W}; expected multiples of {side}")
    return pixels.reshape(H // side, side, W // side, side).sum((1, 3))


def as_shares(values: np.ndarray) -> np.ndarray:
    """Magnitudes scaled to sum to one; equal everywhere for a map of zeros."""
    size = np.abs(values).astype(np.float64)
    total = size.sum()
    return size / total if total > 0 else np.full(values.shape, 1 / values.size)


def smallest_area(values: np.ndarray, part: float = 0.5) -> float:
    """The smallest share of the map that holds a given part of its sum: small means focused.

    Args:
        values: Not negative, any shape.
        part: For example 0.5 for the area that holds half.
    """
    if not 0 < part <= 1:
        raise ValueError(f"part is {part}; expected more than 0 and at most 1")
    held = np.cumsum(np.sort(as_shares(values).reshape(-1))[::-1])
    return float(np.searchsorted(held, part - 1e-12) + 1) / values.size


def agreement(rollout: np.ndarray, gradient: np.ndarray, side: int) -> float:
    """Rank correlation between a rollout on the first stage's tokens and a gradient on pixels.

    Args:
        rollout: (H, W).
        gradient: (H * side, W * side).
        side: Side of a token in pixels.
    """
    return spearman(rollout, summed_over_squares(np.abs(gradient), side))
