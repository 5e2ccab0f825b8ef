"""The queue for computing: one at a time, the most urgent first, and nobody waits for abandoned work.

Forward passes for different readers share the same cores (or GPU), so running them side by side would slow
each of them down. A lock would serialise them too, but it goes to the thread that happens to ask at the right
moment: a reader with twenty photos would keep everybody else out. Pages come before work that they wait for
in the background, and that before work which nobody has asked for yet.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import get_run_yield_check

from . import pen

GONE = 60.0  # seconds after a reader's last click
EVERY = 0.1  # seconds between checks whether the reader has clicked again
# Seconds by which requests stand behind those of a page that come at the same time.
PAGE, BEHIND, IDLE = 0.0, 2.0, 1e9
RATE = 4.0  # seconds by which each second of computing moves a reader's next request back
LEAST = 0.1  # seconds that a turn counts at least
MOST = 2.0  # seconds that a request is expected to take at most
FARTHEST = 8.0  # seconds by which a reader's next request can be moved back
PAUSE = 1.0  # seconds without a request after which a reader's next one begins something new
_log = logging.getLogger(__name__)


class Standing:
    """How urgent one thread's work is, and whose result it waits for.

    Attributes:
        delay: `PAGE`, `BEHIND` or `IDLE`.
        urgent: When the work is due because others wait for its result; infinite if nobody does.
        waits_for: The thread whose result this one waits for.
        ticket: The turn this thread holds.
        flights: How many results this thread is making, each perhaps for the sake of the one before.
    """

    def __init__(self) -> None:
        self.delay: float = PAGE
        self.urgent = math.inf
        self.waits_for: Standing | None = None
        self.ticket: Ticket | None = None
        self.flights = 0


@dataclass(eq=False)
class Ticket:
    """One request for a turn.

    Attributes:
        who: The reader.
        thread: The thread that asks.
        cost: Seconds that such work usually takes.
        number: Counts the requests.
        ready: Set when it is this ticket's turn.
        since: When the turn began.
    """

    who: Hashable
    thread: Standing
    cost: float
    number: int
    ready: threading.Event = field(default_factory=threading.Event)
    since: float = 0.0


class Turns:
    """A queue for one worker, in which each reader has a due time and the earliest goes first.

    A reader's work is due when it is asked for. Every second of computing moves what the reader asks for next
    back by `RATE` seconds, and a request that usually takes long counts as if it had come later: whoever
    needs little does not wait for those who need much, and nobody waits for ever.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: list[Ticket] = []
        self._holder: Ticket | None = None
        self._due: dict[Hashable, float] = {}
        self._left: dict[Hashable, float] = {}  # reader -> end of the last request
        self._away: Counter[Hashable] = Counter()  # reader -> threads that wait for another's result
        self._count = 0
        self._lock = threading.Lock()
        self._mine = threading.local()

    @property
    def standing(self) -> Standing:
        """This thread's standing."""
        if not hasattr(self._mine, "standing"):
            self._mine.standing = Standing()
        return self._mine.standing

    @contextmanager
    def turn(
        self, who: Hashable, still_wanted: Callable[[], object] | None = None, cost: float = 0.0
    ) -> Iterator[None]:
        """Wait for a turn and hold it for the block; does nothing if this thread already has a turn.

        Args:
            who: The reader.
            still_wanted: Called now and then while waiting; if it raises, the wait ends and the ticket leaves
                the queue.
            cost: Seconds that such work usually takes.
        """
        if self.held:
            yield
            return
        self._take(who, still_wanted, cost)
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
            self._take(who, still_wanted, 0.0)

    @property
    def held(self) -> bool:
        """Whether it is this thread's turn."""
        return self.standing.ticket is not None

    @property
    def busy(self) -> bool:
        """Whether anybody has a turn or waits for one."""
        return self._holder is not None or bool(self._waiting)

    @property
    def length(self) -> int:
        """How many tickets are waiting."""
        return len(self._waiting)

    def overtaken(self) -> bool:
        """Whether somebody waits whose request stands before this thread's next one."""
        with self._lock:
            mine = self.standing
            if mine.ticket is None:
                return False
            spent = self._clock() - mine.ticket.since
            rank = min(self._due[mine.ticket.who] + RATE * spent + mine.delay, mine.urgent)
            return any(self._rank(ticket) < rank for ticket in self._waiting)

    @contextmanager
    def urging(self, thread: Standing | None, who: Hashable) -> Iterator[None]:
        """Make another thread's work as urgent as this one's, which waits for it in the block."""
        mine = self.standing
        with self._lock:
            self._arrive(who)
            self._away[who] += 1
            mine.waits_for = thread
            rank = min(self._due[who] + mine.delay, mine.urgent)
            at = thread
            while at is not None and at.flights and at.urgent > rank:  # whom that thread waits for, too
                at.urgent, at = rank, at.waits_for
        try:
            yield
        finally:
            with self._lock:
                mine.waits_for = None
                self._away[who] -= 1
                self._left[who] = self._clock()

    def _take(self, who: Hashable, still_wanted: Callable[[], object] | None, cost: float) -> None:
        mine = self.standing
        with self._lock:
            self._arrive(who)
            self._count += 1
            ticket = Ticket(who, mine, cost, self._count)  # its event wakes one thread, not all that wait
            self._waiting.append(ticket)
            self._go_on()
        try:
            while not ticket.ready.wait(EVERY):
                if still_wanted is not None:
                    still_wanted()
        except BaseException:  # Streamlit ends a run that way
            with self._lock:
                if self._holder is ticket:
                    self._holder = None
                    self._go_on()
                else:
                    self._waiting.remove(ticket)
                self._left[who] = self._clock()
            raise
        mine.ticket = ticket

    def _arrive(self, who: Hashable) -> None:
        """Note when a reader's work is due: now, unless it continues what the reader asked for before."""
        now = self._clock()
        present = {ticket.who for ticket in self._waiting} | {one for one, n in self._away.items() if n}
        if self._holder is not None:
            present.add(self._holder.who)
        if who not in present and now - self._left.get(who, -math.inf) > PAUSE:
            self._due[who] = now
        for gone in [one for one, at in self._left.items() if now - at > PAUSE and one not in present]:
            del self._left[gone]
            self._away.pop(gone, None)
            if gone != who:
                self._due.pop(gone, None)

    def _rank(self, ticket: Ticket) -> float:
        """When a ticket is due; the earliest goes first."""
        own = self._due[ticket.who] + RATE * min(ticket.cost, MOST) + ticket.thread.delay
        return min(own, ticket.thread.urgent)

    def _go_on(self) -> None:
        """Start the next turn if none is running."""
        if self._holder is not None or not self._waiting:
            return
        ticket = min(self._waiting, key=lambda one: (self._rank(one), one.number))
        self._waiting.remove(ticket)
        self._holder, ticket.since = ticket, self._clock()
        ticket.ready.set()

    def _give(self) -> None:
        ticket = self.standing.ticket
        if ticket is None:  # a wait inside the block was ended
            return
        with self._lock:
            now = self._clock()
            spent = max(LEAST, now - ticket.since)
            self._due[ticket.who] = min(self._due[ticket.who] + RATE * spent, now + FARTHEST)
            self._left[ticket.who] = now
            self._holder = self.standing.ticket = None
            self._go_on()


