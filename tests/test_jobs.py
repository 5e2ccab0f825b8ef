"""Background jobs: every way in which one can end, what survives, and which folders may be read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    """A stand-in for the command line that counts up to a given number and resumes where it stopped."""
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
def test_a_job_runs_to_completion(sleeper: list[str]) -> None:
    job = jobs.start("count", [*sleeper, "5", "0"], "at")
    assert job.state in jobs.ALIVE
    job = until(job, "done", "failed")
    assert (job.state, job.done, job.total, job.message) == ("done", 5, 5, "at 5")
    assert job.result.read_text() == "5"
    assert [j.id for j in jobs.listed("count")] == [job.id]
    assert jobs.listed("other") == []
    again = jobs.start("count", [*sleeper, "5", "0"], "at")
    assert again.folder != job.folder
    until(again, "done")


@pytest.mark.slow
def test_a_failed_job_gives_the_reason(sleeper: list[str]) -> None:
    job = until(jobs.start("count", [*sleeper, "1", "2"], "at"), "failed", "done")
    assert (job.state, job.message) == ("failed", "the reason")


@pytest.mark.slow
def test_a_cancelled_job_can_be_resumed(sleeper: list[str]) -> None:
    job = jobs.start("count", [*sleeper, "100", "0"], "at")
    assert jobs.start("count", [*sleeper, "100", "0"], "at").folder == job.folder  # the same job
    until(job, "moving")
    job = jobs.cancel(job)
    assert job.state == "cancelled"
    reached = int(job.result.read_text())
    time.sleep(0.3)
    assert int(job.result.read_text()) == reached < 100  # its process no longer runs
    job.result.write_text("97")
    job = until(jobs.resume(job), "done", "failed", "cancelled")
    assert (job.state, job.result.read_text()) == ("done", "100")


@pytest.mark.slow
def test_a_job_with_a_dead_process_is_interrupted_and_can_be_resumed(sleeper: list[str]) -> None:
    job = until(jobs.start("count", [*sleeper, "200", "0"], "at"), "moving")
    os.killpg(jobs._json(job.folder / "state.json")["group"], signal.SIGKILL)
    job = until(job, "interrupted", seconds=10)
    job.result.write_text("199")
    assert until(jobs.start("count", [*sleeper, "200", "0"], "at"), "done").folder == job.folder


@pytest.mark.slow
def test_a_job_outlives_the_process_that_started_it(sleeper: list[str]) -> None:
    code = f"from cfviz import jobs; print(jobs.start('count', {[*sleeper, '40', '0']!r}, 'at').folder)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], os.getcwd()])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    job = jobs.read(Path(done.stdout.strip()))
    assert job is not None
    assert job.state in jobs.ALIVE
    assert until(job, "done", "interrupted").state == "done"


def test_paths_outside_the_jobs_folder_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, result in (("../x", "a"), ("x", "../a"), ("x", "/a")):
        with pytest.raises(ValueError, match="expected a word and a path"):
            jobs.start(kind, QUICK, result)


def test_only_folders_under_the_roots_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    for folder in (root / "set" / "n01", root / "plain", out / "n01"):
        folder.mkdir(parents=True)
    monkeypatch.delenv(jobs.FOLDERS, raising=False)
    assert jobs.folders() == []
    with pytest.raises(ValueError, match="not under a folder"):
        jobs.allowed(root)
    monkeypatch.setenv(jobs.FOLDERS, os.pathsep.join([str(root), str(tmp_path / "missing")]))
    assert jobs.folders() == [root, root / "set"]
    (root / "plain" / "a.jpg").touch()
    assert jobs.folders() == [root, root / "set"]
    assert jobs.folders(flat=True) == [root, root / "plain", root / "set"]
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


def test_progress_is_written_atomically(tmp_path: Path) -> None:
    jobs.report(None, 1, 2)
    jobs.report(tmp_path / "p.json", 1, 2, "half")
    assert jobs._json(tmp_path / "p.json")["message"] == "half"
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_jobs_are_kept_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_one_job_runs_and_the_others_wait_in_order(sleeper: list[str]) -> None:
    first = jobs.start("count", [*sleeper, "400", "0"], "at")
    until(first, "moving")
    others = []
    for n in (2, 3):
        others.append(jobs.start("count", [*sleeper, str(n), "0"], "at"))
        time.sleep(0.1)
    time.sleep(1)
    assert [until(job, "waiting").state for job in others] == ["waiting"] * 2
    assert jobs.cancel(others[0]).state == "cancelled"
    assert not others[0].result.exists(), "it never began"
    jobs.resume(others[0])  # now it is behind the other
    time.sleep(0.5)
    assert jobs.cancel(first).state == "cancelled"
    done = [until(job, "done") for job in (others[1], others[0])]
    assert done[0].started < done[1].started


@pytest.mark.slow
def test_a_supervisor_takes_little_memory(sleeper: list[str]) -> None:
    job = until(jobs.start("count", [*sleeper, "200", "0"], "at"), "moving")
    group = jobs._json(job.folder / "state.json")["group"]
    status = Path(f"/proc/{group}/status").read_text()
    taken = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    jobs.cancel(job)
    assert taken < 60_000, f"{taken} kB; torch alone takes 200,000"


def test_the_number_of_waiting_jobs_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_launch", lambda folder, owner: jobs.read(folder))
    monkeypatch.setattr(jobs, "_free", lambda folder: False)
    for n in range(jobs.MOST_WAITING):
        job = jobs.start("count", [str(n)], "at", {"lines.txt": "a"})
        jobs.write(job.folder / "state.json", {"state": "waiting", "started": 1.0})
        assert (job.folder / "lines.txt").read_text() == "a"
    with pytest.raises(ValueError, match="8 jobs wait already"):
        jobs.start("count", ["one more"], "at")


def test_a_job_can_be_cancelled_while_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a start can take longer than the canceller waits for it."""
    monkeypatch.setattr(jobs, "GRACE", 0.05)
    monkeypatch.setattr(jobs.os, "nice", lambda _: 0)
    begun: list[object] = []
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *words, **_options: begun.append(words))
    folder = jobs.home() / "count" / "one"
    folder.mkdir(parents=True)
    jobs.write(folder / "job.json", {"kind": "count", "command": ["models"], "result": "at"})
    jobs.write(folder / "state.json", {"state": "waiting", "started": time.time()})
    lock = jobs._lock(folder)
    assert lock is not None
    job = jobs.read(folder)
    assert job is not None
    jobs.cancel(job)
    jobs._run(folder, lock)
    os.close(lock)
    assert [one.state for one in jobs.listed("count")] == ["cancelled"]
    assert not begun


