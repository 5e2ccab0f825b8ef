"""The log of what clients do wrong, kept short: a client must not be able to fill the disk with it."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from .pace import Bucket

__all__ = ["paced"]

LINES = (20, 0.2)  # of one kind: at once, and a second after that


class Pace(logging.Filter):
    """Lets lines of one kind (of one call) pass so often; the next to pass says how many were left out.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._buckets: defaultdict[str, Bucket] = defaultdict(lambda: Bucket(*LINES, clock))
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written; an error always is."""
        kind = str(record.msg)
        if record.levelno >= logging.ERROR:
            return True
        if not self._buckets[kind].ready:
            self._left_out[kind] += 1
            return False
        self._buckets[kind].take()
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg = f"{kind} (and {left_out} more like it)"
        return True


def paced(name: str) -> logging.Logger:
    """The logger of a module that reports what clients send.

    Args:
        name: The module's name.
    """
    logger = logging.getLogger(name)
    if not any(isinstance(one, Pace) for one in logger.filters):
        logger.addFilter(Pace())
    return logger
