"""Share independent work among threads that do not wait for each other after every operation."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import TypeVar

import torch

from .shortcuts import observed

T = TypeVar("T")
_lock = Lock()
_teams: list[tuple[ThreadPoolExecutor, int]] = []  # at most one, and how many threads it has


def share(work: Callable[[T], None], parts: Sequence[T]) -> None:
    """Do work on each part, as many parts at once as PyTorch has threads, each on one thread of its own.

    PyTorch splits every operation among its threads, which meet at its end: with thousands of short
    operations they wait much of the time, and if another process holds one's core, all the others do. Here
    a thread takes the next part when it has finished one.

    Whoever watches operations sees only those of the thread that asked, so then that one does all parts, as
    it does if PyTorch has one thread.

    Args:
        work: Computes without gradients; must not depend on which parts are done already.
        parts: What to call `work` with, each once; none is None.

    Raises:
        Exception: The first that `work` raises; parts not begun by then may be left out.
    """
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2 or _watched():
        for part in parts:
            work(part)
        return
    left, inference = deque(parts), torch.is_inference_mode_enabled()

    def some() -> None:
        try:
            with torch.inference_mode(inference), torch.no_grad():
                while (part := _next(left)) is not None:
                    work(part)
        except BaseException:
            left.clear()  # the others need not go on
            raise

    team = _team(torch.get_num_threads())
    for done in [team.submit(some) for _ in range(threads)]:
        done.result()


def _next(left: deque[T]) -> T | None:
    """Take the next part from those that are left; None if others have taken all."""
    try:
        return left.popleft()
    except IndexError:
        return None


def _watched() -> bool:
    """Whether operations are recorded by something that sees only the calls of one thread."""
    return observed() or torch._C._len_torch_function_stack() > 0 or torch.autograd._profiler_enabled()


def _team(threads: int) -> ThreadPoolExecutor:
    """Return at least so many threads, in which PyTorch uses one each; they are kept for the next time."""
    with _lock:
        if _teams and _teams[0][1] >= threads:
            return _teams[0][0]
        before, met = torch.get_num_threads(), Barrier(threads)
        team = ThreadPoolExecutor(threads, "cfviz", _alone)
        for ready in [team.submit(met.wait) for _ in range(threads)]:
            ready.result()
        torch.set_num_threads(before)  # what PyTorch gives to threads that begin later
        _teams[:] = [(team, threads)]  # the one before ends with the last work that was given to it
        return team


def _alone() -> None:
    """Let PyTorch use no other thread than this one."""
    torch.get_num_threads()  # the first question in a thread sets the number; it must not come later
    torch.set_num_threads(1)


def _forget() -> None:
    """A forked process has none of its parent's threads, and the lock as it was."""
    global _lock
    _lock = Lock()
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
