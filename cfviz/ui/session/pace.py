"""How often something may happen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Bucket"]


class Bucket:
    """Lets something happen so often: a number of times at once, then so many times a second.

    Args:
        at_once: How many times at once.
        a_second: How many times a second after that.
        clock: Returns the time in seconds.
        owed: How many times too often counts at most.
    """

    def __init__(
        self,
        at_once: float,
        a_second: float,
        clock: Callable[[], float] = time.monotonic,
        owed: float = math.inf,
    ) -> None:
        self._most, self._a_second, self._clock, self._owed = at_once, a_second, clock, owed
        self._left, self._then = at_once, clock()

    def take(self, cost: float = 1.0) -> float:
        """Let it happen once more; return the number of seconds to wait before."""
        now = self._clock()
        self._left, self._then = max(self._at(now) - cost, -self._owed), now
        return max(0.0, -self._left / self._a_second)

    @property
    def left(self) -> float:
        """How many more times it may happen now; negative if it has happened too often."""
        return self._at(self._clock())

    @property
    def ready(self) -> bool:
        """Whether it may happen now."""
        return self.left >= 1

    @property
    def full(self) -> bool:
        """Whether it could happen as often as ever, so that nothing would be lost by forgetting it."""
        return self.left >= self._most

    def _at(self, now: float) -> float:
        return min(self._most, self._left + (now - self._then) * self._a_second)
