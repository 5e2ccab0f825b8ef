"""Whose turn it is to compute: one reader at a time, readers in turn, and nobody waits for what was given up.

Forwards of different readers share the same cores (or card), so running them side by side would make each of
them slower. A lock would do that too, but it is handed to whoever asks at the right moment: a reader with
twenty photos would keep everybody else out.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import get_run_yield_check

GONE = 60.0  # seconds after a reader's last click
EVERY = 0.1  # seconds between two looks at whether the reader has clicked on


class Turns:
    """A queue for one worker that goes round the readers, however much each of them asks for."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[threading.Event]] = OrderedDict()  # reader -> tickets
        self._holder: threading.Event | None = None  # the ticket whose turn it is
        self._book = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def turn(self, who: Hashable, still_wanted: Callable[[], object] | None = None) -> Iterator[None]:
        """Wait for a turn and keep it for the block; within a turn of the same thread, nothing more.

        Args:
            who: The reader; each gets one turn before anybody gets a second.
            still_wanted: Called now and then while waiting; what it raises ends the wait and leaves the
                queue.
        """
        if self.held:
            yield
            return
        self._take(who, still_wanted)
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def aside(self, who: Hashable, still_wanted: Callable[[], object] | None = None) -> Iterator[None]:
        """Give the turn away for the block, if this thread has one, and wait for another after it."""
        if not self.held:
            yield
            return
        self._give()
        try:
            yield
        finally:
            self._take(who, still_wanted)

    @property
    def held(self) -> bool:
        """Whether it is this thread's turn."""
        return getattr(self._mine, "ticket", None) is not None

    @property
    def length(self) -> int:
        """How many wait."""
        with self._book:
            return sum(map(len, self._waiting.values()))

    def _take(self, who: Hashable, still_wanted: Callable[[], object] | None) -> None:
        ticket = threading.Event()  # each its own: a turn that ends wakes one thread, not all that wait
        with self._book:
            self._waiting.setdefault(who, deque()).append(ticket)
            self._go_on()
        try:
            while not ticket.wait(EVERY):
                if still_wanted is not None:
                    still_wanted()
        except BaseException:  # Streamlit ends a run that way
            with self._book:
                if self._holder is ticket:
                    self._holder = None
                    self._go_on()
                else:
                    self._leave(who, ticket)
            raise
        self._mine.ticket = ticket

    def _go_on(self) -> None:
        """If it is nobody's turn, it is the next one's; a reader with more tickets goes behind the others."""
        if self._holder is not None or not self._waiting:
            return
        who, tickets = next(iter(self._waiting.items()))
        self._holder = tickets[0]
        self._leave(who, tickets[0])
        if who in self._waiting:
            self._waiting.move_to_end(who)
        self._holder.set()

    def _leave(self, who: Hashable, ticket: threading.Event) -> None:
        tickets = self._waiting[who]
        tickets.remove(ticket)
        if not tickets:
            del self._waiting[who]

    def _give(self) -> None:
        if not self.held:  # a wait that was ended within the block
            return
        with self._book:
            self._holder = self._mine.ticket = None
            self._go_on()


_turns = Turns()
_clicked: dict[Hashable, float] = {}  # readers -> when
_book = threading.Lock()


def turn() -> AbstractContextManager[None]:
    """This session's turn to compute, for a `with` block; a second click of the reader ends the wait."""
    return _turns.turn(_reader(), get_run_yield_check())


def breathe() -> None:
    """Within a long turn: let those who wait go first."""
    if _turns.held and _turns.length:
        with aside():
            pass


def aside() -> AbstractContextManager[None]:
    """Out of the turn for a `with` block, to wait for something that may itself need one."""
    return _turns.aside(_reader(), get_run_yield_check())


def wait(event: threading.Event) -> None:
    """Wait for what another thread computes, out of the turn; a second click of the reader ends the wait."""
    still_wanted = get_run_yield_check()
    with aside():
        while not event.wait(EVERY):
            if still_wanted is not None:
                still_wanted()


def readers() -> int:
    """How many have clicked of late, this one included: every run of a page calls it."""
    now = time.monotonic()
    with _book:
        _clicked[_reader()] = now
        for who in [who for who, at in _clicked.items() if now - at > GONE]:
            del _clicked[who]
        return len(_clicked)


def _reader() -> Hashable:
    """The session that this thread works for; the thread itself outside Streamlit."""
    ctx = get_script_run_ctx(suppress_warning=True)
    return ctx.session_id if ctx is not None else threading.get_ident()
