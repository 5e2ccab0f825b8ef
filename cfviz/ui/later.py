"""Some seconds' work, shown when it is there: the page is drawn at once and runs again at the end.

While a page runs, a click waits until it has run to its end; work of seconds therefore is done behind it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import streamlit as st

from .steps import Steps

KEPT = 32  # results; the oldest makes room
EVERY = 0.4  # seconds between two looks
SOON = 0.05  # seconds in which a result is still waited for
IT = "it"
_known: OrderedDict[Hashable, Steps[Any]] = OrderedDict()
_book = threading.Lock()


def later(key: Hashable, make: Callable[[], Any], text: str) -> Any:
    """The result of some work, shared by all readers, or None and a line that says what is being done.

    Args:
        key: all that decides the result.
        make: does the work, in another thread: it may not draw on the page.
        text: what is being done, in the reader's language.

    Raises:
        Exception: what the work raised; the next run of the page tries again.
    """
    with _book:
        work = _known.setdefault(key, Steps((IT,), lambda _: make()))
        _known.move_to_end(key)
        while len(_known) > KEPT:
            _known.popitem(last=False)
    found = work.look(SOON)
    if IT in found:
        return found[IT]
    _wait(work, text)
    return None


@st.fragment(run_every=EVERY)
def _wait(work: Steps[Any], text: str) -> None:
    if work.look():
        st.rerun()
    st.markdown(f":material/hourglass_top: {text}")
