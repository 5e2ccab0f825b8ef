"""A short run of `make fuzz`, always the same, and proof that the fuzzer notices what it looks for."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.fuzz import harness
from tests.fuzz.__main__ import COUNTS, main

SEED = 20_260
SLICE = {
    "images": 200,
    "checkpoints": 14,
    "links": 6,
    "lessons": 60,
    "messages": 6,
    "jobs": 12,
    "uploads": 60,
    "frames": 60,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_malformed_input_ends_in_a_sentence(kind: str) -> None:
    for index in range(SLICE[kind]):
        _, failure, _ = harness.try_one(f"tests.fuzz.{kind}", SEED, index)
        if failure is not None and failure.what == "slow":  # on a busy machine, try once more
            _, failure, _ = harness.try_one(f"tests.fuzz.{kind}", SEED, index)
        assert failure is None, failure


@pytest.mark.parametrize("kind", COUNTS)
def test_an_input_depends_only_on_its_seed_and_number(kind: str) -> None:
    one, again, other, next_ = (
        harness.case_of(f"tests.fuzz.{kind}", *which).data for which in ((1, 5), (1, 5), (2, 5), (1, 6))
    )
    assert one == again
    assert one != other
    assert one != next_


MISBEHAVING = """
    import os, time
    from tests.fuzz.harness import Case

    SECONDS = 0.3

    def make(rng):
        return Case(b"", "made")

    def check(case):
        here = len(open("tried.txt").read()) if os.path.exists("tried.txt") else 0
        with open("tried.txt", "a") as file:
            file.write("x")
        if here == 1:
            raise KeyError("no sentence of ours")
        if here == 2:
            os.abort()
        if here == 3:
            time.sleep(30)
        if here == 4:
            end = time.process_time() + 0.4
            while time.process_time() < end:
                pass
        return "fine"
"""


@pytest.mark.slow
def test_the_fuzzer_notices_exceptions_crashes_hangs_and_slowness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "misbehaving.py").write_text(dedent(MISBEHAVING))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    report = harness.run("misbehaving", 7, 6, errors=tmp_path / "log", patience=4)
    assert [(failure.index, failure.what) for failure in report.failures] == [
        (1, "exception"),
        (2, "crash"),
        (3, "hang"),
        (4, "slow"),
    ]
    assert report.outcomes == {"fine": 2}
    assert report.tried == 6
    assert "no sentence of ours" in report.failures[0].detail
    assert "python -m tests.fuzz misbehaving --seed 7 --case 1" in str(report.failures[0])


def test_failing_inputs_are_saved_and_the_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = harness.Failure("images", 7, 3, "crash", "exit code -6")
    report = harness.Report("images", 7, failures=[failed])
    monkeypatch.setattr(harness, "run", lambda *_args, **_options: report)
    assert main(["images", "--seed", "7", "--count", "1"]) == 1
    saved = tmp_path / ".fuzz/images-7-3.bin"
    assert saved.read_bytes() == harness.case_of("tests.fuzz.images", 7, 3).data
    printed = capsys.readouterr().out
    assert "seed 7" in printed
    assert str(saved.relative_to(tmp_path)) in printed
    report.failures.clear()
    assert main(["images", "--seed", "7", "--count", "0"]) == 0
