"""How large the numbers of a token map are: amplitude, the tokens and channels that stand out.

CrossFormer++ (https://arxiv.org/abs/2303.06908, the part on the amplitude cooling layer) draws the output of
each block and names its largest value; in CrossFormer, which has no such layer, it grows with depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STANDS_OUT = 2.0  # times the median


@dataclass(frozen=True, eq=False)
class Amplitude:
    """How large the numbers of one map are.

    Attributes:
        mean: Mean absolute value.
        largest: Largest absolute value.
        rms: Root of the mean square.
        tokens: RMS of each token over its channels, (H, W).
        channels: RMS of each channel over the tokens, (C,).
    """

    mean: float
    largest: float
    rms: float
    tokens: np.ndarray
    channels: np.ndarray

    def largest_tokens(self, n: int = 3) -> list[tuple[int, int, float]]:
        """Return the largest tokens as (row, column, ratio to the median token), the largest first.

        The ratio is infinite if the median token is zero and this one is not, and 1 if both are.
        """
        W = self.tokens.shape[1]
        return [(i // W, i % W, ratio) for i, ratio in _by_ratio(self.tokens.reshape(-1), n)]

    def largest_channels(self, n: int = 3) -> list[tuple[int, float]]:
        """Return the largest channels as (channel, ratio to the median channel), as `largest_tokens`."""
        return _by_ratio(self.channels, n)

    def outliers(self, times: float = STANDS_OUT) -> np.ndarray:
        """Return which tokens are more than `times` as large as the median token: bool (H, W)."""
        return self.tokens > times * np.median(self.tokens)


def amplitude(x: np.ndarray) -> Amplitude:
    """Measure the numbers of a map.

    Args:
        x: (H, W, C), the output of a block, or what an attention or MLP branch left in the stream.

    Raises:
        ValueError: If `x` is no such map, or holds numbers that are not finite.

    Example:
        >>> amplitude(trace["layers.2.blocks.1.out"]).largest
    """
    if x.ndim != 3 or not x.size:
        raise ValueError(f"the map is {x.shape}; expected (H, W, C), none of them 0")
    wide = x.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("the map holds numbers that are not finite; half precision may have overflowed")
    size, square = np.abs(wide), wide**2
    return Amplitude(
        mean=float(size.mean()),
        largest=float(size.max()),
        rms=float(np.sqrt(square.mean())),
        tokens=np.sqrt(square.mean(-1)),
        channels=np.sqrt(square.mean((0, 1))),
    )


def _by_ratio(values: np.ndarray, n: int) -> list[tuple[int, float]]:
    """The largest of some values with their ratio to the median."""
    order, median = np.argsort(-values, kind="stable")[:n], float(np.median(values))
    return [(int(i), _ratio(float(values[i]), median)) for i in order]


def _ratio(value: float, median: float) -> float:
    if median == 0:
        return 1.0 if value == 0 else float("inf")
    return value / median
