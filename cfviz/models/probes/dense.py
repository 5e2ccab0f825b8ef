"""What a detector or segmenter finds without a stage's map, and what one of its scores rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cfviz import point_names
from cfviz.hooks import capture
from cfviz.models.dense.model import DenseModel, Detections, Detector, Segmenter, check_logits
from cfviz.models.dense.parts.layers import resized
from cfviz.models.dense.parts.roi import levels_of
from cfviz.models.dense.pipeline import Fitted
from cfviz.models.inputs import input_for

LIKELY = 3  # classes of a pixel that are told
ROWS = 64  # of logits at the input's size that are looked at together
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


@dataclass(frozen=True, eq=False)
class Findings:
    """What a detector finds on one photo, in pixels of the input, best first.

    Attributes:
        without: The stage whose map was left out, from 0; None for none.
        boxes: (n, 4).
        scores: (n,).
        labels: (n,), numbers of classes.
        levels: (n,), the level of the pyramid that each box is from, 0 for the finest.
        masks: (n, 28, 28), probabilities; None if the detector draws no masks.
        told: The same as the model returns it.
    """

    without: int | None
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    levels: np.ndarray
    masks: np.ndarray | None
    told: Detections


Maps = Sequence[torch.Tensor]  # of the backbone, (1, C_i, H_i, W_i), finest first
Tried = Sequence[int | None]  # stages to leave out, from 0, one at a time; None leaves none out


def maps_of(model: DenseModel, fitted: Fitted) -> list[torch.Tensor]:
    """Return the backbone's maps of one photo, from which neck and heads answer: `findings`, `labelling`.

    Args:
        model: In eval mode.
        fitted: The photo.
    """
    with torch.no_grad():  # inference tensors could take no part in gradients later
        return model.features(input_for(model, fitted.tensor))


def findings(model: Detector, maps: Maps, fitted: Fitted, tried: Tried = (None,)) -> list[Findings]:
    """Find boxes with all of the backbone's maps, or without some stage.

    Args:
        model: In eval mode.
        maps: From `maps_of`.
        fitted: The photo.
        tried: What to leave out.
    """
    return [_findings(model, out, fitted, without) for without, out in _outputs(model, maps, tried)]


def _outputs(model: DenseModel, maps: Maps, tried: Tried) -> list[tuple[int | None, Any]]:
    """Return the outputs of neck and heads, each with what was left out for it."""
    with torch.no_grad():
        return [(s, model.from_maps(maps if s is None else without_stage(maps, s))) for s in tried]


def _findings(model: Detector, out: Any, fitted: Fitted, without: int | None) -> Findings:
    with torch.no_grad():
        (found,) = model.select(out, [fitted.size])
    levels = found["levels"] if "levels" in found else levels_of(found["proposals"])
    logits = found.get("mask_logits")
    return Findings(
        without,
        found["boxes"].float().cpu().numpy(),
        found["scores"].float().cpu().numpy(),
        found["labels"].cpu().numpy(),
        levels.cpu().numpy(),
        None if logits is None else logits.float().sigmoid().cpu().numpy(),
        found,
    )


@dataclass(frozen=True, eq=False)
class Labelling:
    """A segmenter's label maps of one photo.

    Attributes:
        maps: By the stage left out, None for none: the class of each pixel of the input, (h, w).
        likely: The likeliest classes of each pixel with all stages, best first, (n, h, w): 3 if there are 3;
            and their probabilities, (n, h, w). None if all stages together were not tried.
        cells: By the stage left out, None for none: the class of each cell of the logits, (H/4, W/4).
    """

    maps: dict[int | None, np.ndarray]
    likely: tuple[np.ndarray, np.ndarray] | None
    cells: dict[int | None, np.ndarray]


def labelling(model: Segmenter, maps: Maps, fitted: Fitted, tried: Tried = (None,)) -> Labelling:
    """Label pixels with all of the backbone's maps, or without some stage.

    Args:
        model: In eval mode.
        maps: From `maps_of`.
        fitted: The photo.
        tried: What to leave out.
    """
    check_logits(model.num_classes, *map(int, fitted.tensor.shape[2:]))
    likely: tuple[np.ndarray, np.ndarray] | None = None
    labels: dict[int | None, np.ndarray] = {}
    cells: dict[int | None, np.ndarray] = {}
    for s, logits in _outputs(model, maps, tried):
        full = _at_input(logits, fitted)
        if s is None:
            likely = _likely(full)
            labels[s] = likely[0][0]
        else:
            labels[s] = full.max(0).indices.cpu().numpy()  # as argmax, in half the time
        cells[s] = logits[0].max(0).indices.cpu().numpy()
    return Labelling(labels, likely, cells)


def _at_input(logits: torch.Tensor, fitted: Fitted) -> torch.Tensor:
    """Resize logits as `forward` does, and keep what is photo: (1, K, H/4, W/4) -> (K, h, w)."""
    h, w = fitted.size
    return resized(logits, fitted.tensor.shape[2:])[0, :, :h, :w]


def _likely(full: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest classes of each pixel and their probabilities: (K, h, w) -> (n, h, w) of each."""
    K, h, w = full.shape
    n = min(LIKELY, K)
    labels = np.zeros((n, h, w), np.int64)
    probs = np.zeros((n, h, w), np.float32)
    for top in range(0, h, ROWS):
        best = full[:, top : top + ROWS].float().softmax(0).topk(n, 0)
        labels[:, top : top + ROWS] = best.indices.cpu().numpy()
        probs[:, top : top + ROWS] = best.values.cpu().numpy()
    return labels, probs


def backbone_arrays(model: DenseModel, fitted: Fitted, points: Sequence[str]) -> dict[str, np.ndarray]:
    """Watch points of the backbone on one photo.

    Args:
        model: In eval mode.
        fitted: The photo.
        points: Points inside attention, as names or patterns of the backbone.

    Returns:
        Arrays by the backbone's names, float32, as in a trace.
    """
    with torch.no_grad(), capture(model.backbone, *points) as tensors:
        model.features(input_for(model, fitted.tensor))
    return {name: value.float().cpu().numpy() for name, value in tensors.items()}


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


def of_boxes(model: Detector, told: Detections, numbers: Sequence[int]) -> Pick:
    """Pick the logits behind some detections.

    Args:
        model: The detector.
        told: What it found, `Findings.told`.
        numbers: Which of them.
    """
    chosen = {name: values[list(numbers)] for name, values in told.items()}
    return lambda outputs: model.class_logits(outputs, chosen)


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
