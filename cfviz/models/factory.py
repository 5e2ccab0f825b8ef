"""One call from a name to a model with weights, and where they came from."""

from __future__ import annotations

from os import PathLike
from typing import Any, cast

import timm
import torch

from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint

from .crossformer import CrossFormer
from .registry import take
from .variants import OURS, VARIANTS

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
        raise ValueError(f"there is no model {name!r}; there are: {', '.join(VARIANTS)}")
    if weights == "auto":
        if name not in OURS:
            raise ValueError(
                f'{name} ships no weights: give weights="official" (the authors\', downloaded once), '
                'a file or "hf-hub:owner/name", or ask for random ones with weights=None'
            )
        weights = "bundled"
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return _make(name, kwargs).eval()
    source = f"{weights}:{name}" if weights in ("bundled", "official") else weights
    checkpoint = load_checkpoint(source)
    if checkpoint.variant != name:
        raise ValueError(f"{checkpoint.source} holds a {checkpoint.variant}; {name} was asked for")
    return build(checkpoint, **kwargs)


def _make(name: str, config: dict[str, Any]) -> CrossFormer:
    return cast(CrossFormer, timm.create_model(name, **config))


def build(checkpoint: Checkpoint, **kwargs: Any) -> CrossFormer:
    """The model a checkpoint is of, with its weights, in eval mode."""
    model = _make(checkpoint.variant, {**checkpoint.config, **kwargs})
    take(model, checkpoint)
    return model.eval()
