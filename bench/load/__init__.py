"""Load test with many readers at once: `python -m bench.load`, `make load`.

Starts the app on a free loopback port and lets readers (websocket clients, see `reader`) open pages,
pick photos, switch pages and click in figures, each pausing a few seconds between the end of a run and the
next click. Prints how long the runs took, the errors, the server's memory over time, how often a model was
loaded and what the server computed. The first minutes of a fresh server, when nothing is cached, are reported
apart from the steady state after them. The test ends after the given number of seconds or clicks, or when the
server dies. Clients and server share the machine's cores; the load average is printed beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import psutil
from websockets.exceptions import WebSocketException

from bench.load.reader import Reader, Rerun
from bench.ports import free_port
from bench.timing import Row, at_most, table

ROOT = Path(__file__).resolve().parents[2]
MOST_USERS, MOST_SECONDS, MOST_CLICKS = 200, 3600.0, 200_000
EVERY = 5.0  # seconds between samples of the server's memory
ARRIVAL = 0.2  # seconds between the arrivals of readers
TURN = re.compile(r"turn: (\S+) (\S+) took ([\d.]+) s, waited ([\d.]+) s")  # as the queue logs it
FLAT = 1.0  # MB per minute of growth that still count as flat


@dataclass
class Served:
    """A server started by this module.

    Attributes:
        port: The server's port on loopback.
        process: The server's process.
        log: The server's log file.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def count(self, words: str) -> int:
        """How often the log matches a regular expression."""
        return len(re.findall(words, self.log.read_text(errors="replace")))


@dataclass
class Found:
    """The observations: each run, and the server's memory as (seconds since the start, MB)."""

    runs: list[Rerun] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)
    cpu: float = 0.0
    loads: list[float] = field(default_factory=list)

    def between(self, begin: float, end: float = float("inf")) -> list[Rerun]:
        """The runs that began in a span of seconds since the start."""
        return [run for run in self.runs if begin <= run.at - run.seconds - self.start < end]


