"""Work in steps behind the page: what is there is shown at once, the rest as it comes, nothing is waited for.

One thread does the steps of all readers, whose forwards share the same cores anyhow: whoever looked last
comes first, and what nobody has looked at for a while is left where it is until somebody looks again.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

from . import queue

T = TypeVar("T")

PATIENCE = 4.0  # seconds after the last poll
GRACE = 10.0  # seconds that a step has when the process ends
_change = threading.Condition()
_open: list[Steps] = []
_busy = False


class Steps(Generic[T]):
    """Named results, made one after another while somebody looks.

    Args:
        names: In the order in which they are made.
        make: Makes one; runs in another thread, with no Streamlit in it.
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], T]) -> None:
        self.names, self.make = tuple(names), make
        self.found: dict[str, T] = {}
        self.error: Exception | None = None
        self.polled = 0.0

    @property
    def left(self) -> list[str]:
        """What is not there yet."""
        return [name for name in self.names if name not in self.found]

    def poll(self, seconds: float = 0.0) -> dict[str, T]:
        """What is there, after waiting at most so long for all of it.

        Raises:
            Exception: Whatever `make` raised.
        """
        until = monotonic() + seconds
        with _change:
            self.polled = monotonic()
            if self.left and self.error is None and self not in _open:
                _open.append(self)
                _begin()
            _change.wait_for(lambda: not self.left or self.error, max(0.0, until - monotonic()))
            if self.error is not None:
                error, self.error = self.error, None  # the next poll tries again
                raise error
            return {name: self.found[name] for name in self.names if name in self.found}


def _begin() -> None:
    global _busy
    if not _busy:
        _busy = True
        threading.Thread(target=_work, name="cfviz steps", daemon=True).start()


@atexit.register
def _end() -> None:
    """Let the step under way come to its end: a process that goes while torch computes is aborted."""
    with _change:
        _open.clear()
        _change.wait_for(lambda: not _busy, GRACE)


def _work() -> None:
    """Do the steps that somebody waits for; called once while there are any."""
    global _busy
    while True:
        with _change:
            _open[:] = [steps for steps in _open if monotonic() - steps.polled < PATIENCE]
            if not _open:
                _busy = False
                _change.notify_all()
                return
            steps = max(_open, key=lambda one: one.polled)
            name = steps.left[0]
        error, made = None, None
        try:
            with queue.turn():
                made = steps.make(name)
        except Exception as reason:  # the reader's thread says what it is
            error = reason
        with _change:
            if error is None:
                steps.found[name] = made
            steps.error = error
            if (error is not None or not steps.left) and steps in _open:
                _open.remove(steps)
            _change.notify_all()
