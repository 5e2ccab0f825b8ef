"""The queue for computing: one reader at a time, in rotation, and nobody waits for abandoned work.

Forward passes for different readers share the same cores (or GPU), so running them side by side would slow
each of them down. A lock would serialise them too, but it goes to the thread that happens to ask at the right
moment: a reader with twenty photos would keep everybody else out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import get_run_yield_check

GONE = 60.0  # seconds after a reader's last click
EVERY = 0.1  # seconds between checks whether the reader has clicked again
_log = logging.getLogger(__name__)


class Turns:
    """A queue for one worker that rotates among the readers, however many requests each of them makes."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[threading.Event]] = OrderedDict()  # reader -> tickets
        self._holder: threading.Event | None = None  # the ticket whose turn it is
        self._book = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def turn(self, who: Hashable, still_wanted: Callable[[], object] | None = None) -> Iterator[None]:
        """Wait for a turn and hold it for the block; does nothing if this thread already has a turn.

        Args:
            who: The reader; each gets one turn before anybody gets a second.
            still_wanted: Called now and then while waiting; if it raises, the wait ends and the ticket leaves
                the queue.
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
        """Release this thread's turn, if it has one, for the block, and wait for another afterwards."""
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
        """How many tickets are waiting."""
        with self._book:
            return sum(map(len, self._waiting.values()))

    def _take(self, who: Hashable, still_wanted: Callable[[], object] | None) -> None:
        ticket = threading.Event()  # one per ticket: the end of a turn wakes one thread, not all that wait
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
        """Start the next turn if none is running; a reader with more tickets goes to the back."""
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
        if not self.held:  # a wait inside the block was ended
            return
        with self._book:
            self._holder = self._mine.ticket = None
            self._go_on()


_turns = Turns()
_within = threading.local()  # seconds that this thread spent in turns and waits within its present turn
_clicked: dict[Hashable, float] = {}  # readers -> when
_book = threading.Lock()


@contextmanager
def turn(name: str = "unnamed", key: Hashable = None) -> Iterator[None]:
    """This session's turn to compute, for a `with` block; another click by the reader ends the wait.

    Args:
        name: What is computed, for the log.
        key: Everything that determines the result, for the log.
    """
    asked = time.monotonic()
    with _turns.turn(_reader(), get_run_yield_check()):
        begun, outer = time.monotonic(), getattr(_within, "seconds", 0.0)
        _within.seconds = 0.0
        try:
            yield
        finally:
            took = time.monotonic() - begun
            own, _within.seconds = took - _within.seconds, outer + took
            name, mark = name.replace(" ", "-"), hash(key) & 0xFFFFFFFF
            _log.debug("turn: %s %08x took %.4f s, waited %.4f s", name, mark, own, begun - asked)


def breathe() -> None:
    """Within a long turn: let waiting readers go first."""
    if _turns.held and _turns.length:
        with aside():
            pass


def aside() -> AbstractContextManager[None]:
    """Release the turn for a `with` block, to wait for something that may itself need one."""
    return _turns.aside(_reader(), get_run_yield_check())


def wait(event: threading.Event) -> None:
    """Wait, with the turn released, for another thread's result; another click ends the wait."""
    still_wanted, begun = get_run_yield_check(), time.monotonic()
    with aside():
        while not event.wait(EVERY):
            if still_wanted is not None:
                still_wanted()
    _within.seconds = getattr(_within, "seconds", 0.0) + time.monotonic() - begun


def readers() -> int:
    """How many readers have clicked recently, this one included; every run of a page calls it."""
    now = time.monotonic()
    with _book:
        _clicked[_reader()] = now
        for who in [who for who, at in _clicked.items() if now - at > GONE]:
            del _clicked[who]
        return len(_clicked)


def _reader() -> Hashable:
    """The session this thread works for; outside Streamlit, the thread itself."""
    ctx = get_script_run_ctx(suppress_warning=True)
    return ctx.session_id if ctx is not None else threading.get_ident()
