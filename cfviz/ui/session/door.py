"""Checks on a browser's messages: how many a session may send, and which widget values.

Streamlit trusts all of these. Every message starts a run in a thread of its own: a few clients sending two
hundred a second kept everybody waiting for a minute, and one message of a few bytes clears all readers'
caches. A number for a select box, a string that is not an option or truncated JSON makes the widget's
deserialiser fail in every run of the session, and the page shows one redacted sentence until the reader
leaves. Streamlit offers no hook to check for that, so the methods that every message passes through are
wrapped.
"""

from __future__ import annotations

import asyncio
import reprlib
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache, wraps
from typing import Any
from weakref import WeakKeyDictionary

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime import get_instance
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.state import session_state
from streamlit.runtime.state.common import GENERATED_ELEMENT_ID_PREFIX
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX as INTERNAL
from streamlit.runtime.state.session_state import Serialized, Value, WStates

from . import log
from .pace import Bucket

__all__ = ["Rate", "guard"]

BURST = 6  # messages a session may send at once
EVERY = 0.25  # seconds between two messages after that
AT_ONCE = 6  # runs that may be young at a time
YOUNG = 0.5  # seconds for which a run counts; one that takes longer mostly waits for a computation
STARTS = 0.05  # seconds in which a run has hardly begun, and does not say that it runs
SOON = 0.01  # seconds between two looks whether there is room for another run
MOST_NAMES = 400  # files of one request for places to send them to
LONGEST = 2**14  # letters of a link; with all parts of a model changed in the lab it has some 2,000
WAITING = 16  # queued messages of one session: the latest of each page and of each of its fragments
CLICKS = ("trigger_value", "string_trigger_value", "chat_input_value", "json_trigger_value")
ASKED = ("rerun_script", "app_heartbeat", "stop_script", "file_urls_request", "backend_operation_request")
CALM = 5.0  # seconds without a message after which a session that sent too much is as any other
TOLD = 60.0  # seconds between two lines in the log about one session
LIGHT = ("app_heartbeat", "stop_script")  # messages that start no run
TIDY = 30.0  # seconds between checks for sessions that have ended
_log = log.paced(__name__)


@cache
def guard() -> None:
    """Once per process: check every message, and every widget value when it is first read."""
    _limit_messages()
    _check_values()


# ---------------------------------------------------------------- how many


class Desk:
    """Decides whose message is handled next, for all sessions of the server.

    A message is handled at once while few runs are young. Else the session comes first that has sent least of
    late. Sessions that send too much share one lane: one message at a time, session by session. However many
    of them flood the server, together they get no more runs than one would alone.

    Args:
        later: Calls a function after a number of seconds.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later, self.clock = later, clock
        self._waiting: list[Rate] = []
        self._lane: deque[Rate] = deque()
        self._young: list[tuple[float, Rate]] = []  # when a run began, and whose it is
        self._lane_free = clock()
        self._moving = False

    @property
    def crowded(self) -> bool:
        """Whether messages have to wait, even of a session that sends little."""
        now = self.clock()
        self._young = [
            (begun, one)
            for begun, one in self._young
            if now - begun < STARTS or (now - begun < YOUNG and one.running())
        ]
        return bool(self._waiting) or len(self._young) >= AT_ONCE

    def begin(self, session: Rate) -> None:
        """Note that a session's message is about to be handled."""
        self._young.append((self.clock(), session))

    def join(self, session: Rate) -> None:
        """Let a session's waiting messages be handled when their turn comes."""
        if session.debt > 0:
            self._lane_free = max(self._lane_free, self.clock() + (0 if self._lane else EVERY))
            self._lane.append(session)
        else:
            self._waiting.append(session)
        self._move()

    def _move(self) -> None:
        if (self._lane or self._waiting) and not self._moving:
            self._moving = True
            wait = SOON if self._waiting else max(SOON, self._lane_free - self.clock())
            self._later(wait, self._next)

    def _next(self) -> None:
        self._moving, before = False, self._waiting
        try:
            first, self._waiting = [one for one in self._waiting if one.debt <= 0], []
            self._lane.extend(one for one in before if one.debt > 0)  # it went on sending
            if first and not self.crowded:
                session = min(first, key=lambda one: one.debt)
                first.remove(session)
                self._handle(session)
            elif not first and self._lane_free <= self.clock():
                self._lane_free = self.clock() + EVERY
                self._handle(self._lane.popleft())
            self._waiting = first + self._waiting
        finally:
            self._move()

    def _handle(self, session: Rate) -> None:
        self.begin(session)
        if session.next():
            self.join(session)


