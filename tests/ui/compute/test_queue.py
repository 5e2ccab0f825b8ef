"""The queue for computing: one at a time, readers in turn, waits that can be abandoned, no deadlock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from bench.load import TURN
from cfviz.trace import Trace
from cfviz.ui.compute import cache
from cfviz.ui.compute.cache import SingleFlight, TraceCache, cached
from cfviz.ui.session import queue
from cfviz.ui.session.queue import Turns
from tests.conftest import SOON, join, until


def asks(
    turns: Turns, who: str, order: list[str], still_wanted=None, cost: float = 0.0, delay: float = queue.PAGE
) -> threading.Thread:
    """Start a thread that wants a turn; return once it waits."""

    def work() -> None:
        turns.standing.delay = delay
        try:
            with turns.turn(who, still_wanted, cost):
                order.append(who)
        except BaseException as error:  # as when Streamlit ends a run
            order.append(f"{who} left: {error}")

    before = turns.length
    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: turns.length > before or not thread.is_alive())
    return thread


def test_readers_take_turns_however_much_one_asks() -> None:
    turns, order = Turns(), []
    with turns.turn("first"):
        waiting = [asks(turns, who, order) for who in "aaaabbc"]
    join(*waiting)
    assert order == list("abcabaa")
    assert turns.length == 0


def test_short_work_goes_first_but_long_work_does_not_wait_for_ever() -> None:
    clock, order = [0.0], []
    turns = Turns(lambda: clock[0])
    with turns.turn("first"):
        dear = asks(turns, "110 ablations", order, cost=1.0)
        clock[0] = queue.RATE - 0.5
        cheap = asks(turns, "a prediction", order, cost=0.05)
        clock[0] = queue.RATE + 0.5
        late = asks(turns, "a late prediction", order, cost=0.05)
    join(dear, cheap, late)
    assert order == ["a prediction", "110 ablations", "a late prediction"]


def test_readers_who_computed_much_wait_behind_newcomers() -> None:
    clock, order = [0.0], []
    turns = Turns(lambda: clock[0])
    with turns.turn("busy"):
        clock[0] = 1.0
    with turns.turn("first"):
        again = asks(turns, "busy", order)
        clock[0] = queue.RATE - 0.5
        new = asks(turns, "new", order)
    join(again, new)
    assert order == ["new", "busy"]
    clock[0] += queue.PAUSE + 1.0  # it has paused; what comes now is another click
    with turns.turn("first"):
        again = asks(turns, "busy", order)
        clock[0] += 0.1
        new = asks(turns, "new", order)
    join(again, new)
    assert order[2:] == ["busy", "new"]


def test_pages_come_before_their_background_work_and_that_before_work_ahead_of_time() -> None:
    clock, order = [0.0], []
    turns = Turns(lambda: clock[0])
    with turns.turn("first"):
        threads = [
            asks(turns, "idle", order, delay=queue.IDLE),
            asks(turns, "behind", order, delay=queue.BEHIND),
            asks(turns, "page", order),
        ]
        clock[0] = queue.BEHIND + 0.1
        threads.append(asks(turns, "late page", order))
        clock[0] = 1000.0
        threads.append(asks(turns, "later", order, delay=queue.BEHIND))
    join(*threads)
    assert order == ["page", "behind", "late page", "later", "idle"]


def test_readers_are_neither_forgotten_too_soon_nor_kept_for_ever() -> None:
    clock = [0.0]
    turns = Turns(lambda: clock[0])
    for n in range(100):
        clock[0] += 1.0
        with turns.turn(n):
            pass
    assert len(turns._due) == len(turns._left) <= 2


def test_what_a_reader_waits_for_is_as_urgent_as_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result made ahead of time becomes urgent once somebody needs it."""
    turns, once, order, kept = Turns(), SingleFlight(), [], {}
    monkeypatch.setattr(queue, "_turns", turns)

    def ahead() -> None:
        queue.stand(queue.IDLE)
        once.get("outer", "outer", lambda: kept.get("outer"), lambda: outer())

    def outer() -> str:
        order.append("outer")
        return kept.setdefault("outer", "made")

    def other() -> None:
        with queue.turn():
            order.append("other")

    def reader() -> None:
        once.get("outer", "outer", lambda: kept.get("outer"), lambda: pytest.fail("made twice"))

    threads = []
    with queue.turn():
        for work in (ahead, reader, other):
            threads.append(threading.Thread(target=work))
            threads[-1].start()
            time.sleep(0.1)
        assert turns.length == 2
    join(*threads)
    assert order == ["outer", "other"]


