"""Background work in steps: finished steps are shown at once, the rest as they arrive, and no page waits.

One thread runs the steps of all readers, since their forward passes share the same cores anyway. The work
polled most recently comes first; work nobody has polled for a while pauses until somebody polls it again.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from time import monotonic
from typing import Generic, TypeVar

from cfviz.ui.session import pen, queue

T = TypeVar("T")

PATIENCE = 4.0  # seconds after the last poll
GRACE = 10.0  # seconds a step has to finish when the process ends
_change = threading.Condition()
_open: list[Steps] = []
_busy = False


class Steps(Generic[T]):
    """Named results, computed one after another while somebody polls.

    Args:
        names: The names, in the order in which they are computed.
        make: Computes one result; runs in another thread, so it must not use Streamlit.
        nbytes: Bytes that all results take, for caches that are limited in bytes.
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], T], nbytes: int = 0) -> None:
        self.names, self.make, self.nbytes = tuple(names), make, nbytes
        self.found: dict[str, T] = {}
        self.error: Exception | None = None
        self.polled = 0.0

    @property
    def left(self) -> list[str]:
        """Names of the results still missing."""
        return [name for name in self.names if name not in self.found]

    def poll(self, seconds: float = 0.0, least: int | None = None) -> dict[str, T]:
        """The finished results, after waiting at most `seconds` for `least` of them, by default all.

        Raises:
            Exception: Whatever `make` raised.
        """
        until, enough = monotonic() + seconds, len(self.names) if least is None else least
        with pen.down() if seconds else nullcontext(), _change:
            self.polled = monotonic()
            if self.left and self.error is None and self not in _open:
                _open.append(self)
                _begin()
            _change.wait_for(lambda: len(self.found) >= enough or self.error, max(0.0, until - monotonic()))
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
    """Let the current step finish: a process that exits while torch is computing aborts."""
    with _change:
        _open.clear()
        _change.wait_for(lambda: not _busy, GRACE)


def _work() -> None:
    """Run the steps somebody is waiting for; called once while there are any."""
    global _busy
    queue.stand(queue.BEHIND)
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
            with queue.turn(steps.make.__qualname__, (id(steps), name)):
                made = steps.make(name)
        except Exception as reason:  # the reader's thread reports it
            error = reason
        with _change:
            if error is None:
                steps.found[name] = made
            steps.error = error
            if (error is not None or not steps.left) and steps in _open:
                _open.remove(steps)
            _change.notify_all()
