"""Mean attention over relative offsets, of many photos, beside what the position bias alone would give.

A head's attention is the softmax of content plus position bias. Were the content of all keys alike, the
softmax of the bias would be left. Averaged over all pairs with one offset, both are surfaces of the same
form, and their correlation says whether a head does what its bias says. NumPy only.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from cfviz.geometry import Grouping, relative_index
from cfviz.stats import softmax

__all__ = ["ByOffset"]


class ByOffset:
    """Sums over photos; the means are read at any time.

    Args:
        heads: How many heads the block has.
        Gh, Gw: Side of its groups in tokens.
    """

    def __init__(self, heads: int, Gh: int, Gw: int) -> None:
        self.shape = 2 * Gh - 1, 2 * Gw - 1
        self._index = relative_index(Gh, Gw).reshape(-1)
        self._sums = np.zeros((2, heads, self.shape[0] * self.shape[1]))
        self._pairs = np.zeros(self.shape[0] * self.shape[1])

    def add(self, probs: np.ndarray, bias: np.ndarray, grouping: Grouping) -> None:
        """Add one photo; padding counts neither as query nor as key.

        Args:
            probs: (nG, nH, N, N).
            bias: Position bias, (nH, N, N).
            grouping: How the block cut its map.

        Raises:
            ValueError: If the shapes do not belong together.
        """
        nG, nH, N, _ = probs.shape
        heads = self._sums.shape[1]
        if (nH, N * N) != (heads, len(self._index)) or bias.shape != (nH, N, N) or grouping.nG != nG:
            raise ValueError(
                f"the attention is {probs.shape}, the bias {bias.shape} and there are {grouping.nG} groups; "
                f"expected (nG, {heads}, N, N) and ({heads}, N, N) with N² = {len(self._index)}"
            )
        valid = grouping.valid  # nG, N
        patterns, where = np.unique(valid, axis=0, return_inverse=True)
        for n, keys in enumerate(patterns):
            some = probs[where.reshape(-1) == n]
            pair = keys[:, None] & keys[None, :]
            alone = softmax(np.where(keys, bias.astype(np.float64), -np.inf)) * len(some)
            for kind, values in enumerate((some.sum(0, dtype=np.float64), alone)):
                for head, one in enumerate(np.where(pair, values, 0)):
                    self._sums[kind, head] += np.bincount(self._index, one.reshape(-1), len(self._pairs))
            self._pairs += len(some) * np.bincount(self._index, pair.reshape(-1), len(self._pairs))

    @property
    def sums(self) -> np.ndarray:
        """What was added up, (2, nH, 2Gh-1, 2Gw-1): of the attention, and of the softmax of the bias."""
        return self._sums.reshape(2, -1, *self.shape).copy()

    @classmethod
    def of(cls, sums: np.ndarray, pairs: np.ndarray) -> ByOffset:
        """The same from `sums` and `pairs`, such as those of a file.

        Raises:
            ValueError: If the shapes do not belong together.
        """
        if (
            sums.ndim != 4
            or sums.shape[0] != 2
            or pairs.shape != sums.shape[2:]
            or not all(side % 2 for side in pairs.shape)
        ):
            raise ValueError(
                f"the sums are {sums.shape}, the pairs {pairs.shape}; expected (2, nH, odd, odd)"
            )
        found = cls(sums.shape[1], *((side + 1) // 2 for side in pairs.shape))
        found._sums += sums.reshape(found._sums.shape)
        found._pairs += pairs.reshape(-1)
        return found

    def copy(self) -> ByOffset:
        """The same sums, to which others can be joined."""
        return deepcopy(self)

    def join(self, other: ByOffset) -> None:
        """Add the photos of another sum of the same form.

        Raises:
            ValueError: If it has another number of heads, or groups of another size.
        """
        if other._sums.shape != self._sums.shape or other.shape != self.shape:
            raise ValueError(
                f"the other sums are {other.sums.shape}, these {self.sums.shape}; expected one form"
            )
        self._sums += other._sums
        self._pairs += other._pairs

    @property
    def pairs(self) -> np.ndarray:
        """How many pairs of query and key have each offset, (2Gh-1, 2Gw-1)."""
        return self._pairs.reshape(self.shape)

    @property
    def mean(self) -> np.ndarray:
        """Mean attention at each offset, (nH, 2Gh-1, 2Gw-1); nan where no pair has it."""
        return self._means(0)

    @property
    def alone(self) -> np.ndarray:
        """The same for the softmax of the bias alone."""
        return self._means(1)

    def _means(self, kind: int) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self._sums[kind] / self._pairs).reshape(-1, *self.shape)

    @property
    def agreement(self) -> np.ndarray:
        """Correlation of `mean` and `alone` over offsets, each weighted by its pairs, (nH,).

        1 where a head attends as its bias alone would make it; nan where either is the same everywhere.
        """
        there = self._pairs > 0
        weights = self._pairs[there] / self._pairs.sum()
        x, y = (one.reshape(len(one), -1)[:, there] for one in (self.mean, self.alone))
        x, y = x - (x @ weights)[:, None], y - (y @ weights)[:, None]
        spread = np.sqrt((x * x) @ weights * ((y * y) @ weights))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(spread > 1e-15, (x * y) @ weights / spread, np.nan)
