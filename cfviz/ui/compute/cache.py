"""Thread-safe, bounded caches of the models and traces that all readers share."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from fnmatch import fnmatchcase
from functools import update_wrapper
from inspect import signature
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st
from cachetools import LRUCache

from cfviz import point_names
from cfviz.data.decode import Photo
from cfviz.data.images import Prepared, prepare
from cfviz.hooks import points
from cfviz.measured import quick
from cfviz.models.crossformer import CrossFormer
from cfviz.run import inspect_prepared, share_cores
from cfviz.trace import Trace
from cfviz.ui.session import pen, queue
from cfviz.ui.session.budget import machine_memory
from cfviz.ui.session.state import Settings

from . import keys, models
from .memory import keep_freed

MAX_BYTES = 1024 * 2**20  # of arrays in cached traces: more than nano needs for the gallery on all pages
PART = 8  # cached traces take at most 1/8 of the machine's memory
P = ParamSpec("P")
R = TypeVar("R")
SWITCH = 0.0001  # seconds a thread may hold the interpreter while others wait for it
SWEEP = 30.0  # minimum seconds between garbage collections


class SingleFlight:
    """Computes concurrent equal requests once; computations for different readers take turns."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, tuple[threading.Event, queue.Standing]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, key: Hashable, find: Callable[[], Any], make: Callable[[], Any]) -> Any:
        """The result of `find`, or of `make`, which only one of the waiting callers runs.

        Args:
            name: What is computed, for the queue's log.
            key: Everything that determines the result.
            find: Looks up the result that `make` stored; returns None if there is none.
            make: Computes and stores the result; exceptions reach the caller, and another waiter retries.
        """
        with queue.flight() as mine:
            while True:
                with self._lock:
                    if (found := find()) is not None:
                        return found
                    if (flight := self._flights.get(key)) is None:
                        done = threading.Event()
                        self._flights[key] = done, mine
                        break
                queue.wait(*flight)
            try:
                with queue.turn(name, key):
                    return make()
            finally:
                with self._lock:
                    del self._flights[key]
                done.set()


