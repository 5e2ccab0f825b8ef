"""Some seconds' work, shown when it is there: the page is drawn at once and runs again at the end.

While a page runs, a click waits until the run has ended; anything that takes seconds therefore runs in the
background.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from time import monotonic
from typing import Any

import streamlit as st

from .steps import Steps

KEPT = 32  # results; the oldest makes room
EVERY = 0.4  # seconds between two polls
SOON = 0.05  # seconds in which a result is still waited for
GIVEN_UP = 60.0  # seconds after which nobody asks any more for what is not done
IT = "it"
_known: OrderedDict[Hashable, Steps[Any]] = OrderedDict()
_book = threading.Lock()


def later(key: Hashable, make: Callable[[], Any], text: str) -> Any:
    """The result of some work, shared by all readers, or None and a line that says what is being done.

    Args:
        key: All that decides the result.
        make: Does the work, in another thread: it may not draw on the page.
        text: What is being done, in the reader's language.

    Raises:
        Exception: What the work raised; the next run of the page tries again.
    """
    found = _poll(key, (IT,), lambda _: make(), text)
    return None if found is None else found[IT]


def in_pieces(
    key: Hashable, names: Sequence[Any], make: Callable[[Any], Any], text: str
) -> dict[Any, Any] | None:
    """As `later`, for work of many pieces: others' come in between, and a bar says how far it is.

    Args:
        key: All that decides the results.
        names: Of the pieces, in the order in which they are made.
        make: Makes one of them, in another thread, and keeps what must outlive this call: once all are done,
            the results are returned and forgotten.
        text: What is being done, in the reader's language.
    """
    found = _poll(key, names, make, text)
    if found is not None:
        with _book:
            _known.pop(key, None)
    return found


def _poll(key: Hashable, names: Sequence[Any], make: Callable[[Any], Any], text: str) -> Any:
    with _book:
        left = [k for k, old in _known.items() if old.left and monotonic() - old.polled > GIVEN_UP]
        for old in left:
            del _known[old]
        work = _known.setdefault(key, Steps(names, make))
        _known.move_to_end(key)
        while len(_known) > KEPT:
            _known.popitem(last=False)
    found = work.poll(SOON)
    if len(found) == len(names):
        return found
    _wait(work, text)
    return None


@st.fragment(run_every=EVERY)
def _wait(work: Steps[Any], text: str) -> None:
    done = len(work.poll()) / len(work.names)
    if done == 1:
        st.rerun()
    if len(work.names) == 1:
        st.markdown(f":material/hourglass_top: {text}")
    else:
        st.progress(done, text)
