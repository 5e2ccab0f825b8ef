"""The last state of a training run, `last.pt` in its folder: replaced atomically, and checked when read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cfviz.jobs import replacing

NAME = "last.pt"
PARTS = frozenset({"model", "ema", "optimizer", "epoch", "step_in_epoch", "step", "seconds", "recipe"})


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace a run's last state.

    Raises:
        ValueError: If it cannot be written; the file before stays.
    """
    path = folder / NAME
    before = "the state saved before is kept" if path.exists() else "nothing was saved before"
    try:
        with replacing(path) as part:
            torch.save(dict(state), part)
    except (OSError, RuntimeError) as error:  # on a full disk torch raises an error about its own code
        reason = (isinstance(error, OSError) and error.strerror) or "is the disk full?"
        raise ValueError(
            f"{path} could not be written ({reason}); {before}. Make room, and run the same command again"
        ) from error


def read(folder: str | Path) -> dict[str, Any]:
    """Read a run's last state.

    Raises:
        ValueError: If there is none, the file is truncated or not a run's state, or weights are not finite.
    """
    path = Path(folder) / NAME
    if not path.exists():
        raise ValueError(f"{folder} holds no {NAME}; expected the --out folder of a training run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # on corrupt bytes torch may raise any exception
        raise ValueError(
            f"{path} is damaged or incomplete ({path.stat().st_size} bytes) and cannot be read; "
            "remove it to start the run anew"
        ) from None
    if not isinstance(state, dict) or not set(state) >= PARTS:
        raise ValueError(f"{path} is not the state of a training run; name the --out folder of one")
    if not finite(state["model"]) or not finite(state["ema"] or {}):
        raise ValueError(
            f"{path} holds weights that are not finite numbers: the run diverged; remove it to start anew"
        )
    return state


def finite(weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether all weights are finite numbers."""
    return all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())