def test_a_long_turn_gives_way_only_to_more_urgent_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, order = [0.0], []
    turns = Turns(lambda: clock[0])
    monkeypatch.setattr(queue, "_turns", turns)
    queue.stand(queue.BEHIND)
    with queue.turn():
        behind = asks(turns, "another's work", order, delay=queue.BEHIND + 1.0)
        queue.yield_turn()
        assert order == []
        page = asks(turns, "page", order)
        queue.yield_turn()
        order.append("the rest")
    join(behind, page)
    assert order == ["page", "the rest", "another's work"]
    queue.stand(queue.PAGE)


def test_a_second_click_removes_the_first_from_the_queue() -> None:
    turns, order, clicked = Turns(), [], threading.Event()

    def still_wanted() -> None:
        if clicked.is_set():
            raise KeyboardInterrupt("clicked on")

    with turns.turn("first"):
        leaver = asks(turns, "a", order, still_wanted)
        patient = asks(turns, "b", order)
        clicked.set()
        join(leaver)
        assert order == ["a left: clicked on"]
        assert turns.length == 1
    join(patient)
    assert order[1:] == ["b"]


def test_a_failure_passes_on_the_turn() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="no"), turns.turn("a"):
        raise ValueError("no")
    with turns.turn("b"):
        assert turns.held
    assert not turns.held


def test_a_turn_within_a_turn_is_the_same_turn() -> None:
    turns, order = Turns(), []
    with turns.turn("a"), turns.turn("a"):
        other = asks(turns, "b", order)
        assert order == []
    join(other)
    assert order == ["b"]


def test_a_long_turn_lets_others_go_first() -> None:
    turns, order = Turns(), []
    with turns.turn("a"):
        other = asks(turns, "b", order)
        with turns.aside("a"):
            join(other)
        order.append("a again")
        assert turns.held
    assert order == ["b", "a again"]


def test_an_abandoned_wait_does_not_give_up_anothers_turn() -> None:
    turns, order = Turns(), []
    other, leave = threading.Event(), threading.Event()

    def holder() -> None:
        with turns.turn("b"):
            other.set()
            assert leave.wait(SOON)
            order.append("b done")

    def unwanted() -> None:
        raise KeyboardInterrupt

    thread = threading.Thread(target=holder)

    def step_aside() -> None:
        with turns.turn("a"), turns.aside("a", unwanted):
            thread.start()
            assert other.wait(SOON)

    with pytest.raises(KeyboardInterrupt):
        step_aside()
    third = asks(turns, "c", order)
    assert order == [], "b still has the turn"
    leave.set()
    join(thread, third)
    assert order == ["b done", "c"]


@pytest.mark.slow
def test_streamlits_own_check_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """While waiting, the queue asks Streamlit whether the reader has clicked again."""
    has_it, leave, asked = threading.Event(), threading.Event(), []

    def holder() -> None:
        with queue.turn():
            has_it.set()
            assert leave.wait(SOON)

    def clicked_on() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    thread = threading.Thread(target=holder)
    thread.start()
    assert has_it.wait(SOON)
    monkeypatch.setattr(queue, "get_run_yield_check", lambda: clicked_on)
    with pytest.raises(KeyboardInterrupt), queue.turn():
        pytest.fail("it got a turn that another has")
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        queue.wait(threading.Event())
    leave.set()
    join(thread)
    assert queue._turns.length == 0


