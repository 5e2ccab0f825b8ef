"""Background jobs: every way one can end, what survives, and which folders may be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from cfviz import jobs

QUICK = ["models", "--json"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(jobs.JOBS, str(tmp_path / "jobs"))


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for the command line: counts to what it is told, on from where it was."""
    package = tmp_path / "stand_in"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import sys, time, pathlib\n"
        "if '--progress' in sys.orig_argv and 'count' in sys.orig_argv:\n"
        "    from cfviz.jobs import report\n"
        "    words = sys.orig_argv\n"
        "    where = pathlib.Path(words[words.index('count') + 1])\n"
        "    n, code = int(words[words.index('count') + 2]), int(words[words.index('count') + 3])\n"
        "    at = int(where.read_text()) if where.exists() else 0\n"
        "    while at < n:\n"
        "        at += 1\n"
        "        where.write_text(str(at))\n"
        "        report(words[words.index('--progress') + 1], at, n, f'at {at}')\n"
        "        time.sleep(0.05)\n"
        "    print('the reason', file=sys.stderr, flush=True)\n"
        "    import os; os._exit(code)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package))
    return ["count", "{job}/at"]


def until(job: jobs.Job, *states: str, seconds: float = 60) -> jobs.Job:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = jobs.read(job.folder)
        assert now is not None
        if now.state in states or ("moving" in states and now.done > 1):
            return now
        time.sleep(0.05)
    raise AssertionError(f"still {now}")


@pytest.mark.slow
def test_a_job_runs_to_its_end(sleeper: list[str]) -> None:
    job = jobs.start("count", [*sleeper, "5", "0"], "at")
    assert job.state == "running"
    job = until(job, "done", "failed")
    assert (job.state, job.done, job.total, job.message) == ("done", 5, 5, "at 5")
    assert job.result.read_text() == "5"
    assert [j.id for j in jobs.listed("count")] == [job.id]
    assert jobs.listed("other") == []
    again = jobs.start("count", [*sleeper, "5", "0"], "at")
    assert again.folder != job.folder
    until(again, "done")


@pytest.mark.slow
def test_what_fails_says_why(sleeper: list[str]) -> None:
    job = until(jobs.start("count", [*sleeper, "1", "2"], "at"), "failed", "done")
    assert (job.state, job.message) == ("failed", "the reason")


@pytest.mark.slow
def test_cancelled_and_gone_on_with(sleeper: list[str]) -> None:
    job = jobs.start("count", [*sleeper, "100", "0"], "at")
    assert jobs.start("count", [*sleeper, "100", "0"], "at").folder == job.folder  # the same one
    until(job, "moving")
    job = jobs.cancel(job)
    assert job.state == "cancelled"
    reached = int(job.result.read_text())
    time.sleep(0.3)
    assert int(job.result.read_text()) == reached < 100  # nobody counts any more
    job.result.write_text("97")
    job = until(jobs.resume(job), "done", "failed", "cancelled")
    assert (job.state, job.result.read_text()) == ("done", "100")


@pytest.mark.slow
def test_a_dead_process_is_interrupted_and_goes_on(sleeper: list[str]) -> None:
    job = until(jobs.start("count", [*sleeper, "200", "0"], "at"), "moving")
    os.killpg(jobs._json(job.folder / "state.json")["group"], signal.SIGKILL)
    job = until(job, "interrupted", seconds=10)
    job.result.write_text("199")
    assert until(jobs.start("count", [*sleeper, "200", "0"], "at"), "done").folder == job.folder


@pytest.mark.slow
def test_a_job_outlives_who_started_it(sleeper: list[str]) -> None:
    code = f"from cfviz import jobs; print(jobs.start('count', {[*sleeper, '40', '0']!r}, 'at').folder)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], os.getcwd()])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    job = jobs.read(Path(done.stdout.strip()))
    assert job is not None
    assert job.state == "running"
    assert until(job, "done", "interrupted").state == "done"


def test_only_paths_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, result in (("../x", "a"), ("x", "../a"), ("x", "/a")):
        with pytest.raises(ValueError, match="expected a word and a path"):
            jobs.start(kind, QUICK, result)


def test_folders_under_the_roots_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    for folder in (root / "set" / "n01", root / "plain", out / "n01"):
        folder.mkdir(parents=True)
    monkeypatch.delenv(jobs.FOLDERS, raising=False)
    assert jobs.folders() == []
    with pytest.raises(ValueError, match="not under a folder"):
        jobs.allowed(root)
    monkeypatch.setenv(jobs.FOLDERS, os.pathsep.join([str(root), str(tmp_path / "missing")]))
    assert jobs.folders() == [root, root / "set"]
    assert jobs.allowed(root / "set") == root / "set"
    for bad in (out, root / ".." / "out", tmp_path, "/", tmp_path / "root-two"):
        with pytest.raises(ValueError, match="not under a folder"):
            jobs.allowed(bad)
    (root / "away").symlink_to(out)
    with pytest.raises(ValueError, match="not under a folder"):
        jobs.allowed(root / "away")
    with pytest.raises(ValueError, match="leads out"):
        jobs.allowed(root)
    (root / "set" / "n01" / "photo.jpg").symlink_to(out / "n01")
    with pytest.raises(ValueError, match="leads out"):
        jobs.allowed(root / "set")


def test_progress_is_written_whole(tmp_path: Path) -> None:
    jobs.report(None, 1, 2)
    jobs.report(tmp_path / "p.json", 1, 2, "half")
    assert jobs._json(tmp_path / "p.json")["message"] == "half"
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_where_jobs_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CFVIZ_JOBS", str(tmp_path / "mine"))
    assert jobs.home() == tmp_path / "mine"
    monkeypatch.delenv("CFVIZ_JOBS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert jobs.home() == tmp_path / "data" / "cfviz" / "jobs"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    local = str(tmp_path / "AppData" / "Local")
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _: local)  # Windows is asked for it
    for system, expected in (
        (Unix, tmp_path / ".local" / "share" / "cfviz" / "jobs"),
        (MacOS, tmp_path / "Library" / "Application Support" / "cfviz" / "jobs"),
        (Windows, tmp_path / "AppData" / "Local" / "cfviz" / "jobs"),
    ):
        monkeypatch.setattr("platformdirs.PlatformDirs", system)
        assert jobs.home() == expected
