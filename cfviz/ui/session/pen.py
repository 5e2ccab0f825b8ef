"""One page draws at a time, so that the computing thread gets on.

Python runs one thread at a time. A forward pass gives up the interpreter at each of its hundreds of
operations and has to wait for it after each: with one page being drawn beside it, a forward of 25 ms takes
53 ms, with eight pages 600 ms. Pages drawn side by side are not ready sooner than pages drawn one after the
other, so they share a pen. A page puts it down while it waits for a result, and the run that began first goes
on first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

LONG = 0.5  # seconds after which a page that still holds the pen is no longer waited for


class Pen:
    """Something that one run of a page holds at a time, and none for ever.

    Args:
        long: Seconds after which others go on beside a run that has not put it down.
        clock: Returns the time in seconds.
    """

    def __init__(self, long: float = LONG, clock: Callable[[], float] = time.monotonic) -> None:
        self._long, self._clock = long, clock
        self._waiting: dict[tuple[float, int], threading.Event] = {}  # (start of the run, number) -> woken
        self._holder: tuple[float, int] | None = None
        self._since = 0.0
        self._count = 0
        self._book = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the pen for the block, which is one run of a page."""
        with self._book:
            self._count += 1
            self._mine.run = self._clock(), self._count
        self._take()
        try:
            yield
        finally:
            self._give()
            self._mine.run = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Put the pen down for the block; does nothing in a thread that runs no page or has put it down."""
        if getattr(self._mine, "run", None) is None or not getattr(self._mine, "up", False):
            yield
            return
        self._give()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        run, woken = self._mine.run, threading.Event()
        with self._book:
            self._waiting[run] = woken
            self._go_on()
        while not woken.wait(self._long):
            with self._book:
                self._go_on()
        self._mine.up = True

    def _give(self) -> None:
        self._mine.up = False
        with self._book:
            if self._holder == self._mine.run:
                self._holder = None
            self._go_on()

    def _go_on(self) -> None:
        """Hand the pen to the run that began first, if nobody holds it or has for too long."""
        late = self._clock() - self._since >= self._long
        if self._waiting and (self._holder is None or late):
            self._holder, self._since = min(self._waiting), self._clock()
            self._waiting.pop(self._holder).set()


_pen = Pen()


def down() -> Any:
    """Put this run's pen down for a `with` block, in which it waits and does not draw."""
    return _pen.down()


def share() -> None:
    """From now on, let one page draw at a time in this process; the run that is under way goes on."""
    run = ScriptRunner._run_script
    if hasattr(run, "__wrapped__"):
        return

    @wraps(run)
    def drawn(runner: ScriptRunner, *args: Any, **kwargs: Any) -> None:
        with _pen.held():
            run(runner, *args, **kwargs)

    setattr(ScriptRunner, run.__name__, drawn)
