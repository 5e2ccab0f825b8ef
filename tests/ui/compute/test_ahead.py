"""Computing ahead: only while nobody waits, the most wanted first, within the memory, and off on demand."""

from __future__ import annotations

import threading

import pytest

from cfviz.ui.compute import ahead
from cfviz.ui.session import queue
from tests.conftest import until


@pytest.fixture(autouse=True)
def _stand() -> object:
    yield
    queue.stand(queue.PAGE)


def test_it_waits_between_two_pieces_while_a_reader_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LOOK", 0.0)
    said = iter([True, False, False, True, True])  # a reader clicks after the first piece
    order: list[str] = []

    def calm(seconds: float) -> bool:
        order.append("calm" if (now := next(said)) else "busy")
        return now

    works = [lambda name=name: order.append(name) for name in "abc"]
    assert ahead.run(works, calm, lambda: 0) == "done"
    assert order == ["calm", "a", "busy", "busy", "calm", "b", "calm", "c"]
    assert queue._turns.standing.delay == queue.IDLE


def test_it_ends_where_the_memory_does() -> None:
    made: list[int] = []
    works = [lambda n=n: made.append(n) for n in range(9)]
    assert ahead.run(works, lambda _: True, lambda: ahead.limit() + (1 if len(made) == 3 else -1)) == "full"
    assert made == [0, 1, 2]
    assert 0 < ahead.resident() < 2**40
    assert ahead.limit() <= ahead.MOST


def test_a_failure_ends_it_and_nothing_else() -> None:
    def fail() -> None:
        raise ValueError("no")

    assert ahead.run([fail, lambda: pytest.fail("went on")], lambda _: True, lambda: 0) == "failed"


def test_it_is_for_servers_and_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ahead.SWITCH, raising=False)
    assert not ahead.wanted()
    monkeypatch.setattr(ahead, "exists", lambda: True)
    assert ahead.wanted()
    monkeypatch.setenv(ahead.SWITCH, "0")
    assert not ahead.wanted()


def test_it_is_calm_when_nobody_has_clicked_computes_or_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_clicked", {})
    until(lambda: queue.calm(1.0), 60)  # what other tests began may still be computed
    with queue.turn():
        assert not queue.calm(1.0)
    thread = threading.Thread(target=queue.count_readers)
    thread.start()
    thread.join()
    assert not queue.calm(60.0)
    until(lambda: queue.calm(0.02), 60)
