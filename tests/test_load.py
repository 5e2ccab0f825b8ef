"""The load script: its figures, and a small crowd against a server of its own."""

from __future__ import annotations

import math

import pytest

from bench import load
from bench.reader import Rerun


def test_the_slope_of_memory_ignores_the_warm_up_and_outliers() -> None:
    flat = [(5.0 * n, 500.0 + 400.0 * (n < 12)) for n in range(60)]
    assert load.slope(flat, 60) == 0
    rising = [(s, 500 + s / 60 + 300 * (n == 40)) for n, (s, _) in enumerate(flat)]
    assert load.slope(rising, 60) == pytest.approx(1.0)
    assert math.isnan(load.slope(flat, 1000))


def test_runs_are_counted_after_the_warm_up_and_errors_always() -> None:
    found = load.Found(start=100.0, memory=[(0, 1.0)], loads=[1.0])
    found.runs = [Rerun("", "open", 9.0, 10, [], 105.0), Rerun("lab", "commit", 0.5, 10, [], 170.0)]
    assert [run.page for run in found.after(60)] == ["lab"]
    assert "no run ended" in load.report(found, None, 600)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_small_crowd(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--users 3 --seconds 600 --clicks 15 --think 0.3 --warm 0"
    assert load.main(words.split()) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "of 15 reruns" in said
    assert "models loaded" in said
    for kind in ("open", "photo"):
        assert f"\n{kind} " in said
