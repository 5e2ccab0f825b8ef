"""Work that takes a while, done beside the page: begun once, shared by all readers, shown when it is there.

While a page runs, a click waits until it has run to its end; work of seconds therefore does not belong into
the run. It goes into one queue, so that it meets no other such work, and the page looks after it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import streamlit as st

KEPT = 32  # results; the oldest makes room
EVERY = 0.4  # seconds between two looks


class Queue:
    """One thread that works through what is asked, and the latest results."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "later")
        self._known: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._book = threading.Lock()

    def ask(self, key: Hashable, make: Callable[[], Any]) -> Future[Any]:
        """The work behind a key, begun if nobody has; what failed is begun again.

        Args:
            key: All that decides the result.
            make: Does the work; it may not draw on the page.
        """
        with self._book:
            known = self._known.get(key)
            if known is None or (known.done() and known.exception() is not None):
                known = self._known[key] = self._worker.submit(make)
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
            return known


@st.cache_resource(show_spinner=False)
def queue() -> Queue:
    """The one queue of this process."""
    return Queue()


def later(key: Hashable, make: Callable[[], Any], text: str) -> Any:
    """The result of some work, or None and a line that says what is being done.

    The page runs again when the work is done.

    Args:
        key: All that decides the result; also unique on the page.
        make: As for `Queue.ask`.
        text: What is being done, in the reader's language.

    Raises:
        ValueError: What the work raised.
    """
    work = queue().ask(key, make)
    if work.done():
        return work.result()
    _wait(work, text)
    return None


@st.fragment(run_every=EVERY)
def _wait(work: Future[Any], text: str) -> None:
    if work.done():
        st.rerun()
    st.markdown(f":material/hourglass_top: {text}")
