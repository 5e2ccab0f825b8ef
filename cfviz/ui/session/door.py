"""Checks on a browser's messages: how many and how much a session may send, and which widget values.

Streamlit trusts all of these. Every message starts a run in a thread of its own: a few clients sending two
hundred a second kept everybody waiting for a minute, and one message of a few bytes clears all readers'
caches. A number for a select box, a string that is not an option or truncated JSON makes the widget's
deserialiser fail in every run of the session, and the page shows one redacted sentence until the reader
leaves. Streamlit offers no hook to check for that, so the methods that every message passes through are
wrapped.
"""

from __future__ import annotations

import asyncio
import logging
import reprlib
import time
import weakref
from collections.abc import Callable
from functools import cache, wraps
from typing import Any
from weakref import WeakKeyDictionary

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime import exists, get_instance
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.state import session_state
from streamlit.runtime.state.session_state import Serialized, Value, WStates
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

__all__ = ["Rate", "guard"]

BURST = 20  # messages a session may send at once
EVERY = 0.25  # seconds between two messages after that
WAITING = 4  # queued messages of one session: the latest of the page and of some of its fragments
ASKED = ("rerun_script", "app_heartbeat", "stop_script", "file_urls_request", "backend_operation_request")
MOST_UPLOADED = 600 * 2**20  # bytes of one session: weights of 400 MB, photos of 128 MB, some room
TIDY = 30.0  # seconds between checks for sessions that have ended
_log = logging.getLogger(__name__)


@cache
def guard() -> None:
    """Once per process: check every message, and every widget value when it is first read."""
    _limit_messages()
    _limit_uploads()
    _check_values()
    loop = getattr(getattr(get_instance(), "_async_objs", None), "eventloop", None) if exists() else None
    if loop is not None:  # no server in a test
        asyncio.run_coroutine_threadsafe(_tidy(), loop)


# ---------------------------------------------------------------- how many


class Rate:
    """Limits one session's messages: a burst, then one at a time; only the latest of each kind is queued.

    Args:
        handle: Handles a message.
        later: Calls a function after a number of seconds.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        handle: Callable[[BackMsg], None],
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle, self._later, self._clock = handle, later, clock
        self._free = (
            clock() - (BURST - 1) * EVERY
        )  # when the next message would be due, had there been no burst
        self._waiting: dict[str, BackMsg] = {}

    def take(self, message: BackMsg) -> None:
        """Handle a message now or when its turn comes."""
        kind = message.WhichOneof("type")
        if kind not in ASKED:
            _log.warning("dropped a message of a kind that no page here sends: %s", kind)
            return
        if not self._waiting and self._left() <= 0:
            self._now(message)
        elif kind == "rerun_script":
            if not self._waiting:
                _log.warning("a session sends more than %d messages a second; they wait", 1 / EVERY)
                self._later(self._left(), self._next)
            fragment = message.rerun_script.fragment_id
            self._waiting.pop(fragment, None)
            self._waiting[fragment] = message
            if len(self._waiting) > WAITING:
                del self._waiting[next(iter(self._waiting))]

    def _left(self) -> float:
        """Seconds until the next message may be handled."""
        return self._free - self._clock()

    def _now(self, message: BackMsg) -> None:
        self._free = max(self._free, self._clock() - (BURST - 1) * EVERY) + EVERY
        self._handle(message)

    def _next(self) -> None:
        message = self._waiting.pop(next(iter(self._waiting)))
        if self._waiting:
            self._later(EVERY, self._next)
        self._now(message)


def _limit_messages() -> None:
    handle = AppSession.handle_backmsg
    rates: WeakKeyDictionary[AppSession, Rate] = WeakKeyDictionary()

    @wraps(handle)
    def limited(session: AppSession, message: BackMsg) -> None:
        rate = rates.get(session)
        if rate is None:
            later = asyncio.get_running_loop().call_later
            mine = weakref.ref(session)

            def give(one: BackMsg) -> None:
                if (its := mine()) is not None:
                    handle(its, one)

            rate = rates[session] = Rate(give, later)
        rate.take(message)

    setattr(AppSession, handle.__name__, limited)


# ---------------------------------------------------------------- how much


def _limit_uploads() -> None:
    add = MemoryUploadedFileManager.add_file

    @wraps(add)
    def limited(manager: MemoryUploadedFileManager, session_id: str, file: UploadedFileRec) -> None:
        kept = manager.file_storage.get(session_id, {})
        others = sum(len(one.data) for id, one in list(kept.items()) if id != file.file_id)
        if others + len(file.data) > MOST_UPLOADED:
            _log.warning("refused an upload: the session has %d MB already", others >> 20)
            raise ValueError(f"expected at most {MOST_UPLOADED >> 20} MB in one session")
        add(manager, session_id, file)

    setattr(MemoryUploadedFileManager, add.__name__, limited)


async def _tidy() -> None:
    """Drop expired sessions; Streamlit itself does so only when another reader leaves."""
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


def _check_values() -> None:
    read = WStates.__getitem__

    @wraps(read)
    def checked(states: WStates, widget: str) -> Any:
        kept, about = states.states.get(widget), states.widget_metadata.get(widget)
        if about is None or not isinstance(kept, Serialized):
            return read(states, widget)
        try:
            came = kept.value.WhichOneof("value")
            if came is not None and came != about.value_type:
                raise ValueError(f"expected {about.value_type}, got {came}")
            value = about.deserializer(session_state.unpack_widget_state_value(kept.value))
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