@contextmanager
def served(threads: int | None = None, ahead: bool = False) -> Iterator[Served]:
    """Serve the app on a free loopback port, with a cache folder of its own, until the end of the block.

    Args:
        threads: Of the model; by default torch's own number.
        ahead: Whether the server computes the gallery's results while it idles.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cfviz-load-") as folder:
        log = Path(folder) / "log.txt"
        env = {"MALLOC_ARENA_MAX": "2", **os.environ, "CFVIZ_CACHE": folder, "HF_HUB_OFFLINE": "1"}
        env["CFVIZ_AHEAD"] = str(int(ahead))
        if threads:
            env["OMP_NUM_THREADS"] = str(threads)
        command = [sys.executable, "-m", "bench.load", "--serve", str(port)]
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait(port, process, log)
            yield Served(port, process, log)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(400):
        try:
            urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
            return
        except (URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.25)
    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")


def serve(port: int) -> None:
    """Run the app with the log lines that `Served.count` needs."""
    from streamlit.web import cli

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("cfviz").setLevel(logging.DEBUG)
    options = {"address": "127.0.0.1", "port": port, "headless": "true"}
    flags = [word for name, value in options.items() for word in (f"--server.{name}", str(value))]
    cli.main(["run", str(ROOT / "app.py"), *flags], standalone_mode=False)


# ---------------------------------------------------------------- the crowd


async def crowd(server: Served, users: int, seconds: float, think: float, clicks: int) -> Found:
    """Run all readers to the end; return the observations."""
    found = Found()
    until, left = found.start + seconds, [clicks]
    watching = asyncio.create_task(_watch(server, found, until))
    readers = [_reader(server, n, n * ARRIVAL, think, until, left, found) for n in range(users)]
    await asyncio.gather(*readers)
    watching.cancel()
    return found


async def _reader(
    server: Served, n: int, wait: float, think: float, until: float, left: list[int], found: Found
) -> None:
    reader = Reader(f"ws://127.0.0.1:{server.port}/_stcore/stream", seed=n)
    await asyncio.sleep(wait)
    try:
        async with reader:
            act = reader.open
            while time.monotonic() < until and left[0] > 0:
                left[0] -= 1
                found.runs.append(await act())
                act = reader.click
                # Pauses vary around `think`, some much longer, so that readers do not click all at once.
                await asyncio.sleep(min(reader.rng.gammavariate(4.0, think / 4.0), until - time.monotonic()))
    except (OSError, WebSocketException) as error:
        now = time.monotonic()
        found.runs.append(Rerun(reader.page, "connection", 0.0, 0, [repr(error)], now))


async def _watch(server: Served, found: Found, until: float) -> None:
    """Record the server's memory and the machine's load every few seconds."""
    process = psutil.Process(server.process.pid)
    try:
        while time.monotonic() < until:
            found.memory.append((time.monotonic() - found.start, process.memory_info().rss / 2**20))
            found.cpu = sum(process.cpu_times()[:2])
            found.loads.append(psutil.getloadavg()[0])
            await asyncio.sleep(EVERY)
    except psutil.NoSuchProcess:
        return


# ---------------------------------------------------------------- the figures


@dataclass(frozen=True)
class Phase:
    """A part of the test that is reported by itself.

    Attributes:
        name: "cold" or "steady".
        begin: Seconds since the start.
        end: Seconds since the start.
        median: The target for the median of the runs' seconds.
        late: The target for their 95th percentile.
        longest: The target for the longest run.
        growth: The target for the growth of memory in MB per minute; None where caches are still filling.
    """

    name: str
    begin: float
    end: float
    median: float
    late: float
    longest: float
    growth: float | None


def phases(warm: float, cold: float) -> list[Phase]:
    """The first minutes of a fresh server, and what comes after them.

    Args:
        warm: Seconds at the beginning that are not counted.
        cold: Seconds from the start until the caches count as filled.
    """
    return [
        Phase("cold", warm, cold, 0.3, 3.0, 8.0, None),
        Phase("steady", max(warm, cold), float("inf"), 0.3, 1.5, 8.0, FLAT),
    ]


def slope(memory: Sequence[tuple[float, float]], begin: float, end: float = float("inf")) -> float:
    """Growth of memory in a span of time in MB per minute (Theil–Sen estimator).

    Args:
        memory: Pairs of (seconds, MB).
        begin: Seconds since the start.
        end: Seconds since the start.
    """
    late = np.array([point for point in memory if begin <= point[0] < end])
    if len(late) < 3:
        return float("nan")
    i, j = np.triu_indices(len(late), 1)
    return 60 * float(np.median((late[j, 1] - late[i, 1]) / (late[j, 0] - late[i, 0])))


def report(found: Found, server: Served, warm: float, cold: float) -> str:
    """The figures as text: those of the cold minutes, those of the steady state, and those of the whole."""
    wrong = [run for run in found.runs if run.errors]
    parts = [text for phase in phases(warm, cold) if (text := _phase(found, phase))]
    if not parts:
        return f"no run began after {warm:.0f} s of warm-up; errors: {_errors(wrong)}"
    rows = [
        at_most("errors", len(wrong), 0, 0, "", f"of {len(found.runs)} reruns"),
        at_most("models loaded", server.count("model ready"), 1, 0, ""),
    ]
    lines = [*parts, "the whole test", "", table(rows), ""]
    lines += [
        f"server's CPU {found.cpu:.0f} s in all, {1e3 * found.cpu / len(found.runs):.0f} ms a rerun; "
        f"load of the machine {median(found.loads):.1f} (median of 1-minute averages); "
        f"{server.count('forward ')} forwards"
    ]
    series = "  ".join(f"{s / 60:.1f} min {mb:.0f}" for s, mb in _thin(found.memory, 12))
    lines += [f"memory, MB: {series}", "", computed(server.log.read_text(errors="replace"))]
    return "\n".join(lines + ([f"errors: {_errors(wrong)}"] if wrong else []))


def _phase(found: Found, phase: Phase) -> str:
    """One phase's figures; nothing if no run began in it."""
    runs = found.between(phase.begin, phase.end)
    times = np.array([run.seconds for run in runs if not run.errors])
    if not len(times):
        return ""
    span = max(run.at for run in runs) - min(run.at - run.seconds for run in runs)
    growth = slope(found.memory, phase.begin, phase.end)
    memory = Row("memory, slope", f"{growth:.2f} MB/min")  # caches are filling
    if phase.growth is not None:
        memory = at_most("memory, slope", growth, phase.growth, 2, " MB/min")
    rows = [
        at_most("rerun, median", float(np.median(times)), phase.median, 3, " s", f"{len(times)} reruns"),
        at_most("rerun, 95th percentile", float(np.percentile(times, 95)), phase.late, 3, " s"),
        at_most("rerun, longest", float(times.max()), phase.longest, 2, " s"),
        memory,
    ]
    until = "" if phase.end == float("inf") else f" to {phase.end:.0f}"
    head = f"{phase.name}: from {phase.begin:.0f}{until} s, {len(times) / span:.1f} reruns/s"
    return "\n".join([head, "", table(rows), "", _by_kind(runs), "", _by_page(runs), ""])


