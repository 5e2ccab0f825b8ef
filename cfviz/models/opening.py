"""The steps from a source of weights to a model, the same for classifiers, detectors and segmenters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from cfviz.models.weights.download import Progress
from cfviz.models.weights.errors import CheckpointError

from .seeded import seeded


class Weights(Protocol):
    """What is asked of weights that were opened."""

    @property
    def variant(self) -> str:
        """Name of the registered model."""

    @property
    def source(self) -> str:
        """Where they come from, for messages."""


W = TypeVar("W", bound=Weights)
M = TypeVar("M", bound=nn.Module)


def opened_as(
    source: Any,
    name: str | None,
    make: Callable[[str], M],
    load: Callable[..., W],
    build: Callable[[W], M],
    progress: Progress | None = None,
) -> M:
    """Make a model with the weights from a source, in eval mode.

    Args:
        source: For `load`; None for random weights, the same every time.
        name: The model that the weights must belong to; None accepts any.
        make: Makes a model with random weights.
        load: Opens a source.
        build: Makes the model that opened weights belong to.
        progress: For `load`.

    Raises:
        CheckpointError: If the weights cannot be opened, or belong to another model.
    """
    if source is None:
        with seeded():
            return make(str(name)).eval()
    weights = load(source, progress=progress)
    if name not in (None, weights.variant):
        raise CheckpointError("wrong_variant", source=weights.source, found=weights.variant, wanted=name)
    return build(weights).eval()


def check_fit(model: nn.Module, given: Mapping[str, torch.Tensor], source: str) -> None:
    """Check that parameters are those of a model.

    Raises:
        CheckpointError: "does_not_fit", with the first parameter that does not fit.
    """
    own = model.state_dict()
    for name in (*own, *given):
        shapes = [tuple(state[name].shape) if name in state else ("no",) for state in (given, own)]
        if shapes[0] != shapes[1]:
            got, expected = (" x ".join(map(str, shape)) or "()" for shape in shapes)
            raise CheckpointError("does_not_fit", source=source, key=name, got=got, expected=expected)
