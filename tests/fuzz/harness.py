"""Send many generated inputs to one entry point of cfviz, in separate processes, and report what goes wrong.

An input depends only on a kind, a seed and a number, so a failure can be reproduced. A worker process makes
the input and tries it; if the worker dies or is silent for too long, its input is to blame. Failures are: an
exception that is not one of our sentences, a crash, and more than `SECONDS` of processor time or `MEMORY`
for one input.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS = 2.0  # of processor time: a busy machine is no failure
PATIENCE = 30.0  # seconds on the clock before a worker is taken for hung
START_SECONDS = 120.0
MEMORY = 2 * 2**30  # bytes a worker may grow by with one input


class Case(NamedTuple):
    """One input: its bytes, how it was made, and what else its kind needs to try it."""

    data: bytes
    note: str
    extra: Any = None


@dataclass(frozen=True)
class Failure:
    """An input that failed."""

    kind: str
    seed: int
    index: int
    what: str
    detail: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz {self.kind} --seed {self.seed} --case {self.index}"
        return f"{self.what}: {again}\n{self.detail}"


@dataclass
class Report:
    """The results of a run."""

    kind: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """Number of inputs that were tried to the end, with or without a failure."""
        return sum(self.outcomes.values()) + len(self.failures)

    def __str__(self) -> str:
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        slow = f"slowest {self.slowest[0]:.2f} s (number {self.slowest[1]})"
        return (
            f"{self.kind}, seed {self.seed}: {self.tried} inputs in {self.seconds:.0f} s, "
            f"{len(self.failures)} failed; {slow}\n  {outcomes}"
        )


def case_of(kind: str, seed: int, index: int) -> Case:
    """Input number `index`, the same on every machine with the same libraries."""
    return import_module(kind).make(np.random.default_rng([seed, index]))


def try_one(kind: str, seed: int, index: int) -> tuple[str, Failure | None, float]:
    """Make an input and try it in this process; return the outcome, the failure or None, and the seconds."""
    case = case_of(kind, seed, index)
    return _tried(kind, seed, index, case)


def _tried(kind: str, seed: int, index: int, case: Case) -> tuple[str, Failure | None, float]:
    short = kind.rpartition(".")[2]
    began, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        outcome, wrong, detail = import_module(kind).check(case), "", ""
    except BaseException:
        outcome, wrong, detail = "", "exception", traceback.format_exc(limit=-12)
    seconds = time.process_time() - began
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held)
    if not wrong and seconds > getattr(import_module(kind), "SECONDS", SECONDS):
        wrong, detail = "slow", f"{seconds:.1f} s of processor time"
    if not wrong and grown > MEMORY:
        wrong, detail = "memory", f"{grown / 2**20:.0f} MB"
    failure = Failure(short, seed, index, wrong, f"{case.note}\n{detail}") if wrong else None
    return outcome, failure, seconds


# ---------------------------------------------------------------- workers


def work(kind: str, seed: int, descriptor: int) -> None:
    """Run a worker: it reads numbers and writes "begun", then the result, for each."""
    pipe = Connection(descriptor)
    module = import_module(kind)
    getattr(module, "warm", lambda: None)()
    pipe.send("ready")
    while True:  # until it is stopped
        index = pipe.recv()
        case = case_of(kind, seed, index)
        pipe.send("begun")
        pipe.send(_tried(kind, seed, index, case))


class Worker:
    """A process that tries inputs, replaced when an input has killed it."""

    def __init__(self, kind: str, seed: int, errors: Path) -> None:
        self.kind, self.seed, self.errors = kind, seed, errors
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe: Connection

    def start(self) -> None:
        """Start the process, or start it again."""
        self.pipe, theirs = multiprocessing.Pipe()
        # Not multiprocessing.Process, which runs the main module again, and that may be a page.
        code = f"from tests.fuzz.harness import work; work({self.kind!r}, {self.seed}, {theirs.fileno()})"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        with self.errors.open("ab") as log, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", code],
                env=env,
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=log,
            )
        with suppress(EOFError):
            if self.pipe.poll(START_SECONDS) and self.pipe.recv() == "ready":
                return
        raise RuntimeError(f"a worker for {self.kind} did not start; see {self.errors}")

    def stop(self) -> None:
        """Stop the process; it has nothing to save."""
        if self.process is None:
            return
        self.pipe.close()
        self.process.kill()
        self.process.wait()
        self.process = None

    def run(self, index: int, patience: float) -> tuple[str, Failure | None, float]:
        """Try one input; if the process dies or hangs, that is a failure, and a new process takes over."""
        if self.process is None:
            self.start()
        began = time.monotonic()
        assert self.process is not None
        try:
            self.pipe.send(index)
            for _ in range(2):
                if not self.pipe.poll(patience):
                    return self._lost(index, "hang", f"no answer for {patience:.0f} s", began)
                answer = self.pipe.recv()
            return answer
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)  # the pipe closes before the process has ended
            code = self.process.poll()
            return self._lost(index, "crash", f"exit code {code}", began)

    def _lost(self, index: int, what: str, detail: str, began: float) -> tuple[str, Failure, float]:
        self.stop()
        short = self.kind.rpartition(".")[2]
        return "", Failure(short, self.seed, index, what, detail), time.monotonic() - began


def run(
    kind: str,
    seed: int,
    count: int,
    *,
    errors: Path,
    workers: int = 1,
    seconds: float = float("inf"),
    patience: float = PATIENCE,
) -> Report:
    """Try inputs 0 to `count` - 1 of a kind.

    Args:
        kind: a module with ``make(rng) -> Case`` and ``check(case) -> str``, an outcome in a word.
        seed: what all inputs follow from.
        count: how many.
        errors: a file that takes what the workers write to their standard error.
        workers: processes side by side.
        seconds: stop after this long.
        patience: on the clock, before a worker is taken for hung.
    """
    report = Report(kind.rpartition(".")[2], seed)
    began, lock = time.monotonic(), threading.Lock()
    numbers: Iterator[int] = itertools.takewhile(
        lambda n: n < count and time.monotonic() - began < seconds, itertools.count()
    )

    def follow() -> None:
        worker = Worker(kind, seed, errors)
        try:
            while True:
                with lock:
                    index = next(numbers, None)
                if index is None:
                    return
                outcome, failure, took = worker.run(index, patience)
                with lock:
                    _note(report, index, outcome, failure, took)
        finally:
            worker.stop()

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(follow) for _ in range(workers)]:
            done.result()
    report.seconds = time.monotonic() - began
    report.failures.sort(key=lambda failure: failure.index)
    return report


def _note(report: Report, index: int, outcome: str, failure: Failure | None, took: float) -> None:
    report.slowest = max(report.slowest, (took, index))
    if failure is None:
        report.outcomes[outcome] += 1
    else:
        report.failures.append(failure)
