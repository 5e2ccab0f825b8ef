"""What is computed once and shared by every reader: models and traces, bounded and safe between threads."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import streamlit as st

from cfviz.data.decode import Photo
from cfviz.run import inspect, share_cores
from cfviz.trace import Trace

from . import weights
from .state import Settings

MAX_BYTES = 256 * 2**20  # of arrays in kept traces


class TraceCache:
    """The latest traces, least recently used out first; equal requests at the same time compute once.

    Forwards of different readers wait for each other: they share the same cores (or card), so running them
    side by side would only make every one of them slower.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Trace] = OrderedDict()
        self._bytes = 0
        self._book = threading.Lock()
        self._computing = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], Trace]) -> Trace:
        """The trace behind a key, computed if it is not there.

        Args:
            key: all that decides the result.
            compute: makes the trace; its exceptions reach the caller and nothing is kept.
        """
        if (found := self._find(key)) is not None:
            return found
        with self._computing:
            if (found := self._find(key)) is not None:  # another reader asked for the same meanwhile
                return found
            trace = compute()
            self._keep(key, trace)
        return trace

    def __len__(self) -> int:
        return len(self._kept)

    def _find(self, key: Hashable) -> Trace | None:
        with self._book:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, trace: Trace) -> None:
        with self._book:
            self._kept[key] = trace
            self._bytes += size_of(trace)
            while self._bytes > self.max_bytes and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= size_of(dropped)


class Derived:
    """What is made of a trace (pictures, packed messages), kept exactly as long as the trace itself."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[Hashable, Any]] = {}
        self._lock = threading.Lock()

    def get(self, trace: Trace, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for this trace and key."""
        with self._lock:
            if id(trace) not in self._kept:
                self._kept[id(trace)] = {}
                weakref.finalize(trace, self._kept.pop, id(trace), None)
            mine = self._kept[id(trace)]
        if key not in mine:
            mine[key] = make()
        return mine[key]


_derived = Derived()


def derived(trace: Trace, key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` returns, computed once for this trace and key, shared, and dropped with the trace.

    Args:
        trace: from :func:`trace`.
        key: names what is made and all that decides it beside the trace, e.g. ``("pictures", lang)``.
        make: takes nothing.
    """
    return _derived.get(trace, key, make)


def size_of(trace: Trace) -> int:
    """Bytes of a trace's arrays and picture."""
    pixels = 3 * trace.crop.width * trace.crop.height if trace.crop is not None else 0
    return pixels + sum(array.nbytes for array in trace.arrays.values())


@st.cache_resource(show_spinner=False)
def traces() -> TraceCache:
    """The one cache of this process."""
    return TraceCache()


@st.cache_resource(show_spinner=False)
def settle() -> bool:
    """Once a process, after the heavy imports: take what they made out of the garbage collector's sight.

    Streamlit collects after every rerun, holding every thread; with torch loaded and not frozen that is some
    70 ms of each click.
    """
    gc.collect()
    gc.freeze()
    return True


def trace(settings: Settings, photo: Photo, watch: tuple[str, ...] = (), mode: str = "crop") -> Trace:
    """The trace of a photo under these settings, computed once and shared.

    Args:
        settings: model, size, device and number format.
        photo: the opened photo.
        watch: points to keep beside the logits.
        mode: how the photo is brought to size.
    """
    net = weights.model(settings)
    points = tuple(sorted(set(watch)))
    sha = getattr(net.provenance, "sha256", None)
    key = (photo.sha256, settings.model, sha, settings.size, settings.device, settings.dtype, mode, points)

    def compute() -> Trace:
        share_cores()
        return inspect(photo, net, settings.size, points, dtype=settings.dtype, mode=mode)

    return traces().get(key, compute)
