"""Statistics shared by many modules."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from math import sqrt

import numpy as np

Z_95 = 1.959963984540054  # of a two-sided 95 % interval


def softmax(logits: np.ndarray) -> np.ndarray:
    """Compute the softmax over the last axis, in float64, without overflow."""
    raised = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def wilson(correct: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Compute Wilson's score interval for a proportion.

    Args:
        correct: Successes.
        n: Trials.
        z: Quantile of the normal distribution, 1.96 for 95 %.

    Returns:
        Lower and upper bound, in 0..1.

    Raises:
        ValueError: If there are no trials, or more successes than trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"got {correct} of {n}, expected 0 <= correct <= n and n > 0")
    p = correct / n
    centre = p + z * z / (2 * n)
    spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def share_change(lost: int, won: int, n: int) -> tuple[float, float, float]:
    """Compute the change of a share measured twice on the same photos, and its 95 % interval.

    Args:
        lost: Number of photos that were right and no longer are.
        won: Number of photos that were wrong and are now right.
        n: Number of all photos.

    Returns:
        (won - lost) / n, and the lower and upper bounds.

    Raises:
        ValueError: If there are no photos, or more changed ones than photos.

    Source: A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions",
        Statistics in Medicine, 2005: half a photo is added to each of the four cells.
    """
    if n < 1 or min(lost, won) < 0 or lost + won > n:
        raise ValueError(f"got {lost} lost and {won} won of {n}, expected 0 <= lost + won <= n and n > 0")
    value, low, high = mean_change(won - lost, won + lost, n)
    return value, max(-1.0, low), min(1.0, high)


def mcnemar(lost: int, won: int) -> float:
    """Compute the exact two-sided p-value of McNemar's test, that photos are lost and won equally often.

    Only the photos that changed count: if the two methods were equally good, each would be won with
    probability 1/2, so the number of either kind is binomial.

    Args:
        lost: Number of photos that were right and no longer are.
        won: Number of photos that were wrong and are now right.

    Returns:
        1 if no photo changed.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", 1947, with the exact distribution instead of chi-square.
    """
    if min(lost, won) < 0:
        raise ValueError(f"got {lost} lost and {won} won, expected whole numbers from 0")
    n, few = lost + won, min(lost, won)
    term = tail = 1  # n over k, and the sum up to k: whole numbers, so nothing is rounded before the end
    for k in range(1, few + 1):
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / 2**n)


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons; the chance of any false finding stays below the level.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    corrected, most = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = most
    return corrected


def mean_change(total: int, squares: int, n: int) -> tuple[float, float, float]:
    """Compute the mean of one whole number per photo, and its 95 % interval.

    Args:
        total: The sum of the numbers.
        squares: The sum of their squares.
        n: Number of photos; half a 1, half a -1 and a 0 are added to them, as in `share_change`.
    """
    m = n + 2
    centre, error = total / m, Z_95 * sqrt(squares + 1 - total**2 / m) / m
    return total / n, centre - error, centre + error


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the rank correlation of two arrays of equal shape; ties share their mean rank.

    The result is 0 if one array is constant.
    """
    if a.shape != b.shape:
        raise ValueError(f"the maps are {a.shape} and {b.shape}; expected one shape")
    x, y = ranks(a.reshape(-1)), ranks(b.reshape(-1))
    x, y = x - x.mean(), y - y.mean()
    both = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / both if both else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank (n,) values, from 1; ties share their mean rank."""
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[where]


def pack_hits(hits: np.ndarray) -> str:
    """Encode which of n photos were right, (n,), as base64 of bits, the first photo in the highest bit."""
    return base64.b64encode(np.packbits(hits.astype(bool)).tobytes()).decode("ascii")


def unpack_hits(text: str, n: int) -> np.ndarray:
    """Decode the result of `pack_hits`: bool (n,)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)
