"""The recipe of a training run: one YAML file, read strictly into one dataclass."""

import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from cfviz.models.variants import VARIANTS
from cfviz.models.weights.facts import data_name

CONFIGS = Path(__file__).resolve().parent / "configs"  # recipes that come with cfviz
MACHINE_PATHS = ("data", "cache", "teacher_labels", "teacher_maps")
UNRELATED = {*MACHINE_PATHS, "workers", "checkpoint_minutes", "evaluate_every", "micro_batch"}
"""Settings that decide where and how often, and nothing about the weights that come out."""


@dataclass(frozen=True)
class Phase:
    """Some epochs at one resolution. The dynamic position bias adapts: it is evaluated anew for each G.

    Attributes:
        size: Input side in pixels, a multiple of 32.
        group_size: G during the phase, one value for all stages or one per stage.
        interval: I during the phase, one value per stage, or "adaptive"; None uses the variant's.
        epochs: Passes over the training photos.
        batch_size: Photos per optimiser step, over all processes; None uses the recipe's.
        steps: Optimiser steps per epoch; None uses all photos.
        scale: Range of the random crop's area, as a fraction of the photo's; None uses the recipe's.
        ema_decay: Decay of the moving average during the phase; None uses the recipe's. A short last phase
            needs a small decay.
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
    """Everything that determines the weights. The defaults are the authors' recipe at a batch size of 1024.

    Attributes:
        data: ImageFolder to train on.
        dataset: Name of the photos in model cards; None uses the folder's name.
        cache: Path (without suffix) of the cache of decoded photos; None reads the files.
        model_args: Widths, depths and other arguments of the model, for short runs that override them.
        hold_out: Fraction of the training photos held out for model selection, never trained on.
        scale, ratio: Ranges of the random crop's area (a fraction of the photo's) and aspect ratio.
        transform: "timm" (RandAugment, colour jitter, erasing as configured) or "light" (one resize, a flip
            and mild changes of colour, for a run limited by the CPU).
        teacher: Name of a teacher for soft labels, see `teacher.py`; `distill` is their weight in the target.
        teacher_maps: File of the teacher's logits and features at each position of each photo, see
            `teacher.dense_labels`; the soft label is then that of the crop, and the tokens of the last
            stage learn to predict the teacher's features, a loss weighted by `feature_weight`.
        precision: "bf16" autocasts, "no" stays in float32.
        micro_batch: Photos per forward in one process, with gradients accumulated; None uses the whole batch.
            A CPU is fastest when a micro-batch fits its cache.
        start_weights: Weights to start from, a variant's name or a file; None starts from random weights.
        redraw: Names of linear or LayerNorm layers, with wildcards, to reset to PyTorch's initialisation.
        position_lr: Factor on the learning rate of the position bias, MLP or table.
        ema_decay: Decay of the moving average of the weights; 0 keeps no average.
    """

    data: str
    phases: list[Phase]
    cache: str | None = None
    hold_out: float = 0.05
    dataset: str | None = None
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
            if self.batch(phase) % 2:
                raise ValueError(
                    f"got a batch of {self.batch(phase)}, expected an even one (mixup pairs photos)"
                )

    @property
    def data_name(self) -> str:
        """Name of the photos in model cards."""
        return data_name(self.dataset, self.data)

    @property
    def epochs(self) -> int:
        """Total number of epochs over all phases."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> Phase:
        """The phase of the given epoch (counted from 0); after the last epoch, the last phase."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        return self.phases[-1]

    def batch(self, phase: Phase) -> int:
        """Photos per optimiser step in a phase, over all processes."""
        return phase.batch_size or self.batch_size

    def steps(self, phase: Phase, photos: int) -> int:
        """Optimiser steps per epoch of a phase, given the number of photos to train on."""
        return min(photos // self.batch(phase), phase.steps or photos)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """Build a recipe, refusing unknown keys and invalid values.

    Raises:
        ValueError: Naming the key, the value received and what is expected.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where} holds {_kind(values)}, expected a mapping of settings")
    given = dict(values)
    if given.get("precision") is False:  # YAML reads a plain `no` as false
        given["precision"] = "no"
    phases = given.pop("phases", [])
    if not isinstance(phases, list):
        raise ValueError(f"{where}: phases is {phases!r}, expected a list of {{size, group_size, epochs}}")
    made = [_checked(Phase, phase, f"{where}, phase {n}") for n, phase in enumerate(phases, 1)]
    return _checked(Recipe, {**given, "phases": made}, where)


