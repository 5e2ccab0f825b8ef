"""A job's files, torn, emptied or rewritten; then read, and listed on the page of studies."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from cfviz import jobs
from tests.fuzz.harness import Case
from tests.fuzz.links import ROOT
from tests.fuzz.mutate import LONGS, Rng

SECONDS = 10.0  # one run of a page
GOOD: dict[str, dict[str, Any]] = {
    "job.json": {
        "kind": "study", "result": "out/statistics.parquet",
        "command": ["study", "--data", "/photos/set", "--out", "{job}/out"],
    },
    "state.json": {
        "state": "running", "group": 1, "started": 1.7e9, "first": 2, "code": 0, "ended": 1.7e9 + 9,
    },
    "progress.json": {"done": 5, "total": 9, "message": "photo 5", "time": 1.7e9 + 5},
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e308, float("nan"), float("inf"), 10**400, "", "x" * 100_000, "3", [], {}, [[]],
    "done", "failed", "cancelled", "waiting", "../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", ["--data"],
)  # fmt: skip
TEXTS = (b"", b"null", b"[]", b"{", b"[" * 50_000, b"\xff\xfe", b"\0" * 4096, b'{"a": 1}')


def make(rng: Rng) -> Case:
    """Make a job's files, one to three of them damaged."""
    files = {name: json.dumps(content).encode() for name, content in GOOD.items()}
    files["log.txt"] = b"a line\nthe reason\n"
    for _ in range(int(rng.integers(1, 4))):
        name = list(files)[int(rng.integers(len(files)))]
        way = int(rng.integers(4))
        if way == 0:
            files[name] = TEXTS[int(rng.integers(len(TEXTS)))]
        elif way == 1:
            files[name] = files[name][: int(rng.integers(len(files[name]) + 1))]
        elif name in GOOD:
            content = dict(GOOD[name])
            field = list(content)[int(rng.integers(len(content)))]
            content[field] = ODD[int(rng.integers(len(ODD)))] if way == 2 else int(rng.choice(LONGS))
            files[name] = json.dumps(content).encode()
    return Case(json.dumps({k: v.hex() for k, v in files.items()}).encode(), str(files)[:600], files)


def check(case: Case) -> str:
    """Check that the job is read, as interrupted at worst, or not listed, and that the page completes."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get(jobs.JOBS)
        os.environ[jobs.JOBS] = folder
        try:
            return _checked(Path(folder), case.extra)
        finally:
            os.environ.pop(jobs.JOBS)
            if before is not None:
                os.environ[jobs.JOBS] = before


def _checked(home: Path, files: dict[str, bytes]) -> str:
    place = home / "study" / "one"
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    found = jobs.listed("study")
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.switch_page("pages/study.py")
    app.run()
    assert not app.exception, app.exception[0].stack_trace
    assert len(app.title) == 1
    if not found:
        return "no job"
    (job,) = found
    assert job.state in jobs.STATES
    assert job.state not in jobs.ALIVE, "nobody runs it"
    for number in (job.done, job.total, job.seconds, job.rate, job.started):
        assert 0 <= number < float("inf"), job
    assert job.result.is_relative_to(place)
    return job.state


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
    check(Case(b"", "", {name: json.dumps(content).encode() for name, content in GOOD.items()}))
