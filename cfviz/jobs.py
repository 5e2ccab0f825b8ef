"""Background jobs: `python -m cfviz` commands that can be started, watched, cancelled and resumed.

A job is a folder. `job.json` holds the request, `state.json` the state, `progress.json` the progress and
`log.txt` the command's output. The JSON files are replaced atomically, never written in place, so every
reader, even after a page reload or a server restart, sees either the old state or the new. While a job waits
or runs, it and its command hold a lock on the folder. If the state is waiting or running but the lock is
free, the process died, and the job counts as interrupted; so does a job whose state file is invalid.

Every job has a supervisor: this file run as a script, so that it takes a few megabytes rather than torch's
hundreds. It waits for a free slot (of `AT_ONCE`), oldest job first, then runs the command at low priority.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOBS, FOLDERS = "CFVIZ_JOBS", "CFVIZ_FOLDERS"
STATES = ("waiting", "running", "done", "failed", "cancelled", "interrupted")
ALIVE = ("waiting", "running")
RESUMABLE = ("failed", "cancelled", "interrupted")
PLACE = "{job}"  # placeholder in arguments for the job's own folder
GRACE = 5.0  # seconds between asking a job to end and killing it
AT_ONCE = 1  # jobs that run at the same time; the others wait
MOST_WAITING = 8
MOST_OF_ONE = 3  # jobs of one owner that wait or run
KEPT, KEPT_BYTES = 50, 2 * 2**30  # finished jobs and their files; the oldest are removed first
LOOK = 0.25  # seconds between a waiting job's checks for a free slot
NICE = 10  # the pages come first
MOST_BYTES = 1 << 20  # size limit of a job's JSON files
MOST_FOLDERS = 200


@dataclass(frozen=True)
class Job:
    """The current state of a job.

    Attributes:
        folder: The job's own folder.
        kind: The word under which pages list it.
        command: The arguments of `python -m cfviz`.
        result: The path of the command's result.
        state: One of `STATES`.
        done: Units of work done, out of `total`; 0 of 0 until the command reports.
        total: Units of work in all.
        message: The command's latest progress message, or the last line of its log if it failed.
        seconds: How long it has been running since its last start.
        rate: Units per second since its last start; 0 if unknown.
        started: Time of its last start, in seconds since 1970.
        owner: Who started it last, as given to `start` or `resume`.
        brief: Folders of its input files that are removed once it has ended.
    """

    folder: Path
    kind: str
    command: tuple[str, ...]
    result: Path
    state: str
    done: int
    total: int
    message: str
    seconds: float
    rate: float
    started: float
    owner: str = ""
    brief: tuple[str, ...] = ()

    @property
    def resumable(self) -> bool:
        """Whether it stopped before it was done, and what it reads is still there."""
        return self.state in (("interrupted",) if self.brief else RESUMABLE)

    @property
    def id(self) -> str:
        """The job's name, unique within its kind."""
        return self.folder.name

    @property
    def left(self) -> float | None:
        """Estimated seconds remaining, or None if unknown."""
        return (self.total - self.done) / self.rate if self.rate and self.state == "running" else None


# ---------------------------------------------------------------- for commands


def report(path: str | os.PathLike[str] | None, done: int, total: int, message: str = "") -> None:
    """Record a command's progress; do nothing if `path` is None."""
    if path is not None:
        with suppress(OSError):  # a full disk must not stop the command
            write(Path(path), {"done": done, "total": total, "message": message, "time": time.time()})


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a temporary file that replaces `path` at the end; if the block fails, `path` is left unchanged.

    Anything reading `path` meanwhile, or after a power cut, finds either the old file or the new one.

    Args:
        path: The file to replace or create.

    Yields:
        The temporary file to write, unique to this process and thread.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.touch()
        mode = part.stat().st_mode  # as the umask sets it; some writers create files only the owner can read
        part.unlink()
        yield part
        part.chmod(mode)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str], option: str, ending: str = "") -> None:
    """Check that a result can be written before computing it.

    Args:
        path: The file to write later.
        option: The command-line option that names the file, for the error message.
        ending: What its name must end in, ".safetensors" for example; empty for anything.

    Raises:
        ValueError: If `path` has another ending, is a folder, or the folder it lies in does not exist or
            cannot be written to.
    """
    target = Path(path)
    folder = target.parent
    if ending and target.suffix != ending:
        raise ValueError(f"{option} {path}: expected a name that ends in {ending}")
    if target.is_dir():
        raise ValueError(f"{option} {target} is a folder, expected the name of a file")
    if not folder.is_dir():
        raise ValueError(f"{option} {target}: there is no folder {folder}; make it first")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise ValueError(f"{option} {target} cannot be written to")


