"""What a training run is: one YAML file, read strictly into one dataclass."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml


@dataclass(frozen=True)
class Phase:
    """Some epochs at one resolution. DPB lets one model follow: its bias is evaluated anew for each G.

    Attributes:
        size: input side in pixels, a multiple of 32.
        group_size: G while the phase lasts, one for all stages or one per stage.
        interval: I while the phase lasts, one per stage or "adaptive"; None is the variant's.
        epochs: passes over the training photos.
        batch_size: photos an optimiser step, over all processes; None takes the recipe's.
        steps: optimiser steps an epoch; None goes through all photos.
        scale: area of the random crop; None takes the recipe's.
        ema_decay: of the moving average while the phase lasts; None takes the recipe's. A short last phase
            needs a short memory.
    """

    size: int
    group_size: int | list[int]
    epochs: int
    interval: list[int] | Literal["adaptive"] | None = None
    batch_size: int | None = None
    steps: int | None = None
    scale: list[float] | None = None
    ema_decay: float | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. Defaults are the authors' recipe at a batch of 1024.

    Attributes:
        data: ImageFolder to train on; dataset is what the app calls its classes.
        cache: path (without suffix) of the decoded photos; None reads files.
        model_args: widths, depths and the like, for short runs that choose them.
        hold_out: share of the training photos that only chooses, never trains.
        scale, ratio: area and aspect of the random crop.
        transform: "timm" (RandAugment, colour jitter, erasing as configured) or "light" (one resize, a flip
            and a mild change of colour: for a run bound by the processor).
        teacher: name of a teacher for soft labels, see ``teacher.py``; distill is their weight in the target.
        teacher_maps: file of the teacher's logits and features at each place of each photo, see
            ``teacher.dense_labels``; the soft label is then that of the crop, and the tokens of the last
            stage learn to tell the teacher's features, with the weight ``feature_weight``.
        precision: "bf16" autocasts, "no" stays in float32.
        micro_batch: photos a forward of one process, their gradients added up; None takes the whole batch.
            A processor is fastest with what fits its cache.
        start_weights: weights to go on from, a variant's name or a file; None starts from random ones.
        redraw: names of linear layers, with wildcards, that start from PyTorch's own random weights instead.
        position_lr: factor on the learning rate of the position bias, MLP or table.
        ema_decay: 0 keeps no moving average.
    """

    data: str
    phases: list[Phase]
    cache: str | None = None
    hold_out: float = 0.05
    dataset: str = "imagenette20"
    model: str = "crossformer_nano"
    model_args: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 20
    position_bias: str = "dpb"
    seed: int = 0
    batch_size: int = 1024
    optimizer: str = "adamw"
    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_epochs: float = 20
    weight_decay: float = 0.05
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    clip_grad: float | None = 5.0
    drop_path: float = 0.1
    label_smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_prob: float = 1.0
    transform: str = "timm"
    scale: list[float] = field(default_factory=lambda: [0.08, 1.0])
    ratio: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])
    color_jitter: float = 0.4
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    erase_prob: float = 0.25
    ema_decay: float = 0.9999
    teacher: str | None = None
    teacher_labels: str | None = None
    teacher_maps: str | None = None
    feature_weight: float = 1.0
    distill: float = 0.5
    temperature: float = 2.0
    precision: str = "bf16"
    micro_batch: int | None = None
    start_weights: str | None = None
    redraw: list[str] = field(default_factory=list)
    position_lr: float = 1.0
    workers: int = 2
    checkpoint_minutes: float = 5.0
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("got a recipe without phases, expected at least one {size, group_size, epochs}")
        allowed = {
            "transform": ("timm", "light"),
            "precision": ("bf16", "no"),
            "position_bias": ("dpb", "rpb", "none"),
        }
        for name, options in allowed.items():
            if getattr(self, name) not in options:
                raise ValueError(f"got {name}={getattr(self, name)!r}, expected one of {', '.join(options)}")
        if self.teacher_maps and (self.transform != "light" or self.mixup or self.cutmix):
            raise ValueError(
                f"got teacher_maps, which follow a crop, with transform={self.transform}, mixup={self.mixup} "
                f"and cutmix={self.cutmix}; expected transform: light, mixup: 0 and cutmix: 0"
            )
        for phase in self.phases:
            if phase.size % 32 or phase.size <= 0:
                raise ValueError(f"got a phase at {phase.size} px, expected a multiple of 32")
            if self.batch(phase) % 2:
                raise ValueError(
                    f"got a batch of {self.batch(phase)}, expected an even one (mixup pairs photos)"
                )

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> Phase:
        """The phase that the given epoch (from 0) belongs to; the last one from then on."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        return self.phases[-1]

    def batch(self, phase: Phase) -> int:
        """Photos an optimiser step in that phase, over all processes."""
        return phase.batch_size or self.batch_size

    def steps(self, phase: Phase, photos: int) -> int:
        """Optimiser steps in one epoch of that phase, with so many photos to train on."""
        return min(photos // self.batch(phase), phase.steps or photos)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _only_known(kind: type, given: dict[str, Any], where: str) -> dict[str, Any]:
    known = [entry.name for entry in fields(kind)]
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; expected some of {', '.join(known)}")
    return given


def from_dict(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """Builds a recipe, refusing keys it does not know.

    Raises:
        ValueError: naming the keys, or the values that are not allowed.
    """
    values = dict(values)
    phases = [Phase(**_only_known(Phase, phase, f"{where}, phases")) for phase in values.pop("phases", [])]
    _only_known(Recipe, values, where)
    if "data" not in values:
        raise ValueError(f"{where}: no data, expected the folder of training photos")
    return Recipe(phases=phases, **values)


def load(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe from YAML.

    Args:
        path: the file.
        overrides: ``key=value`` pairs, the value in YAML, that replace the file's.

    Raises:
        ValueError: if the file is missing or is not a mapping, or as ``from_dict``.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"no recipe at {path}")
    values = yaml.safe_load(path.read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}, expected a mapping of settings")
    for pair in overrides or []:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"got --set {pair!r}, expected key=value")
        values[key] = yaml.safe_load(value)
    return from_dict(values, str(path))
