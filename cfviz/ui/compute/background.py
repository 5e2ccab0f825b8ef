"""Work that takes seconds: the page is drawn at once and runs again when the result is ready.

A click has to wait for the page's current run to end, so anything that takes seconds runs in the background.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from time import monotonic
from typing import Any

import streamlit as st

from cfviz.ui.session import state

from .steps import Steps

KEPT = 32  # results; the oldest is dropped first
EVERY = 0.4  # seconds between two polls
SOON = 0.05  # seconds to wait for a result before the page goes on without it
GIVEN_UP = 60.0  # seconds without a request after which unfinished work counts as abandoned
IT = "it"
_running: OrderedDict[Hashable, Steps[Any]] = OrderedDict()
_lock = threading.Lock()


def in_background(key: Hashable, make: Callable[[], Any], text: str) -> Any:
    """The result of some work, shared by all readers; None and a progress line until it is ready.

    Args:
        key: Everything that determines the result.
        make: Does the work in another thread, so it must not draw on the page.
        text: The progress line, in the reader's language.

    Raises:
        Exception: Whatever the work raised; the next run of the page tries again.
    """
    found = _poll(key, (IT,), lambda _: make(), text)
    return None if found is None else found[IT]


def in_pieces(
    key: Hashable, names: Sequence[Any], make: Callable[[Any], Any], text: str
) -> dict[Any, Any] | None:
    """Like `in_background`, for work in many pieces: other work runs in between; a bar shows the progress.

    Args:
        key: Everything that determines the results.
        names: The pieces, in the order in which they are computed.
        make: Computes one piece in another thread and stores whatever must outlive this call: once all are
            done, the results are returned and dropped.
        text: The text of the progress bar, in the reader's language.
    """
    found = _poll(key, names, make, text)
    if found is not None:
        with _lock:
            _running.pop(key, None)
    return found


def _poll(key: Hashable, names: Sequence[Any], make: Callable[[Any], Any], text: str) -> Any:
    with _lock:
        left = [k for k, old in _running.items() if old.left and monotonic() - old.polled > GIVEN_UP]
        for old in left:
            del _running[old]
        work = _running.setdefault(key, Steps(names, make))
        _running.move_to_end(key)
        while len(_running) > KEPT:
            _running.popitem(last=False)
    found = work.poll(SOON)
    if len(found) == len(names):
        return found
    _wait(work, text)
    return None


@st.fragment(run_every=EVERY)
def _wait(work: Steps[Any], text: str) -> None:
    done = len(work.poll()) / len(work.names)
    if done == 1:
        state.redraw()
    if len(work.names) == 1:
        st.markdown(f":material/hourglass_top: {text}")
    else:
        st.progress(done, text)
