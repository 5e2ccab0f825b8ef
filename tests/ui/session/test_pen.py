"""The pen: one page draws at a time, the run that began first goes on first, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

from cfviz.ui.session import pen, queue
from cfviz.ui.session.pen import Pen
from tests.conftest import SOON, join, until


def drawing(of: Pen, work: Callable[[], object]) -> threading.Thread:
    """A run that does some work with the pen; returns once it waits for it or has it."""
    before = of._count

    def run() -> None:
        with of.held():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: of._count > before)
    time.sleep(0.01)
    return thread


def test_pages_draw_one_after_the_other() -> None:
    one, inside, most, order = Pen(long=SOON), [0], [0], []

    def draw(n: int) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        order.append(n)
        inside[0] -= 1

    join(*[drawing(one, lambda n=n: draw(n)) for n in range(6)])
    assert (order, most) == ([0, 1, 2, 3, 4, 5], [1])


def test_who_waits_for_a_result_lets_others_draw_and_goes_on_before_those_who_came_later() -> None:
    one, order, leave, back = Pen(long=SOON), [], threading.Event(), threading.Event()

    def first() -> None:
        with one.down(), one.down():  # a wait within a wait
            assert leave.wait(SOON)
        order.append("first")

    def second() -> None:
        order.append("second")
        leave.set()
        until(lambda: len(one._waiting) == 2)  # the first run is back, behind the third
        back.set()

    threads = [drawing(one, first), drawing(one, second), drawing(one, lambda: order.append("third"))]
    join(*threads)
    assert back.is_set()
    assert order == ["second", "first", "third"]


def test_a_page_that_takes_long_keeps_nobody_out() -> None:
    one, order, leave = Pen(long=0.05), [], threading.Event()

    def slow() -> None:
        assert leave.wait(SOON)
        order.append("slow")

    long = drawing(one, slow)
    join(drawing(one, lambda: order.append("quick")))
    leave.set()
    join(long)
    join(drawing(one, lambda: order.append("last")))
    assert order == ["quick", "slow", "last"]


def test_an_error_passes_the_pen_on() -> None:
    one = Pen(long=SOON)
    try:
        with one.held(), one.down():
            raise ValueError("no")
    except ValueError:
        pass
    order: list[int] = []
    join(drawing(one, lambda: order.append(1)))
    assert order == [1]


def test_streamlits_runs_share_it_and_put_it_down_for_a_turn(monkeypatch) -> None:
    """A run that waits for its turn to compute does not keep another from drawing."""
    one, order, computed = Pen(long=SOON), [], threading.Event()
    monkeypatch.setattr(pen, "_pen", one)

    def _run_script(runner: ScriptRunner, work: Callable[[], object]) -> None:
        work()

    monkeypatch.setattr(ScriptRunner, "_run_script", _run_script)
    pen.share()
    pen.share()

    def computes() -> None:
        with queue.turn():
            computed.set()
            until(lambda: order == ["drawn"])
        order.append("computed")

    runner = ScriptRunner.__new__(ScriptRunner)
    threads = [
        threading.Thread(target=ScriptRunner._run_script, args=(runner, work))
        for work in (computes, lambda: order.append("drawn"))
    ]
    threads[0].start()
    assert computed.wait(SOON)
    threads[1].start()
    join(*threads)
    assert order == ["drawn", "computed"]
    assert one._count == 2


def test_outside_a_page_there_is_no_pen() -> None:
    one = Pen()
    with one.down():
        assert one._holder is None
