"""The recipe of heads for boxes or pixels: one YAML file, read as strictly as a classifier's recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cfviz.models.dense.variants import DENSE
from cfviz.training.recipe import CONFIGS, SHARE, Limit, about, above, at_least, checked, values_of

FOLDER = CONFIGS / "dense"
DEFAULT = "semantic_fpn_nano"


# Below, RetinaNet's last convolution has a single cell to look at, whose gradient in bfloat16 is NaN on CPUs.
LEAST_SIDE: Limit = (lambda value: value >= 96 and value % 32 == 0), "a multiple of 32, from 96"


def _trainable(name: Any) -> bool:
    return name in DENSE and DENSE[name].drive is None


@dataclass(frozen=True)
class DenseRecipe:
    """Everything that determines the weights of the heads."""

    data: str = field(metadata=about("Folder of the photos, with one subfolder per class."))
    model: str = field(
        metadata=about(
            "The model whose neck and heads are trained.",
            (_trainable, " or ".join(name for name in DENSE if _trainable(name))),
        )
    )
    cache: str | None = field(
        default=None,
        metadata=about("Path, without suffix, of a cache of decoded photos; null makes one in the run."),
    )
    scenes_cache: str | None = field(
        default=None,
        metadata=about(
            "Folder of a cache of scenes and the backbone's maps of them, about 0.6 MB a scene; null makes "
            "one in the run. Recipes of the same backbone and photos can share one."
        ),
    )
    side: int = field(default=224, metadata=about("Side of a scene in pixels.", LEAST_SIDE))
    scenes: int = field(default=12000, metadata=about("Number of scenes to train on.", at_least(1)))
    hold_out: float = field(
        default=0.05,
        metadata=about("Fraction of the photos kept for the scenes of `held_out`.", SHARE),
    )
    held_out: int = field(
        default=500, metadata=about("Scenes of photos held out, to follow the training.", at_least(1))
    )
    steps: int = field(default=2400, metadata=about("Optimiser steps.", at_least(1)))
    batch_size: int = field(default=16, metadata=about("Scenes per step.", at_least(2)))
    lr: float = field(default=1e-3, metadata=about("Largest learning rate.", above(0)))
    min_lr: float = field(default=1e-5, metadata=about("Learning rate at the end.", at_least(0)))
    warmup: int = field(default=100, metadata=about("Steps until the largest rate.", at_least(0)))
    weight_decay: float = field(default=0.05, metadata=about("AdamW's weight decay.", at_least(0)))
    clip_grad: float = field(default=5.0, metadata=about("Largest norm of the gradient.", above(0)))
    ema_decay: float = field(
        default=0.995, metadata=about("Decay of the moving average, which is what is kept.", SHARE)
    )
    seed: int = field(default=0, metadata=about("Seed of the first weights and of the order.", at_least(0)))
    evaluate_every: int = field(
        default=400, metadata=about("Steps between measurements on the scenes held out.", at_least(1))
    )
    checkpoint_minutes: float = field(
        default=2.0, metadata=about("Minutes between saved states.", at_least(0))
    )

    def as_dict(self) -> dict[str, Any]:
        """Return all settings."""
        return asdict(self)


def load(path: str | Path, overrides: list[str] | None = None, data: str | None = None) -> DenseRecipe:
    """Read a recipe; arguments and errors as in `cfviz.training.recipe.load`."""
    values, where = values_of(path, overrides, data, FOLDER)
    return checked(DenseRecipe, values, where)


def names() -> list[str]:
    """Names of the recipes that come with cfviz."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