def write(path: Path, content: Any) -> None:
    """Replace a JSON file atomically; file names that are not valid UTF-8 are preserved."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(content, indent=1)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


# ---------------------------------------------------------------- for pages


def home() -> Path:
    """The folder of all jobs: `CFVIZ_JOBS`, or one in the platform's user data folder."""
    if given := os.environ.get(JOBS):
        return Path(given)
    return platformdirs.PlatformDirs("cfviz", appauthor=False).user_data_path / "jobs"


def start(
    kind: str,
    command: Sequence[str],
    result: str,
    files: Mapping[str, str | bytes] | None = None,
    owner: str = "",
    brief: Sequence[str] = (),
) -> Job:
    """Run `python -m cfviz <command>` in the background, or resume an identical job that stopped.

    Of jobs that have ended, the oldest beyond `KEPT`, or beyond `KEPT_BYTES` of files, are removed.

    Args:
        kind: A word under which jobs are listed.
        command: Arguments; `{job}` in them becomes the job's own folder. `--progress FILE` is appended, with
            the file that the command reports to (see `report`).
        result: The path of the command's result, inside the job's folder.
        files: Maps names to the contents of input files to write into the job's folder.
        owner: A word that identifies whoever starts it; empty for nobody in particular.
        brief: Folders of these files to remove once the job has ended, however it ends.

    Returns:
        The job, which may have to wait. If a job with the same arguments is running, that job is returned; if
        it stopped before finishing, it restarts in its folder, and the command resumes from the files there.

    Raises:
        ValueError: If the kind or a path is not valid, the system has no file locks, or too many jobs are
            already waiting, in all or of this owner.
    """
    if fcntl is None:
        raise ValueError("background jobs need Linux or macOS")
    texts = dict(files or {})
    if not kind.isidentifier() or not all(map(_is_inside, (result, *texts, *brief))):
        raise ValueError(f"got kind {kind!r} and result {result!r}; expected a word and a path in the folder")
    alive = [job for job in _every() if job.state in ALIVE]
    waiting = sum(job.state == "waiting" for job in alive)
    if waiting >= MOST_WAITING:
        raise ValueError(f"{waiting} jobs wait already; expected at most {MOST_WAITING}")
    _check_share(owner, alive)
    about: dict[str, Any] = {"kind": kind, "command": list(command), "result": result}
    about |= {"brief": list(brief)} if brief else {}
    known = {
        at: one if isinstance(one, str) else hashlib.sha256(one).hexdigest() for at, one in texts.items()
    }
    name = hashlib.sha256(json.dumps([about, known] if known else about).encode()).hexdigest()[:12]
    folder, number = home() / kind / name, 1
    while (folder / "job.json").exists() and (old := read(folder)) is not None and old.state == "done":
        number += 1
        folder = home() / kind / f"{name}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    if (old := read(folder)) is None or (brief and old.state not in ALIVE):
        for place, content in texts.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            with replacing(folder / place) as part:
                part.write_bytes(content.encode() if isinstance(content, str) else content)
        write(folder / "job.json", about)
    job = _launch(folder, owner)
    _make_room()
    return job


def _check_share(owner: str, alive: Sequence[Job]) -> None:
    own = sum(job.owner == owner for job in alive)
    if owner and own >= MOST_OF_ONE:
        raise ValueError(f"{own} of your jobs wait or run already; expected at most {MOST_OF_ONE}")


def _make_room() -> None:
    """Remove the oldest jobs that have ended, beyond `KEPT` and `KEPT_BYTES`."""
    size = 0
    ended = sorted((job for job in _every() if job.state not in ALIVE), key=lambda job: -job.started)
    for n, job in enumerate(ended):
        size += sum(path.stat().st_size for path in job.folder.rglob("*") if path.is_file())
        if n and (n >= KEPT or size > KEPT_BYTES) and (lock := _lock(job.folder)) is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
            os.close(lock)


def _is_inside(path: str) -> bool:
    return bool(path) and not Path(path).is_absolute() and ".." not in Path(path).parts


def resume(job: Job, owner: str = "") -> Job:
    """Start the same command again in the same folder.

    Raises:
        ValueError: If the job or what it reads has been removed, or too many jobs of this owner are waiting
            or running.
    """
    now = read(job.folder)
    if now is None:
        raise ValueError("this job has been removed, to make room for later ones")
    if now.brief and now.state in RESUMABLE and not now.resumable:
        raise ValueError("the photos of this job were removed when it ended; start it again with them")
    _check_share(owner, [one for one in _every() if one.state in ALIVE])
    return _launch(job.folder, owner)


