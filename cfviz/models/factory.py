"""One call from a name to a model with weights, and where they came from."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, cast

import timm
import torch

from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint
from cfviz.models.weights.download import Progress
from cfviz.models.weights.errors import CheckpointError

from .crossformer import CrossFormer
from .registry import take
from .variants import OURS, VARIANTS

IN_PYTHON = (
    'give weights="official" (the authors\', downloaded once), a file or "hf-hub:owner/name", '
    "or ask for random ones with weights=None"
)
BY_NAME = "name official:{name} (the authors', downloaded once), a file or hf-hub:OWNER/NAME"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def create_model(
    name: str = "crossformer_nano", weights: str | PathLike[str] | None = "auto", **kwargs: Any
) -> CrossFormer:
    """Make a CrossFormer in eval mode.

    Args:
        name: A variant, see `list_models()`.
        weights: "auto" or "bundled" for those shipped with cfviz, which the two small variants have;
            "official" to download the authors'; a file; `hf-hub:owner/name`; None for random ones, always
            the same. Random weights have to be asked for: no variant falls back to them.
        **kwargs: Passed on to `CrossFormer`: `num_classes`, `in_chans`, `group_size`, `interval`, ...

    Returns:
        The model; `model.provenance` says where its weights come from.

    Raises:
        ValueError: If there is no such variant, it ships no weights and none were named, or the weights are
            of another one.
        FileNotFoundError: If weights that are shipped are missing from this installation.
    """
    if name not in VARIANTS:
        hint = f" To open a file: create_model(VARIANT, weights={name!r})." if Path(name).suffix else ""
        raise ValueError(f"there is no model {name!r}; there are: {', '.join(VARIANTS)}.{hint}")
    return opened(source_of(name, weights), name, **kwargs)


def source_of(name: str, weights: str | PathLike[str] | None, advice: str = IN_PYTHON) -> Any:
    """What `load_checkpoint` is to open for a variant and the weights that were named; None for random ones.

    Args:
        name: A variant.
        weights: As in `create_model`.
        advice: What to do where the variant ships no weights and none were named.

    Raises:
        ValueError: If the variant ships no weights and none were named.
    """
    if weights == "auto":
        if name not in OURS:
            raise ValueError(f"{name} ships no weights: {advice}")
        weights = "bundled"
    return f"{weights}:{name}" if weights in ("bundled", "official") else weights


def named_source(text: str) -> str:
    """What `load_checkpoint` is to open where a command is given one name for model and weights.

    A variant's name stands for the weights that it ships: only `official:NAME` downloads any.

    Raises:
        ValueError: If it is the name of a variant that ships no weights.
    """
    if text in VARIANTS and not Path(text).exists():
        return str(source_of(text, "auto", BY_NAME.format(name=text)))
    return text


def opened(source: Any, name: str | None, progress: Progress | None = None, **kwargs: Any) -> CrossFormer:
    """A model with the weights of a source, in eval mode.

    Args:
        source: As `load_checkpoint` takes it; None for random weights, always the same.
        name: The variant that the weights have to be of; None takes what the source holds.
        progress: As in `load_checkpoint`.
        **kwargs: Passed on to `CrossFormer`.

    Raises:
        CheckpointError: If the weights cannot be opened, or are of another variant.
    """
    if source is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return _make(str(name), kwargs).eval()
    checkpoint = load_checkpoint(source, progress=progress)
    if name not in (None, checkpoint.variant):
        found = checkpoint.variant
        raise CheckpointError("wrong_variant", source=checkpoint.source, found=found, wanted=name)
    return build(checkpoint, **kwargs)


def _make(name: str, config: dict[str, Any]) -> CrossFormer:
    return cast(CrossFormer, timm.create_model(name, **config))


def build(checkpoint: Checkpoint, **kwargs: Any) -> CrossFormer:
    """The model a checkpoint is of, with its weights, in eval mode."""
    model = _make(checkpoint.variant, {**checkpoint.config, **kwargs})
    take(model, checkpoint)
    return model.eval()