def test_a_job_can_be_cancelled_while_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start used to remove the very mark that was meant to cancel it."""
    folder = jobs.home() / "count" / "one"
    folder.mkdir(parents=True)
    jobs.write(folder / "job.json", {"kind": "count", "command": ["models"], "result": "at"})
    # The machine went down while it ran; its group may be anybody's by now.
    jobs.write(folder / "state.json", {"state": "running", "started": 1.0, "group": 2**22 + 7})
    ended: list[int] = []
    monkeypatch.setattr(jobs.os, "killpg", lambda group, _sign: ended.append(group))
    monkeypatch.setattr(jobs, "GRACE", 0.05)
    begun: list[object] = []
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_words, **_options: SimpleNamespace(wait=lambda: 0))
    lock = jobs._lock

    def locked(*args: Any) -> int | None:
        """Another reader cancels as soon as the job counts as alive."""
        held = lock(*args)
        now = jobs.read(folder)
        if now is not None and now.state in jobs.ALIVE and not begun:
            begun.append(jobs.cancel(now))
        return held

    monkeypatch.setattr(jobs, "_lock", locked)
    interrupted = jobs.read(folder)
    assert interrupted is not None
    assert interrupted.state == "interrupted"
    jobs.resume(interrupted)
    assert begun, "nobody cancelled"
    assert (folder / "cancel").exists(), "the supervisor would run the command"
    assert ended == [], "a process group that was never the job's"


def ended(kind: str, name: str, started: float, size: int = 10, state: str = "done") -> Path:
    """The folder of a job that ended."""
    folder = jobs.home() / kind / name
    (folder / "out").mkdir(parents=True)
    jobs.write(folder / "job.json", {"kind": kind, "command": ["models"], "result": "out/at"})
    jobs.write(folder / "state.json", {"state": state, "started": started, "ended": started + 1})
    (folder / "out/at").write_bytes(bytes(size))
    return folder


def test_only_the_newest_ended_jobs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old results used to be kept for ever."""
    monkeypatch.setattr(jobs, "_supervise", lambda folder: None)
    monkeypatch.setattr(jobs, "KEPT", 3)
    states = ("done", "done", "done", "failed", "done", "done")
    folders = [ended(("other", "count")[n % 2], f"{n}", n, state=state) for n, state in enumerate(states)]
    held = jobs._lock(folders[0])  # it runs
    assert held is not None
    jobs.write(folders[0] / "state.json", {"state": "running", "started": 0.0})
    jobs.start("count", ["new"], "at")  # newer than all, and without a process interrupted at once
    assert [folder.exists() for folder in folders] == [True, False, False, False, True, True]
    monkeypatch.setattr(jobs, "KEPT_BYTES", 5000)
    big = ended("count", "big", time.time() + 5, 4000)
    jobs.start("count", ["newer"], "at")
    assert big.exists()
    assert not folders[4].exists()
    monkeypatch.setattr(jobs, "KEPT_BYTES", 100)
    jobs.start("count", ["newest"], "at")
    assert sorted(job.id for job in jobs.listed("count")) == ["big"], "the newest stays, whatever its size"
    assert folders[0].exists(), "it runs"
    os.close(held)
    removed = jobs.read(folders[0])
    assert removed is not None
    shutil.rmtree(folders[0])
    assert jobs.cancel(removed).id == removed.id
    with pytest.raises(ValueError, match="has been removed"):
        jobs.resume(removed)


