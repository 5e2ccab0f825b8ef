"""Background work: done once, shared, and tried again after a failure."""

from __future__ import annotations

import threading
import time

import pytest

from cfviz.ui.compute import background


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(background, "_wait", lambda work, text: said.append(text))
    monkeypatch.setattr(background, "_running", type(background._running)())
    return said


def until(key: str, make: object) -> object:
    end = time.monotonic() + 10
    while (found := background.in_background(key, make, "counting")) is None:  # type: ignore[arg-type]
        assert time.monotonic() < end
    return found


def test_a_line_is_shown_until_the_result_is_there(waits: list[str]) -> None:
    go, calls = threading.Event(), []

    def make() -> int:
        calls.append(1)
        go.wait(10)
        return 7

    assert background.in_background("a", make, "counting") is None
    assert background.in_background("a", make, "counting") is None
    assert waits == ["counting", "counting"]
    go.set()
    assert until("a", make) == 7
    assert len(calls) == 1


def test_failed_work_is_tried_again() -> None:
    tries: list[int] = []

    def make() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("no")
        return "yes"

    with pytest.raises(ValueError, match="no"):
        until("b", make)
    assert until("b", make) == "yes"
