"""Which photos of a folder a run can use.

A file may look like a photo and still be truncated or damaged. Every photo is therefore decoded once before
the first step, so that no count has to be corrected later; building a cache does the same. The result is kept
in the run's folder, and a run that resumes with the same photos skips the check.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object

from cfviz.framing import SMALLEST
from cfviz.jobs import write

from .cache import PhotoCache
from .data import EvalSet, Photos, readable
from .folder import account, identity, shown

NAME = "files.json"


def unusable(
    photos: Photos, run: Path, accelerator: Accelerator, workers: int, tell: Callable[[str], None]
) -> np.ndarray:
    """Find the photos that cannot be decoded; the processes share the work.

    Args:
        photos: A folder or a cache.
        run: The run's folder, which may hold the result of an earlier check.
        accelerator: The processes.
        workers: Number of processes that read photos, for each of them.
        tell: Called with one line if the photos have to be checked.

    Returns:
        Indices, sorted, int64.
    """
    if isinstance(photos, PhotoCache):
        return np.zeros(0, dtype=np.int64)
    skipped = _known(run / NAME, photos)
    accelerator.wait_for_everyone()  # every process must have read the file before one writes it
    if skipped is not None:
        return np.flatnonzero([shown(name) in skipped for name in photos.names])
    tell(f"checking {len(photos)} photos: each is decoded once")
    mine = np.arange(accelerator.process_index, len(photos), accelerator.num_processes)
    found = mine[~readable(EvalSet(photos, SMALLEST, mine), workers)].tolist()
    if accelerator.num_processes > 1:
        found = gather_object(found)
    return np.asarray(sorted(found), dtype=np.int64)


def _known(path: Path, photos: Photos) -> dict[str, str] | None:
    """The files skipped by an earlier check of the same photos, or None."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and found.get("key") == identity(photos, times=True)
    return found["skipped"] if same else None


def record(run: Path, photos: Photos, files: dict[str, Any]) -> None:
    """Write the account of a run's files to the run's folder, for people and for `unusable`."""
    key = None if isinstance(photos, PhotoCache) else identity(photos, times=True)
    write(run / NAME, {"key": key, **files})


def check_classes(photos: Photos, fine: np.ndarray, held: np.ndarray) -> str:
    """Check that every class has photos.

    Args:
        photos: A folder or a cache.
        fine: Which photos can be used, bool (n,).
        held: Which photos are held out, bool (n,).

    Returns:
        A sentence about classes whose photos are all held out; empty if there are none.

    Raises:
        ValueError: If a class has no photo that can be used.
    """
    number = len(photos.classes)
    usable = np.bincount(photos.labels[fine], minlength=number)
    if not usable.all():
        names = ", ".join(photos.classes[k] for k in np.flatnonzero(usable == 0)[:5])
        raise ValueError(
            f"no photo can be used in the class folder {names}; put photos there, or remove the folder: the "
            "model would have a class that it never saw"
        )
    trained = np.bincount(photos.labels[fine & ~held], minlength=number)
    if trained.all():
        return ""
    names = ", ".join(photos.classes[k] for k in np.flatnonzero(trained == 0)[:5])
    return f"all photos of {names} are held out, none is left to train on; add photos, or lower hold_out"


def files_of(photos: Photos, bad: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """The account of every file (see `folder.account`), with the numbers trained on and held out."""
    files = account(photos, range(len(photos)), bad)
    out = int(np.delete(held, bad).sum())
    return {**files, "trained_on": files["used"] - out, "held_out": out}