class TraceCache:
    """The most recently used traces, the least recently used evicted first; see `SingleFlight`."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self.max_bytes = memory_limit() if max_bytes is None else max_bytes
        self._kept: LRUCache[Hashable, Trace] = LRUCache(
            self.max_bytes, lambda trace: min(trace_bytes(trace), self.max_bytes)
        )  # the latest is kept regardless of size
        self._lock = threading.Lock()
        self._once = SingleFlight()

    def get(self, key: Hashable, compute: Callable[[], Trace]) -> Trace:
        """The trace for a key, computed if it is not cached.

        Args:
            key: Everything that determines the result.
            compute: Computes the trace; if it raises, the caller gets the exception and nothing is cached.
        """
        return self._once.get("trace", key, lambda: self._find(key), lambda: self._keep(key, compute()))

    def __len__(self) -> int:
        return len(self._kept)

    def _find(self, key: Hashable) -> Trace | None:
        with self._lock:
            return self._kept.get(key)

    def _keep(self, key: Hashable, trace: Trace) -> Trace:
        with self._lock:
            self._kept[key] = trace
        return trace


class PerTraceCache:
    """Results derived from a trace (pictures, packed messages), kept exactly as long as the trace itself."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[Hashable, Any]] = {}
        self._lock = threading.Lock()
        self._once = SingleFlight()

    def get(self, trace: Trace, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result of `make`, computed once for this trace and key."""
        with self._lock:
            if id(trace) not in self._kept:
                self._kept[id(trace)] = {}
                weakref.finalize(trace, self._kept.pop, id(trace), None)
            mine = self._kept[id(trace)]
        name = f"derived.{key[0] if isinstance(key, tuple) else key}"
        boxed = self._once.get(
            name, (id(trace), key), lambda: mine.get(key), lambda: mine.setdefault(key, (make(),))
        )
        return boxed[0]


_derived = PerTraceCache()


def cached_with_trace(trace: Trace, key: Hashable, make: Callable[[], Any]) -> Any:
    """The result of `make`, computed once for this trace and key, shared, and dropped with the trace.

    Args:
        trace: From `trace`.
        key: Names the result and everything besides the trace that determines it, e.g. `("pictures", lang)`.
        make: Computes the result; takes no arguments.
    """
    return _derived.get(trace, key, make)


class CachedFunction(Generic[P, R]):
    """A function that computes once for equal arguments; see `cached`."""

    def __init__(self, compute: Callable[P, R], entries: int, max_bytes: float = float("inf")) -> None:
        update_wrapper(self, compute)
        self.compute, self.entries, self.max_bytes = compute, entries, max_bytes
        self._kept: LRUCache[Hashable, tuple[R]] = LRUCache(
            max_bytes, lambda boxed: min(bytes_of(boxed[0]), max_bytes)
        )
        self._lock, self._once = threading.Lock(), SingleFlight()
        self._signature = signature(compute)
        self._name = f"{compute.__module__.removeprefix('cfviz.ui.pages.')}.{compute.__name__}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result, computed if it is not cached."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        key = tuple(value for name, value in bound.arguments.items() if not name.startswith("_"))

        def make() -> tuple[R]:
            return self._keep(key, self.compute(*args, **kwargs))

        return self._once.get(self._name, key, lambda: self._find(key), make)[0]

    def clear(self) -> None:
        """Drop all cached results."""
        with self._lock:
            self._kept.clear()

    def _find(self, key: Hashable) -> tuple[R] | None:
        with self._lock:
            return self._kept.get(key)

    def _keep(self, key: Hashable, result: R) -> tuple[R]:
        with self._lock:
            self._kept[key] = (result,)
            while len(self._kept) > self.entries:
                self._kept.popitem()
        return (result,)


def bytes_of(result: Any) -> int:
    """Bytes of a message, an array or whatever states its `nbytes`, else 0.

    A message in parts counts twice: the parts are kept again as sent.
    """
    if isinstance(result, bytes):
        return len(result)
    return getattr(result, "nbytes", 2 * len(getattr(result, "body", b"")))


def cached(entries: int, max_bytes: float = float("inf")) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
    """Make a function compute once for equal arguments and share the result with every reader.

    Concurrent equal requests compute once, and computations take turns (see `SingleFlight`). As with
    Streamlit's own caches, arguments whose names begin with an underscore are not part of the key. The
    result must not be modified.

    Args:
        entries: How many results to keep, the least recently used evicted first.
        max_bytes: How many bytes to keep, see `bytes_of`; the latest is kept regardless of size.
    """
    return lambda compute: CachedFunction(compute, entries, max_bytes)


def memory_limit() -> int:
    """Bytes that cached traces may take on this machine."""
    memory = machine_memory()
    return MAX_BYTES if memory is None else min(MAX_BYTES, memory // PART)


def trace_bytes(trace: Trace) -> int:
    """Bytes of a trace's arrays and picture."""
    pixels = 3 * trace.crop.width * trace.crop.height if trace.crop is not None else 0
    return pixels + sum(array.nbytes for array in trace.arrays.values())


@st.cache_resource(show_spinner=False)
def trace_cache() -> TraceCache:
    """The one cache of this process."""
    return TraceCache()


@st.cache_resource(show_spinner=False)
def tune_interpreter() -> Sweeper:
    """Once per process, after the heavy imports: hide their objects from the garbage collector, keep memory.

    A collection stops every thread; with torch loaded and not frozen, for some 70 ms. Threads also hand over
    the interpreter sooner than after Python's default 5 ms: a forward pass releases it at each of its many
    operations, and would wait that long to get it back every time while pages are being drawn.
    """
    sys.setswitchinterval(SWITCH)
    pen.share()
    keep_freed()
    gc.freeze()  # uncollected: imports leave next to no garbage, and looking for it takes half a second
    return Sweeper()


class Sweeper:
    """Collects garbage now and then while the app is in use.

    Streamlit would collect after every rerun, which under load takes a third of all the time;
    `.streamlit/config.toml` turns that off. Memory is freed at the next sweep at the latest.
    """

    def __init__(self, every: float = SWEEP, collect: Callable[[], object] = gc.collect) -> None:
        self.every, self.collect = every, collect
        self._due = threading.Lock()

    def schedule(self) -> None:
        """Called when a page runs: schedule a sweep unless one is already pending."""
        if self._due.acquire(blocking=False):
            timer = threading.Timer(self.every, self._sweep)
            timer.daemon = True
            timer.start()

    def _sweep(self) -> None:
        self._due.release()
        self.collect()


def prepared(settings: Settings, photo: Photo) -> Prepared:
    """A photo as the model gets it under these settings, prepared once for all that a page shows of it.

    It is shared: its tensor and its picture must not be modified.
    """
    return _prepared(photo.sha256, keys.framing(settings), photo, settings)


@cached(8)
def _prepared(sha256: str, framing: str, _photo: Photo, _settings: Settings) -> Prepared:
    s = _settings
    return prepare(_photo, s.size, s.mode, centre=s.centre)


def trace(
    settings: Settings,
    photo: Photo,
    watch: tuple[str, ...] = (),
    net: CrossFormer | None = None,
    wide: bool = True,
) -> Trace:
    """The trace of a photo under these settings, computed once and shared.

    Args:
        settings: Model, size, fitting, device and number format; for another photo than the chosen one,
            `Settings.elsewhere`.
        photo: The opened photo.
        watch: Points to keep besides the logits; the trace may hold more, see `widened`.
        net: The model of these settings, for a thread without a session to look it up in.
        wide: Whether other pages show this photo, too, so that their points are kept as well.
    """
    net = models.model(settings) if net is None else net
    kept = tuple(sorted(set(widened(settings, net, watch) if wide else watch)))
    key = (keys.on_photo(settings, net, photo), photo.name, kept)

    def compute() -> Trace:
        share_cores()
        return inspect_prepared(photo, prepared(settings, photo), net, kept, settings.centre)

    return trace_cache().get(key, compute)


# The points that the pages show, besides the logits.
COMMON = (
    *(point_names.attention(point=point) for point in ("q", "k", "v", "bias", "probs", "out")),
    point_names.block(), *point_names.embeddings(), point_names.embedding(0, "out"), "pooled",
)  # fmt: skip
WIDEST = 16 * 2**20  # bytes of attention; nano at 224 px has 6 MB, and 19 MB at all common points
_widened: WeakKeyDictionary[CrossFormer, dict[Hashable, tuple[str, ...]]] = WeakKeyDictionary()


def widened(settings: Settings, net: CrossFormer, watch: tuple[str, ...]) -> tuple[str, ...]:
    """The points to keep so that one forward serves all pages, if they are few enough in bytes.

    Without this, each page would run its own forward for the same photo. A prediction alone is left as it is:
    its time is shown, and keeping points takes time.

    Args:
        settings: The input size.
        net: The model.
        watch: Points as names or patterns.

    Returns:
        Patterns for all common points if they contain those of `watch`, else `watch`.
    """
    if not watch:
        return watch
    known, key = _widened.setdefault(net, {}), (settings.size, watch)
    if key not in known:
        names = points(net)
        common = {pattern: _matching(names, pattern) for pattern in COMMON}
        there, wanted = set().union(*common.values()), [_matching(names, pattern) for pattern in watch]
        fits = quick(net, settings.sides) and _attention_bytes(net, settings.sides) <= WIDEST
        inside = fits and all(some and some <= there for some in wanted)
        known[key] = tuple(pattern for pattern, some in common.items() if some) if inside else watch
    return known[key]


def _attention_bytes(net: CrossFormer, size: tuple[int, int]) -> int:
    stages = zip(net.groupings(*size), net.num_heads, strict=True)
    return sum(4 * heads * g.nG * g.N**2 for blocks, heads in stages for g in blocks)


def _matching(names: Iterable[str], pattern: str) -> set[str]:
    return {name for name in names if fnmatchcase(name, pattern)}