def computed(log: str) -> str:
    """What the server computed: how often, for how many different keys, how long it took and waited."""
    groups: dict[str, list[tuple[str, float, float]]] = {}
    for name, key, took, waited in TURN.findall(log):
        groups.setdefault(name, []).append((key, float(took), float(waited)))
    lines = [f"{'computed':44} {'n':>6} {'keys':>6} {'took s':>8} {'median':>7} {'waited p95':>10}"]
    for name, some in sorted(groups.items(), key=lambda item: -sum(took for _, took, _ in item[1])):
        took, waited = [one[1] for one in some], [one[2] for one in some]
        keys = len({key for key, _, _ in some})
        lines.append(
            f"{name[:44]:44} {len(some):6} {keys:6} {sum(took):8.2f} {median(took):7.3f} "
            f"{np.percentile(waited, 95):10.3f}"
        )
    return "\n".join(lines)


def _by_kind(runs: Sequence[Rerun]) -> str:
    return _groups(runs, "kind")


def _by_page(runs: Sequence[Rerun]) -> str:
    return _groups(runs, "page")


def _groups(runs: Sequence[Rerun], name: str) -> str:
    groups: dict[str, list[Rerun]] = {}
    for run in runs:
        groups.setdefault(getattr(run, name) or "home", []).append(run)
    lines = [f"{name:14} {'n':>6} {'median s':>9} {'p95 s':>8} {'longest':>8} {'kB':>7}"]
    for key, some in sorted(groups.items()):
        times = [run.seconds for run in some]
        size = median(run.size for run in some) / 1024
        lines.append(
            f"{key:14} {len(some):6} {median(times):9.3f} {np.percentile(times, 95):8.3f} "
            f"{max(times):8.3f} {size:7.0f}"
        )
    return "\n".join(lines)


def _thin(memory: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    step = max(1, len(memory) // most)
    return [*memory[::step]]


def _errors(wrong: Sequence[Rerun]) -> str:
    counted: dict[str, int] = {}
    for run in wrong:
        words = f"{run.page or 'home'}/{run.kind}: {run.errors[0][:160]}"
        counted[words] = counted.get(words, 0) + 1
    return "; ".join(f"{n} x {words}" for words, n in sorted(counted.items(), key=lambda item: -item[1])[:8])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test; the exit code is 1 if a reader met an error, but slowness is not a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=50, help=f"at most {MOST_USERS}")
    parser.add_argument("--seconds", type=float, default=420.0, help=f"in all, at most {MOST_SECONDS:.0f}")
    parser.add_argument("--cold", type=float, default=240.0, help="seconds that are reported as cold")
    parser.add_argument(
        "--idle", type=float, default=0.0, help="seconds that the server idles first, computing ahead"
    )
    parser.add_argument("--warm", type=float, default=0.0, help="seconds at first that are not counted")
    parser.add_argument("--think", type=float, default=3.0, help="seconds between a run's end and a click")
    parser.add_argument("--clicks", type=int, default=MOST_CLICKS, help="at most, by all readers")
    parser.add_argument("--threads", type=int, help="of the model (OMP_NUM_THREADS)")
    parser.add_argument("--keep-log", type=Path, help="copy the server's log here at the end")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        serve(given.serve)
        return 0
    users, seconds = min(given.users, MOST_USERS), min(given.seconds, MOST_SECONDS)
    with served(given.threads, given.idle > 0) as server:
        time.sleep(given.idle)
        found = asyncio.run(crowd(server, users, seconds, max(0.1, given.think), given.clicks))
        print(report(found, server, given.warm, given.cold))
        if given.keep_log:
            given.keep_log.write_bytes(server.log.read_bytes())
    return 1 if any(run.errors for run in found.runs) else 0