def test_a_job_records_who_started_it_last(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int | None] = []
    monkeypatch.setattr(jobs, "_supervise", lambda folder: held.append(jobs._lock(folder)))
    assert jobs.start("count", ["one"], "at", owner="a").owner == "a"
    assert jobs.start("count", ["one"], "at", owner="b").owner == "a", "it runs already"
    assert jobs.start("count", ["two"], "at").owner == ""
    for n in range(2):
        jobs.start("count", [f"more {n}"], "at", owner="a")
    with pytest.raises(ValueError, match="3 of your jobs wait or run already"):
        jobs.start("count", ["a fourth"], "at", owner="a")
    jobs.start("count", ["a fourth"], "at", owner="b")
    for lock in filter(None, held):
        os.close(lock)
    (job,) = (job for job in jobs.listed("count") if job.command == ("one",))
    assert job.state == "interrupted"
    assert jobs.resume(job, "b").owner == "b"
    os.close(held[-1] or 0)


DAMAGED = [
    "", "null", "[]", "5", "{", "[" * 50_000, '{"state": 5}', '{"state": "nobody", "started": 1}',
    '{"state": "running", "started": "now"}', '{"state": "done", "started": null, "ended": []}',
    '{"state": "running", "started": -1e400, "first": "x"}', '{"state": "failed", "started": 1e308}',
    '{"state": "running", "started": NaN}', '{"state": ["running"], "group": "init"}', "\x00\x01",
    '{"done": "3", "total": -5, "time": "x", "message": {}}', '{"done": 1e999, "total": Infinity}',
    '{"done": null, "total": null, "message": null, "time": null}',
]  # fmt: skip


@pytest.mark.parametrize("name", ["state.json", "progress.json", "log.txt", "lock"])
@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_job_is_at_worst_interrupted(name: str, text: str) -> None:
    folder = jobs.home() / "count" / "one"
    folder.mkdir(parents=True)
    jobs.write(folder / "job.json", {"kind": "count", "command": ["models"], "result": "at"})
    (folder / name).write_text(text)
    (job,) = jobs.listed("count")
    assert job.state in ("interrupted", "done", "failed")
    assert all(number >= 0 for number in (job.seconds, job.rate, job.started, job.done, job.total))
    assert isinstance(job.message, str)


@pytest.mark.parametrize(
    "about",
    [*DAMAGED[:6], '{"kind": "count", "command": "models", "result": "at"}',
     '{"kind": "count", "command": [5], "result": "at"}', '{"kind": 5, "command": [], "result": "at"}',
     '{"kind": "count", "command": [], "result": "../../secret"}',
     '{"kind": "count", "command": [], "result": "/etc/passwd"}'],
    ids=range(11),
)  # fmt: skip
def test_a_job_with_a_senseless_description_is_not_listed(about: str) -> None:
    folder = jobs.home() / "count" / "one"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(about)
    assert jobs.listed("count") == []


def test_a_full_disk_does_not_end_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    jobs.report(tmp_path / "p.json", 1, 2)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_atomically_written_files_follow_the_umask(tmp_path: Path, umask: int) -> None:
    """Weights used to be written as files that nobody else could read."""
    before = os.umask(umask)
    try:
        with jobs.replacing(tmp_path / "weights") as part:
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.slow
@pytest.mark.parametrize(("code", "state"), [("0", "done"), ("2", "failed")])
def test_brief_files_go_when_the_job_has_ended(sleeper: list[str], code: str, state: str) -> None:
    files: dict[str, str | bytes] = {"lines.txt": "one", "photos/a/b": b"\xff\x00"}
    job = jobs.start("count", [*sleeper, "2", code], "at", files, "me", ("photos",))
    job = until(job, "done", "failed")
    assert job.state == state
    assert not (job.folder / "photos").exists()
    assert (job.folder / "lines.txt").read_text() == "one"
    assert job.brief == ("photos",)
    assert not job.resumable
    if state == "failed":
        with pytest.raises(ValueError, match="were removed when it ended"):
            jobs.resume(job)
        again = jobs.start("count", [*sleeper, "2", code], "at", files, "me", ("photos",))
        until(again, "failed")


@pytest.mark.slow
def test_brief_files_go_when_the_job_is_cancelled(sleeper: list[str]) -> None:
    job = jobs.start("count", [*sleeper, "200", "0"], "at", {"photos/a/b": b"x"}, "me", ("photos",))
    job = jobs.cancel(until(job, "moving"))
    assert job.state == "cancelled"
    assert not (job.folder / "photos").exists()


def test_brief_files_lie_inside_the_jobs_folder() -> None:
    with pytest.raises(ValueError, match="expected a word and a path"):
        jobs.start("count", ["1"], "at", {}, "me", ("../..",))
