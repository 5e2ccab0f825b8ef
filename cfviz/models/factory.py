"""Make a model with weights and a record of their origin from a name, in one call."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from cfviz.models.dense.variants import DENSE, DenseName
from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint
from cfviz.models.weights.download import Progress
from cfviz.models.weights.errors import CheckpointError
from cfviz.models.weights.timm_families import is_name
from cfviz.options import NUMBER_FORMATS

from .crossformer import CrossFormer, with_new_head
from .forms import chosen_by_hand
from .opening import check_fit, opened_as
from .variants import SHIPPED, VARIANTS, classes_of, data_config

if TYPE_CHECKING:
    from cfviz.models.dense.model import DenseModel

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
        from cfviz.models.dense.factory import opened_dense  # deferred: torchvision takes a second

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
    """Make a variant with random weights as timm would, which takes a second to import."""
    given = {key: value for key, value in config.items() if value is not None}
    model: Any = CrossFormer(**{"num_classes": classes_of(name), **VARIANTS[name], **given})
    model.pretrained_cfg = model.default_cfg = {"architecture": name, **data_config(name)}
    made: CrossFormer = model
    return made


def build(checkpoint: Checkpoint, **kwargs: Any) -> CrossFormer:
    """Build the model that a checkpoint belongs to, with its weights, in eval mode."""
    model = _make(checkpoint.variant, {**checkpoint.config, **kwargs})
    take(model, checkpoint)
    return model.eval()


def take(model: CrossFormer, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's weights into a model that was built for them.

    Raises:
        CheckpointError: "does_not_fit", with the first parameter that does not fit.
    """
    check_fit(model, checkpoint.state_dict, checkpoint.source)
    model.load_state_dict(checkpoint.state_dict, strict=True)
    note_origin(model, checkpoint)


def note_origin(model: CrossFormer, checkpoint: Checkpoint) -> None:
    """Record in a model where its weights come from, and the groups that they were trained in."""
    model.trained_group = checkpoint.trained_group or checkpoint.group_size or model.trained_group
    model.trained_on_maps = checkpoint.lda == "whole" and checkpoint.trained_group is None
    told = checkpoint.provenance
    if model.lda != checkpoint.lda:
        told = chosen_by_hand(told)
    model.provenance = told
    if model.num_classes != checkpoint.num_classes:
        model.provenance = with_new_head(model.provenance, model.num_classes)
