"""One interface to our models and timm's, for the page that compares two models.

A side provides its geometry (`schemes`), its outputs for a photo (`outputs`), the pixels that a token depends
on (`gradient`) and its cost (`cost`). The model behind it is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from cfviz import point_names
from cfviz.framing import Size
from cfviz.geometry import Lda
from cfviz.geometry.schemes import Scheme, crossformer
from cfviz.hooks import capture
from cfviz.models.factory import DTYPES, create_model
from cfviz.models.inputs import input_for
from cfviz.models.probes import gradients
from cfviz.models.probes.cost import Cost, cost
from cfviz.words import Translator

from .opening import OTHERS, open_other, weights_here
from .reading import Place, layers_of, maps_after, receptive_field, watching

# ImageNet-1K top-1 (%) and GFLOPs at 224 px, from the authors' README
PUBLISHED: dict[str, tuple[float, float]] = {
    "crossformer_tiny": (81.5, 2.9),
    "crossformer_small": (82.5, 4.9),
    "crossformer_base": (83.4, 9.2),
    "crossformer_large": (84.0, 16.1),
    "crossformer_pp_small": (83.2, 4.9),
    "crossformer_pp_base": (84.2, 9.5),
    "crossformer_pp_large": (84.7, 16.6),
    "crossformer_pp_huge": (84.9, 21.8),
}


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model for one photo.

    Attributes:
        logits: (classes,).
        maps: (H, W, C) at the end of each stage.
        probs: By (stage, block), float32 (nG, nH, Nq, Nk), in the order of the block's `Scheme`.
        seconds: Duration of the forward.
    """

    logits: np.ndarray
    maps: tuple[np.ndarray, ...]
    probs: dict[Place, np.ndarray]
    seconds: float


@dataclass(frozen=True)
class Side:
    """A model to be compared.

    Attributes:
        name: A variant of ours, the id of a model of the reader's own, or a key of `opening.OTHERS`.
        model: In eval mode, shared.
        other: Whether the model is timm's.
    """

    name: str
    model: Any
    other: bool

    @property
    def trained(self) -> str | None:
        """A description of the weights' training; None for random weights."""
        return self.model.provenance.trained

    def trained_in(self, t: Translator) -> str:
        """Return `trained` in the reader's language."""
        return self.model.provenance.trained_in(t)

    def schemes(self, height: int, width: int) -> list[list[Scheme]]:
        """Return which tokens may attend to which, for every block of every stage."""
        if self.other:
            return [[layer.scheme for layer in stage] for stage in layers_of(self.model, height, width)]
        return [[crossformer(g) for g in stage] for stage in self.model.groupings(height, width)]

    def outputs(self, image: torch.Tensor, wanted: Sequence[Place] = ()) -> Outputs:
        """Run one photo, (3, H, W) normalised, and keep the maps and the attention of some blocks."""
        with torch.inference_mode():
            return _outputs_other(self, image, wanted) if self.other else _outputs_ours(self, image, wanted)

    def gradient(self, image: torch.Tensor, stage: int, row: int, col: int) -> np.ndarray:
        """Compute how strongly each pixel affects one token of the map at the end of a stage, (H, W).

        See `gradients.receptive_field`.
        """
        if not self.other:
            point = point_names.block(stage, self.model.depths[stage] - 1)
            return gradients.receptive_field(self.model, image, point, row, col)
        layer = layers_of(self.model, *_sides_of(image))[stage][-1]
        return receptive_field(self.model, self._batch_of(image), layer, row, col)

    def cost(self, height: int, width: int) -> Cost:
        """Count parameters and multiply-adds for one photo, with torch's counter."""
        if self.other:
            return _cost(self.name, height, width)
        return cost(self.model, height, width)["total"]

    def _batch_of(self, image: torch.Tensor) -> torch.Tensor:
        return input_for(self.model, image[None].detach().clone())  # 1, 3, H, W


