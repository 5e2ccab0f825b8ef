"""Background steps: shown as they finish, the latest request first, stopped when nobody looks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cfviz.ui.compute import steps
from cfviz.ui.compute.steps import Steps
from tests.processes.warm import Warm

ROOT = Path(__file__).resolve().parents[3]


def test_finished_steps_are_returned_and_the_rest_follow() -> None:
    gate = threading.Event()

    def make(name: str) -> str:
        if name == "b":
            assert gate.wait(10)
        return name * 2

    background = Steps(["a", "b", "c"], make)
    begun = time.monotonic()
    assert background.poll(20, least=1) == {"a": "aa"}
    assert time.monotonic() - begun < 10, "it waited for more than one"
    assert background.left == ["b", "c"]
    gate.set()
    assert background.poll(10) == {"a": "aa", "b": "bb", "c": "cc"}
    assert list(background.poll()) == ["a", "b", "c"]


def test_the_latest_request_comes_first() -> None:
    gate, order = threading.Event(), []

    def making(who: str):
        def make(name: str) -> None:
            order.append(who + name)
            assert gate.wait(10)

        return make

    first, second = Steps("12", making("a")), Steps("12", making("b"))
    first.poll()
    while not order:
        time.sleep(0.005)
    second.poll()
    gate.set()
    second.poll(10)
    first.poll(10)
    assert order == ["a1", "b1", "b2", "a2"]


def test_steps_stop_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = [0.0], []
    monkeypatch.setattr(steps, "monotonic", lambda: clock[0])

    def make(name: str) -> None:
        made.append(name)
        clock[0] += 2 * steps.PATIENCE

    background = Steps("123", make)
    for wanted in (["1"], ["1", "2"]):
        background.poll()
        while steps._busy:
            time.sleep(0.005)
        assert made == wanted


def test_an_error_reaches_the_reader() -> None:
    def make(name: str) -> str:
        raise ValueError(f"no {name}")

    background = Steps(["x"], make)
    for _ in range(2):  # also at the second try
        with pytest.raises(ValueError, match="no x"):
            background.poll(10)


@pytest.mark.slow
def test_an_ending_process_lets_the_current_step_finish(warm: Warm) -> None:
    code = """
import time
from cfviz.ui.compute.steps import Steps

Steps(["a", "b"], lambda name: (time.sleep(0.2), print(name, flush=True))).poll(0.05)
"""
    ran = warm.run(["-c", code])
    assert (ran.returncode, ran.stdout) == (0, "a\n"), ran.stderr