# ---------------------------------------------------------------- computing once


def trace() -> Trace:
    return Trace({"logits": np.zeros(2, np.float32)}, ("a", "b"), "none", (32, 32), ())


def together(*works: Callable[[], object]) -> list[object]:
    """Run some work in several threads at once; return their results or exceptions."""
    results: list[object] = [None] * len(works)

    def run(n: int) -> None:
        try:
            results[n] = works[n]()
        except Exception as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(works))]
    for thread in threads:
        thread.start()
    join(*threads)
    return results


def test_fifty_readers_of_one_photo_compute_once() -> None:
    traces, made = TraceCache(), []

    def compute() -> Trace:
        time.sleep(0.02)
        made.append(1)
        return trace()

    results = together(*[lambda: traces.get("photo", compute)] * 50)
    assert made == [1]
    assert len({id(result) for result in results}) == 1


def test_after_a_failure_waiting_readers_try_for_themselves() -> None:
    once, tries, kept = SingleFlight(), [], {}

    def make() -> str:
        tries.append(1)
        time.sleep(0.02)
        if len(tries) == 1:
            raise ValueError("the first fails")
        return kept.setdefault("key", "made")

    results = together(*[lambda: once.get("it", "key", lambda: kept.get("key"), make)] * 8)
    assert sorted(map(str, results)) == ["made"] * 7 + ["the first fails"]
    assert len(tries) == 2


def test_shared_results_may_need_one_another() -> None:
    """Two threads, one with the turn and one making what the other waits for, do not deadlock."""
    made = []

    @cached(4)
    def inner(n: int) -> int:
        made.append(n)
        time.sleep(0.01)
        return n

    @cached(4)
    def outer(n: int, _unkeyed: object) -> int:
        time.sleep(0.01)
        return n + inner(0) + inner(1)

    def other() -> int:
        return inner(1) + inner(0)

    for _ in range(5):
        results = together(*[lambda: outer(1, object()), other, lambda: outer(2, object())] * 4)
        assert results == [2, 1, 3] * 4
    assert sorted(made) == [0, 1]
    outer.clear()
    inner.clear()
    outer(1, object())
    assert sorted(made) == [0, 0, 1, 1]


def test_the_least_recently_used_results_leave() -> None:
    made = []

    @cached(2)
    def compute(n: int) -> int:
        made.append(n)
        return n

    for n in (1, 2, 1, 3, 1, 2):
        assert compute(n) == n
    assert made == [1, 2, 3, 2]


def test_only_one_computation_runs_at_a_time() -> None:
    inside, most = [0], [0]

    def work() -> Trace:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1
        return trace()

    two = TraceCache()
    slow = cached(9)(lambda n: work())
    together(*[lambda n=n: two.get(n, work) for n in range(6)], *[lambda n=n: slow(n) for n in range(6)])
    assert most == [1]
    assert not queue._turns.held


def test_the_log_says_what_was_computed_and_counts_nothing_twice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", queue.__name__)

    @cached(4)
    def inner(n: int) -> int:
        time.sleep(0.1)
        return n

    @cached(4)
    def outer(n: int) -> int:
        time.sleep(0.02)
        return inner(n) + inner(n)

    outer(1)
    inner(1)
    found = TURN.findall(caplog.text)
    assert [name.rpartition(".")[2] for name, *_ in found] == ["inner", "outer"]
    assert float(found[0][2]) >= 0.1 > float(found[1][2]) >= 0.02


@pytest.mark.slow
def test_garbage_is_collected_once_for_many_reruns() -> None:
    swept = threading.Semaphore(0)
    sweeper = cache.Sweeper(every=0.2, collect=swept.release)
    for _ in range(50):
        sweeper.schedule()
    assert swept.acquire(timeout=SOON)
    assert not swept.acquire(timeout=0.3), "one sweep for all of them"
    sweeper.schedule()
    assert swept.acquire(timeout=SOON)
