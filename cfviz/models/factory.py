"""Make a model with weights and a record of their origin from a name, in one call."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast, overload

import timm
import torch

import cfviz.models.registry  # noqa: F401  (registers the variants with timm)
from cfviz.models.dense.factory import opened_dense
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.variants import DENSE, DenseName
from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint
from cfviz.models.weights.download import Progress
from cfviz.models.weights.errors import CheckpointError
from cfviz.models.weights.timm_families import is_name
from cfviz.options import NUMBER_FORMATS

from .crossformer import CrossFormer
from .opening import opened_as
from .pretrained import take
from .variants import SHIPPED, VARIANTS

IN_PYTHON = (
    'give weights="official" (the authors\', downloaded once), a file or "hf-hub:owner/name", '
    "or ask for random ones with weights=None"
)
BY_NAME = "name official:{name} (the authors', downloaded once), a file or hf-hub:OWNER/NAME"
DTYPES = {name: getattr(torch, name) for name in NUMBER_FORMATS}


@overload
def create_model(  # type: ignore[overload-overlap]  # the second is for all other names
    name: DenseName, weights: str | PathLike[str] | None = ..., **kwargs: Any
) -> DenseModel:
    """Make a detector or segmenter."""


@overload
def create_model(name: str = ..., weights: str | PathLike[str] | None = ..., **kwargs: Any) -> CrossFormer:
    """Make a CrossFormer."""


def create_model(
    name: str = "crossformer_nano", weights: str | PathLike[str] | None = "auto", **kwargs: Any
) -> CrossFormer | DenseModel:
    """Make a CrossFormer, or a detector or segmenter with one inside, in eval mode.

    Args:
        name: A variant, see `list_models()`, `list_models("detect")` and `list_models("segment")`.
        weights: "auto" or "bundled" for those shipped with cfviz (the nano variants only);
            "official" to download the authors'; a file; `hf-hub:owner/name`; None for random weights, which
            are the same every time. Random weights must be requested: no variant falls back to them.
        **kwargs: Passed on to `CrossFormer`: `num_classes`, `in_chans`, `group_size`, `interval`, `lda`, ...
            (`num_classes` is that of the heads in a detector or segmenter).

    Returns:
        The model; `model.provenance` records where its weights come from.

    Raises:
        ValueError: If there is no such variant, it ships no weights and none were named, or the weights
            belong to another variant.
        FileNotFoundError: If shipped weights are missing from this installation.
    """
    if name in DENSE:
        return opened_dense(source_of(name, weights), name, **kwargs)
    if name not in VARIANTS:
        if is_name(name):
            raise CheckpointError("timm_name", source=name)
        hint = f" To open a file: create_model(VARIANT, weights={name!r})." if Path(name).suffix else ""
        raise ValueError(f"there is no model {name!r}; there are: {', '.join((*VARIANTS, *DENSE))}.{hint}")
    return opened(source_of(name, weights), name, **kwargs)


def source_of(name: str, weights: str | PathLike[str] | None, advice: str = IN_PYTHON) -> Any:
    """Return the source for `load_checkpoint`, given a variant and its weights; None for random weights.

    Args:
        name: A variant.
        weights: As in `create_model`.
        advice: What to do if the variant ships no weights and none were named; ends the error message.

    Raises:
        ValueError: If the variant ships no weights and none were named.
    """
    if weights == "auto":
        if name not in SHIPPED:
            raise ValueError(f"{name} ships no weights: {advice}")
        weights = "bundled"
    if weights == "none" and not Path(weights).exists():
        raise ValueError(
            'weights is "none", the word of the command line; in Python, random ones are weights=None'
        )
    return f"{weights}:{name}" if weights in ("bundled", "official") else weights


def named_source(text: str) -> str:
    """Return the source for `load_checkpoint` when a command is given one name for model and weights.

    A variant's name stands for the weights it ships; only `official:NAME` downloads anything.

    Raises:
        ValueError: If the name is that of a variant that ships no weights.
    """
    if (text in VARIANTS or text in DENSE) and not Path(text).exists():
        return str(source_of(text, "auto", BY_NAME.format(name=text)))
    return text


def opened(source: Any, name: str | None, progress: Progress | None = None, **kwargs: Any) -> CrossFormer:
    """Make a model with the weights from a source, in eval mode.

    Args:
        source: As in `load_checkpoint`; None for random weights, the same every time.
        name: The variant that the weights must belong to; None accepts any.
        progress: As in `load_checkpoint`.
        **kwargs: Passed on to `CrossFormer`.

    Raises:
        CheckpointError: If the weights cannot be opened, or belong to another variant.
    """
    made, built = partial(_make, config=kwargs), partial(build, **kwargs)
    return opened_as(source, name, made, load_checkpoint, built, progress)


def _make(name: str, config: dict[str, Any]) -> CrossFormer:
    return cast(CrossFormer, timm.create_model(name, **config))


def build(checkpoint: Checkpoint, **kwargs: Any) -> CrossFormer:
    """Build the model that a checkpoint belongs to, with its weights, in eval mode."""
    model = _make(checkpoint.variant, {**checkpoint.config, **kwargs})
    take(model, checkpoint)
    return model.eval()