def _checked(kind: type[Any], given: Any, where: str) -> Any:
    """Build a dataclass from a mapping after checking the keys and the types of the values."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} is {given!r}, expected a mapping of settings")
    types = get_type_hints(kind)
    unknown = [str(key) for key in given if key not in types]
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; expected some of {', '.join(types)}")
    for entry in fields(kind):
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in given:
            raise ValueError(f"{where}: no {entry.name}{MEANING.get(entry.name, '')}")
    for name, value in given.items():
        if not _fits(value, types[name]):
            raise ValueError(f"{where}: {name} is {value!r}, expected {_expected(types[name])}")
        ask, text = LIMITS.get(name, (None, ""))
        if ask is not None and value is not None and not ask(value):
            raise ValueError(f"{where}: {name} is {value!r}, expected {text}")
    return kind(**given)


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value from YAML has the type annotated in the dataclass."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _expected(wanted: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(_expected(one) for one in inner)
    if origin is list:
        return f"a list, each {_expected(inner[0])}"
    if origin is dict:
        return "a mapping"
    return WORDS.get(wanted, getattr(wanted, "__name__", str(wanted)))


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


MEANING = {"data": ", expected the folder of training photos"}
WORDS = {int: "a whole number", float: "a number", str: "text", NoneType: "null"}


def _from(low: float) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value >= low), f"{low:g} or more"


def _above(low: float) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value > low), f"more than {low:g}"


def _share(value: float) -> bool:
    return 0 <= value <= 1


def _range(value: list[float]) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1]


def _per_stage(value: Any) -> bool:
    each = value if isinstance(value, list) else [value] * 4
    return value == "adaptive" or (len(each) == 4 and all(one >= 1 for one in each))


_SHARE = (_share, "a number from 0 to 1")
_RANGE = (_range, "two numbers above 0, the smaller one first")
# Constraints on settings beyond their types.
LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "size": (lambda value: value > 0 and value % 32 == 0, "a multiple of 32"),
    "group_size": (_per_stage, "G from 1 up, one number or four"),
    "interval": (_per_stage, "adaptive, or four numbers from 1 up"),
    "model": (lambda value: value in VARIANTS, f"one of {', '.join(VARIANTS)}"),
    "betas": (
        lambda value: len(value) == 2 and all(0 <= b < 1 for b in value),
        "two numbers from 0 to below 1",
    ),
    "hold_out": (lambda value: 0 <= value < 1, "a share from 0 to below 1"),
    **dict.fromkeys(("epochs", "steps", "num_classes", "micro_batch", "evaluate_every"), _from(1)),
    "batch_size": _from(2),
    **dict.fromkeys(("seed", "workers", "checkpoint_minutes", "warmup_epochs", "weight_decay"), _from(0)),
    **dict.fromkeys(("min_lr", "warmup_lr", "mixup", "cutmix", "color_jitter", "feature_weight"), _from(0)),
    **dict.fromkeys(("lr", "temperature", "clip_grad"), _above(0)),
    "position_lr": _from(0),
    **dict.fromkeys(
        ("ema_decay", "drop_path", "label_smoothing", "mix_prob", "erase_prob", "distill"), _SHARE
    ),
    **dict.fromkeys(("scale", "ratio"), _RANGE),
}


class _Loader(yaml.SafeLoader):
    """A loader that reads numbers as in YAML 1.2: `1e-3` is a number, which YAML 1.1 reads as a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _read(text: str, where: str) -> Any:
    """Parse YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{where}{place}: not YAML ({problem or 'it cannot be read'})") from None


def names() -> list[str]:
    """Names of the recipes that come with cfviz."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def load(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe from YAML.

    Args:
        path: The file, or the name of a recipe that comes with cfviz, such as "nano".
        overrides: `key=value` pairs that replace the file's values; the value is YAML.

    Raises:
        ValueError: If the file is missing or is not a mapping, or for the reasons given in `from_dict`.
    """
    path = Path(path)
    if not path.is_file() and path.name == str(path) and (shipped := CONFIGS / f"{path.stem}.yaml").is_file():
        path = shipped
    if not path.is_file():
        raise ValueError(f"no recipe at {path}, and none that comes with cfviz: {', '.join(names())}")
    try:
        values = _read(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8, expected a recipe in YAML") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {_kind(values)}, expected a mapping of settings")
    for pair in overrides or []:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"got --set {pair!r}, expected key=value")
        values[key] = _read(value, f"--set {pair}")
    return from_dict(values, str(path))