def _launch(folder: Path, owner: str) -> Job:
    """Start the supervisor unless the job waits or runs.

    A lock of its own keeps others from launching it as well, so that the job can be prepared while it does
    not count as waiting yet: whoever cancels it from then on leaves a mark that nobody removes.
    """
    launching = _lock(folder, "launch")
    if launching is not None:
        try:
            if _free(folder):
                (folder / "progress.json").unlink(missing_ok=True)
                (folder / "cancel").unlink(missing_ok=True)
                write(folder / "state.json", {"state": "waiting", "started": time.time(), "owner": owner})
                _supervise(folder)
        finally:
            os.close(launching)
    found = read(folder)
    assert found is not None
    return found


def _supervise(folder: Path) -> None:
    """Start the supervisor in a process group of its own, handing it the folder's lock."""
    lock = _lock(folder)
    if lock is None:
        return
    try:
        runner = [sys.executable, "-P", __file__, str(folder.resolve()), str(lock)]  # -P: see top of file
        root = str(Path(__file__).resolve().parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            runner,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,
        )
    finally:
        os.close(lock)
    threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie


def cancel(job: Job) -> Job:
    """End a waiting or running job and all its processes; saved work is kept, and the job can be resumed."""
    folder = job.folder
    with suppress(OSError):  # end the job even if the disk is full
        (folder / "cancel").touch()
    until = time.monotonic() + GRACE
    while (group := _json(folder / "state.json").get("group")) is None and time.monotonic() < until:
        if _free(folder):
            break
        time.sleep(0.02)  # the process is about to record its group
    for sign, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        if _free(folder) or not isinstance(group, int) or group <= 1:
            break
        try:
            os.killpg(group, sign)  # a group's id is not reused while the group exists
        except ProcessLookupError:
            break
        until = time.monotonic() + wait
        while not _free(folder) and time.monotonic() < until:
            time.sleep(0.02)
    if _free(folder):  # a process that was killed had no time to
        _remove_brief(folder)
    return read(folder) or job  # it may have been removed, to make room for later ones


def listed(kind: str) -> list[Job]:
    """All jobs of a kind, most recently started first."""
    return sorted(_every(kind), key=lambda job: -job.started)


def read(folder: Path) -> Job | None:
    """The job in a folder, or None if there is none or its request cannot be read."""
    about, free = _about(folder), _free(folder)
    state, progress = _json(folder / "state.json"), _json(folder / "progress.json")
    if about is None:
        return None
    now, started = _state(state), _number(state, "started")
    if now in ALIVE and free:  # it died, unless it finished after the state was read
        state = _json(folder / "state.json")
        now = _state(state)
        if now in ALIVE:
            now = "cancelled" if (folder / "cancel").exists() else "interrupted"
    done, total = int(_number(progress, "done")), int(_number(progress, "total"))
    reported = _number(progress, "time", started)
    end = time.time() if now in ALIVE else _number(state, "ended", reported)
    base, since = int(_number(state, "first")), reported - started
    message = _last_line(folder / "log.txt") if now == "failed" else progress.get("message")
    rate = (done - base) / since if since > 0 and done > base else 0.0
    return Job(
        folder, about["kind"], tuple(about["command"]), folder / about["result"], now, done, total,
        message if isinstance(message, str) else "", max(0.0, end - started), rate, started, _owner(state),
        tuple(about.get("brief", ())),
    )  # fmt: skip


def _every(kind: str = "*") -> list[Job]:
    """All jobs of a kind, or of all kinds."""
    return [job for path in home().glob(f"{kind}/*/job.json") if (job := read(path.parent)) is not None]


def _about(folder: Path) -> dict[str, Any] | None:
    """The job's request, or None if it is not in the form that `start` writes."""
    about = _json(folder / "job.json")
    kind, command, result = (about.get(name) for name in ("kind", "command", "result"))
    texts = isinstance(command, list) and all(isinstance(word, str) and "\0" not in word for word in command)
    inside = isinstance(result, str) and "\0" not in result and _is_inside(result)
    brief = about.get("brief", [])
    good = isinstance(brief, list) and all(isinstance(one, str) and _is_inside(one) for one in brief)
    named = isinstance(kind, str) and kind == folder.parent.name
    return about if named and texts and inside and good else None


def _remove_brief(folder: Path) -> None:
    """Remove the input files of an ended job that were to be kept no longer."""
    for place in (_about(folder) or {}).get("brief", ()):
        shutil.rmtree(folder / place, ignore_errors=True)


def _state(state: Mapping[str, Any]) -> str:
    now = state.get("state")
    return now if isinstance(now, str) and now in STATES else "interrupted"


def _owner(state: Mapping[str, Any]) -> str:
    owner = state.get("owner")
    return owner if isinstance(owner, str) else ""


