"""The cache of traces: bounded, computed once, safe between threads."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from cfviz import point_names
from cfviz.data.decode import load_image
from cfviz.data.samples import sample
from cfviz.run import inspect
from cfviz.trace import Trace
from cfviz.ui.compute import cache
from cfviz.ui.compute.cache import PerTraceCache, TraceCache, cached, trace_bytes
from cfviz.ui.compute.steps import Steps
from cfviz.ui.pages.attention.measures import WATCH
from cfviz.ui.pages.embedding.subject import WATCH as EMBEDDING
from cfviz.ui.session.state import Settings


def trace(kilobytes: int = 1) -> Trace:
    arrays = {"logits": np.zeros(2, np.float32), "pooled": np.zeros(256 * kilobytes, np.float32)}
    return Trace(arrays, ("a", "b"), "none", (32, 32), ())


def test_the_same_request_is_computed_once() -> None:
    cache, made = TraceCache(), []
    for _ in range(3):
        cache.get("key", lambda: made.append(1) or trace())
    assert made == [1]


def test_many_threads_compute_once_and_one_at_a_time() -> None:
    cache, made, inside, most = TraceCache(), [], [0], [0]

    def compute() -> Trace:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.01)
        made.append(1)
        inside[0] -= 1
        return trace()

    threads = [threading.Thread(target=cache.get, args=(n % 4, compute)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert most == [1]


def test_the_oldest_traces_leave_a_full_cache() -> None:
    cache = TraceCache(max_bytes=3 * trace_bytes(trace(100)))
    for key in "abc":
        cache.get(key, lambda: trace(100))
    cache.get("a", lambda: pytest.fail("a was dropped"))
    cache.get("d", lambda: trace(100))
    assert len(cache) == 3
    cache.get("a", lambda: pytest.fail("the one used last was dropped"))
    again = []
    cache.get("b", lambda: again.append(1) or trace(100))
    assert again == [1]


def test_a_trace_larger_than_the_cache_is_still_returned() -> None:
    cache = TraceCache(max_bytes=10)
    assert cache.get("large", lambda: trace(100)).model == "none"


def test_a_failure_is_reported_and_not_cached() -> None:
    cache = TraceCache()

    def fail() -> Trace:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("key", fail)
    assert cache.get("key", trace).model == "none"


def test_results_derived_from_a_trace_leave_with_it() -> None:
    derived, one = PerTraceCache(), trace()
    assert derived.get(one, "x", lambda: 1) == 1
    assert derived.get(one, "x", lambda: 2) == 1
    assert len(derived._kept) == 1
    del one
    gc.collect()
    assert derived._kept == {}


def test_one_forward_serves_all_pages(tiny_model) -> None:
    net, settings = tiny_model(), Settings(size=64)
    outputs, pooled = point_names.stage_outputs(net.depths), ("pooled",)
    wide = cache.widened(settings, net, pooled)
    assert wide == cache.widened(settings, net, outputs) == cache.widened(settings, net, WATCH)
    photo = load_image(sample("cat").path)
    got = [cache.trace(settings, photo, watch, net=net) for watch in (pooled, outputs, EMBEDDING, WATCH)]
    assert len({id(trace) for trace in got}) == 1
    painted = cache.trace(settings, photo.brushed("mean-rect-100.100-900.500"), outputs, net=net, wide=False)
    assert set(painted.arrays) == {*outputs, "logits"}, "a photo that is shown once keeps what is shown"
    alone = inspect(photo, net, 64, outputs)
    assert all((got[0][point] == alone[point]).all() for point in (*outputs, "logits"))


@pytest.mark.slow
def test_what_is_not_for_all_pages_is_kept_alone(tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    net, settings = tiny_model(), Settings(size=64)
    mlp = (point_names.block(0, 0, "mlp_branch"),)
    for watch in ((), mlp, ("pooled", *mlp), ("no.such.point",)):
        assert cache.widened(settings, net, watch) == watch
    monkeypatch.setattr(cache, "WIDEST", 1000)  # bytes: large groups have much attention
    assert cache.widened(settings, tiny_model(), ("pooled",)) == ("pooled",)
    monkeypatch.undo()
    monkeypatch.setattr(cache, "quick", lambda *_: False)
    assert cache.widened(settings, tiny_model(), ("pooled",)) == ("pooled",)


def test_what_states_its_bytes_is_kept_by_them() -> None:
    made: list[int] = []

    @cached(100, 3000)
    def answers(n: int) -> Steps[bytes]:
        made.append(n)
        return Steps("abc", lambda _: bytes(300), nbytes=1000 * n)

    for n in (1, 2, 1, 2, 3, 2):
        answers(n)
    assert made == [1, 2, 3, 2]


def test_messages_are_bounded_by_bytes_but_the_latest_is_kept() -> None:
    made: list[int] = []

    @cached(100, 3000)
    def message(n: int) -> bytes:
        made.append(n)
        return bytes(1000 * n)

    for n in (1, 2, 1, 2):
        message(n)
    assert made == [1, 2]  # 3000 bytes fit
    message(1)
    message(3)  # drops both
    message(3)
    assert made == [1, 2, 3]
    assert len(message(4)) == 4000
    message(4)
    assert made == [1, 2, 3, 4]
    message(1)
    message(1)
    assert made == [1, 2, 3, 4, 1]
