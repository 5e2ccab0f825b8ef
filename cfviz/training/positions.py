"""The position biases of a run while it learns: `position_bias.safetensors`, beside the run's last state.

Parameters of position biases are a few kilobytes. A run records them every few hundred steps, with the
accuracy on the held-out photos where it was measured. The file is replaced atomically just before `last.pt`
is, so it never lacks a step that `last.pt` has; what it has beyond that, a run that resumes drops and records
again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn

from cfviz.jobs import replacing

NAME = "position_bias.safetensors"
FORMAT = 1
MOST = 240  # records; when there are more, every second one is dropped, and the pause between two doubles
STEPS, HELD_STEPS, HELD_TOP1 = "steps", "held_out_steps", "held_out_top1"  # arrays beside the parameters


def is_position_bias(name: str) -> bool:
    """Whether a model's parameter belongs to a position bias."""
    return ".attn.pos." in name


@dataclass(frozen=True)
class Positions:
    """What a run recorded.

    Attributes:
        steps: The steps after which the parameters were recorded, rising, (n,) int64.
        parameters: Name -> the parameter after each of these steps, (n, ...).
        held_steps: The steps after which the held-out photos were measured, rising, (m,) int64.
        held_top1: The accuracy measured then, from 0 to 1, (m,).
        facts: About the run: see `Trainer`; and `every`, the pause between two records in steps.
    """

    steps: np.ndarray
    parameters: Mapping[str, np.ndarray]
    held_steps: np.ndarray
    held_top1: np.ndarray
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        n, m = len(self.steps), len(self.held_steps)
        if self.steps.shape != (n,) or any(len(value) != n for value in self.parameters.values()):
            raise ValueError(f"there are {n} steps; expected each parameter as often")
        if self.held_steps.shape != (m,) or self.held_top1.shape != (m,):
            raise ValueError(f"there are {m} steps measured; expected one accuracy for each")
        if (np.diff(self.steps) <= 0).any() or (np.diff(self.held_steps) <= 0).any():
            raise ValueError("steps are out of order or occur twice; expected each once, rising")
        if not all(np.isfinite(value).all() for value in (*self.parameters.values(), self.held_top1)):
            raise ValueError("some numbers are not finite; expected finite ones")

    def until(self, step: int) -> "Positions":
        """The records up to a step, that one included."""
        n, m = (int(np.searchsorted(steps, step, "right")) for steps in (self.steps, self.held_steps))
        parameters = {name: value[:n] for name, value in self.parameters.items()}
        return Positions(self.steps[:n], parameters, self.held_steps[:m], self.held_top1[:m], self.facts)

    def write(self, path: str | Path, dtype: type[np.floating] = np.float32) -> None:
        """Replace a file; float16 halves it, for a file to pass on (numbers change by 0.05 % at most).

        Raises:
            ValueError: If a number is too large for the type.
        """
        parameters = {name: np.ascontiguousarray(value, dtype) for name, value in self.parameters.items()}
        if not all(np.isfinite(value).all() for value in parameters.values()):
            raise ValueError(f"a parameter is too large for {np.dtype(dtype).name}; expected float32")
        beside = {STEPS: self.steps, HELD_STEPS: self.held_steps, HELD_TOP1: self.held_top1}
        with replacing(path) as part:
            save_file(
                {**parameters, **{name: np.ascontiguousarray(value) for name, value in beside.items()}},
                part,
                {"cfviz": json.dumps({"format": FORMAT, **self.facts}, ensure_ascii=False)},
            )


def read(path: str | Path) -> Positions:
    """Read what a run recorded.

    Raises:
        ValueError: If there is no such file, or it is not one of these.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["cfviz"])
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        if facts.pop("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        beside = [arrays.pop(name) for name in (STEPS, HELD_STEPS, HELD_TOP1)]
        return Positions(beside[0], arrays, beside[1], beside[2], facts)
    except FileNotFoundError:
        raise ValueError(f"there is no {path}; expected the {NAME} of a training run") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is not the {NAME} of a training run: {reason}") from None


class Recorder:
    """Records the position biases of a running training.

    Args:
        folder: The run's folder.
        facts: About the run, as JSON.
        every: Steps between two records; 0 records nothing.
        last: The step at which the run ends, which is recorded too.
        tell: Called with a line if the file cannot be read or written.
    """

    def __init__(
        self, folder: Path, facts: Mapping[str, Any], every: int, last: int, tell: Callable[[str], None]
    ) -> None:
        self.path, self.facts, self.every, self.last = folder / NAME, dict(facts), every, last
        self.tell = tell
        self.steps: list[int] = []
        self.records: list[dict[str, np.ndarray]] = []
        self.held: list[tuple[int, float]] = []
        self.stale = False

    def resume(self, step: int, model: nn.Module) -> None:
        """Go on with the file of a run that resumes after a step; at step 0 a file there is replaced."""
        if not self.every:
            return
        if step and self.path.exists():
            try:
                self._take(read(self.path).until(step), model)
            except ValueError as error:
                self.tell(f"the record of position biases begins anew at step {step}: {error}")
        if not self.steps:
            self.note(step, model, due=True)

    def _take(self, found: Positions, model: nn.Module) -> None:
        shapes = {name: tuple(value.shape) for name, value in _parameters(model)}
        if shapes != {name: value.shape[1:] for name, value in found.parameters.items()}:
            raise ValueError(f"{self.path} has other parameters than the model")
        self.steps = found.steps.tolist()
        self.records = [
            {name: value[i] for name, value in found.parameters.items()} for i in range(len(self.steps))
        ]
        self.held = list(zip(found.held_steps.tolist(), found.held_top1.tolist(), strict=True))
        self.every = max(self.every, int(found.facts.get("every", 0)))

    def note(self, step: int, model: nn.Module, due: bool = False) -> None:
        """Record the model after a step, if it is due; numbers that are not finite are left out."""
        if not self.every or not (due or step % self.every == 0 or step == self.last):
            return
        record = {name: value.detach().float().cpu().numpy().copy() for name, value in _parameters(model)}
        if not record or not all(np.isfinite(value).all() for value in record.values()):
            return
        self.steps.append(step)
        self.records.append(record)
        self.stale = True
        if len(self.steps) > MOST:
            self.steps, self.records = self.steps[::2], self.records[::2]
            self.every *= 2

    def measured(self, step: int, top1: float) -> None:
        """Record the accuracy on the held-out photos after a step."""
        if self.records:
            self.held.append((step, top1))
            self.stale = True

    def write(self) -> None:
        """Replace the file, if anything was recorded since."""
        if not self.stale:
            return
        parameters = {name: np.stack([record[name] for record in self.records]) for name in self.records[0]}
        held = np.asarray([step for step, _ in self.held], np.int64)
        top1 = np.asarray([value for _, value in self.held], np.float64)
        facts = {**self.facts, "every": self.every}
        try:
            Positions(np.asarray(self.steps, np.int64), parameters, held, top1, facts).write(self.path)
        except (OSError, SafetensorError) as error:  # the run is worth more than its record
            self.tell(
                f"{self.path} could not be written now ({error}); it is tried again with the next state"
            )
            return
        self.stale = False


def _parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters of a model's position biases."""
    return [(name, value) for name, value in model.named_parameters() if is_position_bias(name)]
