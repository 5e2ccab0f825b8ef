"""What a detector or segmenter finds without a stage's map, and what one of its scores rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cfviz import point_names
from cfviz.hooks import capture
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.parts.layers import resized
from cfviz.models.inputs import input_for

Pick = Callable[[Any], torch.Tensor]  # the outputs of `from_maps` -> one logit for each question, (n,)


@dataclass(frozen=True, eq=False)
class Reasons:
    """What one logit rests on, to first order.

    Attributes:
        logit: The logit.
        by_key: For each stage and block, what each key contributed through each head: its attention times the
            logit's gradient with respect to it, summed over the queries, float32 (nG, nH, N). Summed over the
            keys it is the head's output times its gradient.
        field: How strongly each pixel affects the logit: absolute gradients summed over the colours, float32
            (H, W).
    """

    logit: float
    by_key: dict[tuple[int, int], np.ndarray]
    field: np.ndarray


def without_stage(maps: Sequence[torch.Tensor], stage: int) -> list[torch.Tensor]:
    """Replace one of the backbone's maps by its mean over the positions, so that it tells no place.

    The other maps stay as they are: the backbone has computed them with the stage, only neck and heads do
    without it.

    Args:
        maps: (B, C_i, H_i, W_i), finest first.
        stage: From 0.

    Raises:
        ValueError: If there is no such stage.
    """
    if not 0 <= stage < len(maps):
        raise ValueError(f"stage is {stage}; expected 0 to {len(maps) - 1}")
    mean = maps[stage].mean((2, 3), keepdim=True).expand_as(maps[stage])
    return [mean if i == stage else x for i, x in enumerate(maps)]


def reasons(model: DenseModel, image: torch.Tensor, pick: Pick) -> Iterator[Reasons]:
    """Compute what logits rest on; one backward pass for each.

    Args:
        model: In eval mode.
        image: (3, H, W), normalised.
        pick: Takes the outputs for a batch of this one image; returns the logits in question, (n,).

    Yields:
        One for each logit, in order.
    """
    x = input_for(model, image.detach().clone())[None].requires_grad_()
    with torch.enable_grad(), capture(model.backbone, point_names.attention(), graph=True) as seen:
        logits = pick(model.from_maps(model.features(x)))
    places = [point_names.parse(name) for name in seen]
    kept = [*seen.values(), x]
    for logit in logits.unbind():
        *gradients, pixels = torch.autograd.grad(logit, kept, retain_graph=True)
        by_key = {
            (place.stage, int(place.block or 0)): (probs.detach() * gradient).float().sum(2).cpu().numpy()
            for place, probs, gradient in zip(places, seen.values(), gradients, strict=True)
        }  # nG, nH, N
        yield Reasons(float(logit.detach()), by_key, pixels[0].abs().sum(0).float().cpu().numpy())


def of_pixel(label: int, row: int, col: int, size: tuple[int, int]) -> Pick:
    """Pick a class's logit at one pixel of the input, as a segmenter's `forward` returns it.

    Args:
        label: Number of the class.
        row, col: The pixel.
        size: Height and width of the input.
    """
    return lambda logits: resized(logits, size)[0, label, row, col][None]


def of_regions(labels: Sequence[int], masks: np.ndarray) -> Pick:
    """Pick for each region the mean of its class's logit over it.

    Args:
        labels: (n,), numbers of classes.
        masks: bool (n, H/4, W/4), not empty, on the cells of a segmenter's logits.
    """

    def picked(logits: torch.Tensor) -> torch.Tensor:
        inside = torch.from_numpy(masks).to(logits.device)
        means = [logits[0, label][mask].mean() for label, mask in zip(labels, inside, strict=True)]
        return torch.stack(means) if means else logits.new_zeros(0)

    return picked
