"""The load test: its statistics, and a small crowd on a server of its own."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from bench import load
from bench.load.reader import Rerun


def test_the_growth_of_memory_ignores_the_warm_up_and_outliers() -> None:
    flat = [(5.0 * n, 500.0 + 400.0 * (n < 12)) for n in range(60)]
    assert load.slope(flat, 60) == 0
    rising = [(s, 500 + s / 60 + 300 * (n == 40)) for n, (s, _) in enumerate(flat)]
    assert load.slope(rising, 60) == pytest.approx(1.0)
    assert math.isnan(load.slope(flat, 1000))


def found() -> load.Found:
    """Two runs: one that began after 1 s and took 9 s, and one a minute later that took half a second."""
    made = load.Found(start=100.0, memory=[(5.0 * n, 500.0 + 50 * min(n, 6)) for n in range(20)], loads=[1.0])
    made.runs = [Rerun("", "open", 9.0, 10, [], 110.0), Rerun("lab", "commit", 0.5, 10, [], 170.0)]
    return made


def served(tmp_path: Path, log: str = "") -> load.Served:
    (tmp_path / "log.txt").write_text(log)
    return load.Served(0, None, tmp_path / "log.txt")  # type: ignore[arg-type]


def test_a_run_belongs_to_the_minute_in_which_it_began(tmp_path: Path) -> None:
    assert [run.page for run in found().between(0, 5)] == [""]
    assert [run.page for run in found().between(5)] == ["lab"]
    assert "no run began" in load.report(found(), served(tmp_path), 600, 600)


def test_cold_minutes_and_steady_state_are_told_apart(tmp_path: Path) -> None:
    said = load.report(found(), served(tmp_path), 0, 30)
    cold, steady = said.split("the whole test")[0].split("steady: from 30 s")
    assert "cold: from 0 to 30 s" in cold
    assert re.search(r"longest +9.00 s +<= 8 s +missed", cold)
    assert re.search(r"slope +600.00 MB/min\n", cold)  # caches fill: no target
    assert re.search(r"median +0.500 s", steady)
    assert re.search(r"slope +0.00 MB/min +<= 1 MB/min +met", steady)
    assert "steady" not in load.report(found(), served(tmp_path), 0, 600)


def test_what_the_server_computed_is_counted_by_name_and_key() -> None:
    line = "12:00 cfviz.ui.session.queue turn: {} {} took {} s, waited {} s\n"
    log = "".join(line.format(*one) for one in (
        ("heads", "0a", 0.5, 0), ("heads", "0b", 1.5, 3), ("heads", "0a", 1, 1), ("cels", "0a", 4, 2),
    ))  # fmt: skip
    head, *rows = load.computed("something else\n" + log).splitlines()
    assert head.split() == ["computed", "n", "keys", "took", "s", "median", "waited", "p95"]
    assert [row.split()[:5] for row in rows] == [
        ["cels", "1", "1", "4.00", "4.000"], ["heads", "3", "2", "3.00", "1.000"]
    ]  # fmt: skip


@pytest.mark.slow(10)
def test_a_small_crowd_is_served_without_errors(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--users 3 --seconds 600 --clicks 15 --think 0.3"
    assert load.main(words.split()) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "of 15 reruns" in said
    assert "models loaded" in said
    assert "cold: from 0 to 240 s" in said
    assert "\ntrace " in said
    for kind in ("open", "photo"):
        assert f"\n{kind} " in said