def _number(read: Mapping[str, Any], name: str, default: float = 0.0) -> float:
    """A non-negative finite number; `default` for anything else."""
    value = read.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e12:
        return value  # not NaN, not infinite
    return default


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            read = json.loads(file.read(MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _lock(folder: Path, name: str = "lock") -> int | None:
    """A file descriptor that holds a lock in a folder; None if another process holds it."""
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _free(folder: Path) -> bool:
    """Whether no job is waiting or running in a folder."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR)
    except OSError:  # no lock file, or one that could never have been held
        return True
    if fcntl is None:
        os.close(descriptor)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


# ---------------------------------------------------------------- folders of photos


def roots() -> list[Path]:
    """The folders from which jobs may read photos, as set in `CFVIZ_FOLDERS`."""
    given = os.environ.get(FOLDERS, "").split(os.pathsep)
    return [Path(path).resolve() for path in given if path and Path(path).is_dir()]


def allowed(folder: str | os.PathLike[str]) -> Path:
    """Check that a folder and everything in it lie under the roots; return its resolved path.

    Raises:
        ValueError: If it does not exist, is not under the roots, or contains a link that leads out of them.
    """
    path = Path(folder).resolve()
    if not _inside(path):
        raise ValueError(f"{os.fspath(folder)!r} is not under a folder of {FOLDERS}")
    if not path.is_dir():
        raise ValueError(f"{os.fspath(folder)!r} is no folder")
    for at, folders, files in os.walk(path):
        for name in (*folders, *files):
            inner = os.path.join(at, name)
            if os.path.islink(inner) and not _inside(Path(inner).resolve()):
                raise ValueError(f"{os.path.relpath(inner, path)!r} is a link that leads out of {FOLDERS}")
    return path


def _inside(path: Path) -> bool:
    return any(path.is_relative_to(root) for root in roots())


def folders(flat: bool = False) -> list[Path]:
    """The roots and the folders up to two levels below them that have subfolders, which may be classes.

    Args:
        flat: Also those that hold only files.
    """
    return list(dict.fromkeys(_with_entries(flat)))[:MOST_FOLDERS]


def _with_entries(flat: bool) -> Iterator[Path]:
    for root in roots():
        for path in (root, *sorted(root.glob("*")), *sorted(root.glob("*/*"))):
            if path.is_symlink() or not path.is_dir():
                continue
            with os.scandir(path) as inner:
                if any(flat or entry.is_dir(follow_symlinks=False) for entry in inner):
                    yield path


# ---------------------------------------------------------------- the process of a job


def _run(folder: Path, lock: int) -> int:
    """Wait for a slot, run the job's command to completion and record how it ended.

    The command also holds the locks on the folder and the slot.
    """
    owner = _owner(_json(folder / "state.json"))
    begun: dict[str, Any] = {"group": os.getpid(), "started": time.time(), "owner": owner}
    write(folder / "state.json", {"state": "waiting", **begun})
    os.nice(NICE)
    place = None
    while not (folder / "cancel").exists():
        place = _place(folder, begun["started"])
        if place is not None:
            break
        time.sleep(LOOK)
    about = _about(folder)
    if place is None or about is None or (folder / "cancel").exists():
        _remove_brief(folder)
        write(folder / "state.json", {**begun, "state": "cancelled", "ended": time.time()})
        return 1
    arguments = [argument.replace(PLACE, str(folder)) for argument in about["command"]]
    command = [sys.executable, "-m", "cfviz", *arguments, "--progress", str(folder / "progress.json")]
    begun["started"] = time.time()
    write(folder / "state.json", {"state": "running", **begun})
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock, place)
        )
        while process.poll() is None:
            first = _json(folder / "progress.json").get("done")
            if isinstance(first, int):  # units already done when a resumed job restarted, to compute its rate
                with suppress(OSError):
                    write(folder / "state.json", {"state": "running", **begun, "first": first})
                break
            time.sleep(0.05)
        code = process.wait()
    state = "done" if code == 0 else "cancelled" if (folder / "cancel").exists() else "failed"
    _remove_brief(folder)
    last = _json(folder / "state.json")
    write(folder / "state.json", {**last, "state": state, "code": code, "ended": time.time()})
    return code


def _place(folder: Path, since: float) -> int | None:
    """A descriptor that holds a slot's lock, or None if none is free or another job has waited longer."""
    me = folder.parent.name, folder.name
    waiting = (job for job in _every() if job.state == "waiting" and (job.kind, job.id) != me)
    if any((job.started, job.id) < (since, folder.name) for job in waiting):
        return None
    for number in range(AT_ONCE):
        if (descriptor := _lock(home(), f"place-{number}.lock")) is not None:
            return descriptor
    return None


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1]), int(sys.argv[2])))