_turns = Turns()
_usual: dict[str, float] = {}  # seconds that work of a name takes, on a moving average
_within = threading.local()  # seconds that this thread spent in turns and waits within its present turn
_clicked: dict[Hashable, float] = {}  # readers -> when
_lock = threading.Lock()


@contextmanager
def turn(name: str = "unnamed", key: Hashable = None) -> Iterator[None]:
    """This session's turn to compute, for a `with` block; another click by the reader ends the wait.

    Args:
        name: What is computed, for the log.
        key: Everything that determines the result, for the log.
    """
    asked = time.monotonic()
    with pen.down(), _turns.turn(_reader(), get_run_yield_check(), _usual.get(name, 0.0)):
        begun, outer = time.monotonic(), getattr(_within, "seconds", 0.0)
        _within.seconds = 0.0
        try:
            yield
        finally:
            took = time.monotonic() - begun
            own, _within.seconds = took - _within.seconds, outer + took
            _usual[name] = 0.8 * _usual.get(name, own) + 0.2 * own
            word, mark = name.replace(" ", "-"), hash(key) & 0xFFFFFFFF
            _log.debug("turn: %s %08x took %.4f s, waited %.4f s", word, mark, own, begun - asked)


def yield_turn() -> None:
    """Within a long turn: let those go first whose requests have become more urgent."""
    if _turns.held and _turns.overtaken():
        with release_turn():
            pass


def stand(delay: float) -> None:
    """Put everything this thread computes behind the pages.

    Args:
        delay: `BEHIND` for what a page waits for, `IDLE` for what nobody has asked for yet.
    """
    _turns.standing.delay = delay


@contextmanager
def flight() -> Iterator[Standing]:
    """Make a result that others may wait for, and be as urgent as they are until it is there."""
    mine = _turns.standing
    mine.flights += 1
    try:
        yield mine
    finally:
        mine.flights -= 1
        if not mine.flights:
            mine.urgent = math.inf


def release_turn() -> AbstractContextManager[None]:
    """Release the turn for a `with` block, to wait for something that may itself need one."""
    return _turns.aside(_reader(), get_run_yield_check())


def wait(event: threading.Event, thread: Standing | None = None) -> None:
    """Wait, with the turn released, for another thread's result; another click ends the wait.

    Args:
        event: Set when the result is there.
        thread: The other thread, whose work becomes as urgent as this one's.
    """
    still_wanted, begun = get_run_yield_check(), time.monotonic()
    with pen.down(), release_turn(), _turns.urging(thread, _reader()):
        while not event.wait(EVERY):
            if still_wanted is not None:
                still_wanted()
    _within.seconds = getattr(_within, "seconds", 0.0) + time.monotonic() - begun


def calm(seconds: float) -> bool:
    """Whether nobody has clicked for some seconds, and nothing is computed or waited for."""
    with _lock:
        latest = max(_clicked.values(), default=-math.inf)
    return time.monotonic() - latest > seconds and not _turns.busy


def count_readers() -> int:
    """How many readers have clicked recently, this one included; every run of a page calls it."""
    now = time.monotonic()
    with _lock:
        _clicked[_reader()] = now
        for who in [who for who, at in _clicked.items() if now - at > GONE]:
            del _clicked[who]
        return len(_clicked)


def _reader() -> Hashable:
    """The session this thread works for; outside Streamlit, the thread itself."""
    ctx = get_script_run_ctx(suppress_warning=True)
    return ctx.session_id if ctx is not None else threading.get_ident()