class Rate:
    """Limits one session's messages: a burst, then one at a time; only the latest of each kind is queued.

    Args:
        handle: Handles a message.
        desk: Where messages wait.
        running: Returns whether the session's page is being run.
    """

    def __init__(
        self, handle: Callable[[BackMsg], None], desk: Desk, running: Callable[[], bool] = lambda: False
    ) -> None:
        self._handle, self._desk, self.running = handle, desk, running
        self._sent = Bucket(BURST, 1 / EVERY, desk.clock, CALM / EVERY - 1)
        self._told = -TOLD
        self._waiting: dict[tuple[str, str, str], BackMsg] = {}

    @property
    def debt(self) -> float:
        """Seconds by which the session is ahead of the messages that it may send; negative if it is not."""
        return -min(self._sent.left, BURST - 1) * EVERY

    def take(self, message: BackMsg) -> None:
        """Handle a message now or when its turn comes."""
        kind = message.WhichOneof("type")
        files, link = message.file_urls_request.file_names, message.rerun_script.query_string
        if kind not in ASKED or len(files) > MOST_NAMES or len(link) > LONGEST:
            _log.warning("dropped a message that no page here sends: %s", kind)
            return
        self._sent.take()
        if kind in LIGHT:
            self._handle(message)
        elif not self._waiting and self.debt <= 0 and not self._desk.crowded:
            self._desk.begin(self)
            self._handle(message)
        elif kind == "rerun_script":
            self._wait(message)

    def _wait(self, message: BackMsg) -> None:
        asked = message.rerun_script
        place = asked.page_script_hash, asked.page_name, asked.fragment_id
        old = self._waiting.pop(place, None)
        if old is not None:
            _keep_clicks(old, message)
        first = not self._waiting and old is None
        self._waiting[place] = message
        if len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]
        if first:
            self._desk.join(self)
            now = self._desk.clock()
            if self.debt > 0 and now - self._told > TOLD:
                self._told = now
                _log.warning("a session sends more than %d messages a second; they wait", 1 / EVERY)

    def next(self) -> bool:
        """Handle the message that has waited longest; return whether more are waiting."""
        self._handle(self._waiting.pop(next(iter(self._waiting))))
        return bool(self._waiting)


def _keep_clicks(old: BackMsg, new: BackMsg) -> None:
    """Add to a message the clicks of the one it replaces: a browser sends a click once, the rest always."""
    newer = {widget.id for widget in new.rerun_script.widget_states.widgets}
    clicks = (
        widget
        for widget in old.rerun_script.widget_states.widgets
        if widget.WhichOneof("value") in CLICKS and widget.id not in newer
    )
    new.rerun_script.widget_states.widgets.extend(clicks)


def _only_widgets(message: BackMsg) -> None:
    """Drop values that are of no widget: a key of the session's state would make every later run fail."""
    widgets = message.rerun_script.widget_states.widgets
    good = [one for one in widgets if one.id.startswith((GENERATED_ELEMENT_ID_PREFIX, INTERNAL))]
    if len(good) < len(widgets):
        _log.warning("dropped %d values of no widget", len(widgets) - len(good))
        states = WidgetStates(widgets=good)
        message.rerun_script.widget_states.CopyFrom(states)


def _limit_messages() -> None:
    handle = AppSession.handle_backmsg
    rates: WeakKeyDictionary[AppSession, Rate] = WeakKeyDictionary()
    desk = Desk(lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))

    @wraps(handle)
    def limited(session: AppSession, message: BackMsg) -> None:
        rate = rates.get(session)
        if rate is None:
            mine = weakref.ref(session)

            def give(one: BackMsg) -> None:
                its = mine()
                if its is None or not get_instance().is_active_session(its.id):
                    return  # the reader left while the message waited, and asks anew on coming back
                _only_widgets(one)
                handle(its, one)

            def running() -> bool:
                its = mine()
                return its is not None and its._state == AppSessionState.APP_IS_RUNNING

            rate = rates[session] = Rate(give, desk, running)
        rate.take(message)

    setattr(AppSession, handle.__name__, limited)


# ---------------------------------------------------------------- how long


async def tidy() -> None:
    """Drop expired sessions now and then; Streamlit itself does so only when another reader leaves."""
    while True:
        await asyncio.sleep(TIDY)
        forget_ended(get_instance())


def forget_ended(runtime: Any) -> int:
    """Drop the sessions that nobody can return to, with their uploads; return how many were dropped."""
    storage = getattr(getattr(runtime, "_session_mgr", None), "_session_storage", None)
    expire = getattr(getattr(storage, "_cache", None), "expire", None)
    ended = list(expire() or ()) if expire is not None else []
    for _, kept in ended:
        kept.session.shutdown()  # not left to the garbage collector, which skips what was frozen at start-up
    return len(ended)


# ---------------------------------------------------------------- what


WHOLE = {("int_value", "double_value")}  # a field for numbers: the browser sends whole ones as integers


def _check_values() -> None:
    read = WStates.__getitem__

    @wraps(read)
    def checked(states: WStates, widget: str) -> Any:
        kept, about = states.states.get(widget), states.widget_metadata.get(widget)
        if about is None or not isinstance(kept, Serialized):
            return read(states, widget)
        try:
            came = kept.value.WhichOneof("value")
            if came is not None and (came, about.value_type) not in WHOLE and came != about.value_type:
                raise ValueError(f"expected {about.value_type}, got {came}")
            given = session_state.unpack_widget_state_value(kept.value)
            if came == "json_value" and isinstance(given, str):  # read again, with a traceback in the log
                raise ValueError("expected an object, got a text")
            value = about.deserializer(given)
            _of_the_options(about.deserializer, value)
        except Exception as error:  # a forged value can raise anything in a deserialiser
            _log.warning("dropped what a browser said of %s: %s", widget[-60:], reprlib.repr(str(error)))
            value = about.deserializer(None)
        states.states[widget] = Value(value)
        return value

    setattr(WStates, read.__name__, checked)


def _of_the_options(reader: Any, value: Any) -> None:
    """Refuse a choice that was not on offer; Streamlit passes on strings that are not options."""
    options = getattr(getattr(reader, "__self__", None), "options", None)
    if options is None:
        return
    for one in value if isinstance(value, list) else [value]:
        if one is not None and one not in options:
            raise ValueError("not one of the options")