def open_side(
    name: str,
    size: Size = 224,
    weights: str | None = "auto",
    dtype: str = "float32",
    lda: Lda | None = None,
) -> Side:
    """Open a side by name, with the weights available on this machine.

    Args:
        name: A variant of ours or a key of `opening.OTHERS`.
        size: Side of the input in pixels, or its height and width.
        weights: For our variants, as in `create_model`.
        dtype: "float32", "bfloat16" or "float16".
        lda: For our variants, the form of long distance attention, "regions" or "whole"; None is that of the
            weights.

    Raises:
        ValueError: If there is no such model.
    """
    other = name in OTHERS
    model: Any
    if other:
        model = open_other(name, size, weights_here(name))
    else:
        model = create_model(name, weights, **({"lda": lda} if lda else {}))
    return Side(name, model.to(DTYPES[dtype]), other)


def _outputs_ours(side: Side, image: torch.Tensor, wanted: Sequence[Place]) -> Outputs:
    ends = [point_names.block(s, n - 1) for s, n in enumerate(side.model.depths)]
    points = {place: point_names.attention(*place) for place in wanted}
    x = side._batch_of(image)
    with capture(side.model, *ends, *points.values()) as seen:
        start = perf_counter()
        logits = side.model(x)
        seconds = perf_counter() - start
    maps = tuple(_array(seen[point][0]) for point in ends)
    return Outputs(_array(logits[0]), maps, {p: _array(seen[name]) for p, name in points.items()}, seconds)


def _outputs_other(side: Side, image: torch.Tensor, wanted: Sequence[Place]) -> Outputs:
    x, layers = side._batch_of(image), layers_of(side.model, *_sides_of(image))
    ends = [stage[-1] for stage in layers]
    with watching({(s, b): layers[s][b] for s, b in wanted}) as attended, maps_after(ends) as maps:
        start = perf_counter()
        logits = side.model(x)
        seconds = perf_counter() - start
    found = {place: one.probs for place, one in attended.items()}
    return Outputs(_array(logits[0]), tuple(_array(maps[end]) for end in ends), found, seconds)


def _sides_of(image: torch.Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


@lru_cache(maxsize=32)
def _cost(name: str, height: int, width: int) -> Cost:
    """Count the cost on a copy without numbers, so that nothing is computed."""
    with torch.device("meta"):
        model = open_other(name, (height, width))
        x = torch.zeros(1, 3, height, width)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(x)
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)


FEWEST = 5  # rounds of a benchmark


@dataclass(frozen=True)
class Ratio:
    """How many times as long one of two models takes: median of the rounds, and the middle half of them.

    Attributes:
        median: The median of the rounds' ratios.
        low: Lower quartile.
        high: Upper quartile.
    """

    median: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the middle half of the rounds agree on which model is faster, and roughly on how much."""
        return not self.low <= 1 <= self.high and self.high - self.low <= 0.2 * self.median


def time_ratio(times: tuple[Sequence[float], Sequence[float]]) -> Ratio:
    """Compare the times of two models round by round: both of a round meet about the same load."""
    low, middle, high = np.percentile(np.divide(times[1], times[0]), (25, 50, 75))
    return Ratio(float(middle), float(low), float(high))


@torch.inference_mode()
def benchmark(
    a: Side, b: Side, image: torch.Tensor, seconds: float = 2.5, most: int = 15
) -> tuple[list[float], list[float]]:
    """Time the forwards of two models in turn, so that other load on the machine affects both; in seconds.

    Args:
        a: One model.
        b: The other.
        image: (3, H, W), normalised.
        seconds: No new round begins after this time, but at least five rounds are timed.
        most: Maximum number of rounds, not counting the first, which is a warm-up.
    """
    sides = [(side.model, side._batch_of(image)) for side in (a, b)]
    times: tuple[list[float], list[float]] = ([], [])
    begin = perf_counter()
    for n in range(most + 1):
        for (model, x), mine in zip(sides, times, strict=True):
            start = perf_counter()
            model(x)
            if x.device.type == "cuda":
                torch.cuda.synchronize(x.device)
            if n:
                mine.append(perf_counter() - start)
        if n >= FEWEST and perf_counter() - begin > seconds:
            break
    return times
