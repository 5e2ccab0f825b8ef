"""Measure a detector or segmenter on composed scenes, as it is and with parts of its backbone knocked out.

A scene is one observation: intervals come from drawing the scenes again, with replacement, 200 times for a
segmenter and 50 times for a detector, whose average precision takes longer. An interval is the figure plus
and minus 1.96 standard deviations of the draws, cut at 0 and 100 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from cfviz.data.scenes import SIDE, Scene
from cfviz.models.dense.model import DenseModel, RetinaNet, Segmenter
from cfviz.models.dense.variants import CLASSES
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import Intervention
from cfviz.stats import Z_95
from cfviz.training.data import Photos
from cfviz.training.measure.dense import areas

from .features import batch_of, check_classes, scene_of
from .precision import NAMES, Precision

FIRST = 2_000_000  # seed of the first scene
DRAWS, BOX_DRAWS = 200, 50  # of the scenes, for a segmenter's and a detector's intervals
ABSENT = 0.05  # largest share of draws that may lack what a figure is of
AT_ONCE = 10
# What is knocked out, without training anything again: kernels are silent, long distance attention looks at
# neighbours, the position bias is nothing.
ABLATIONS: dict[str, tuple[Intervention, ...]] = {
    "whole": (),
    "no_large_kernels": (
        Intervention("kernel", stage=0, index=2), Intervention("kernel", stage=0, index=3),
        *(Intervention("kernel", stage=s, index=1) for s in (1, 2, 3)),
    ),
    "no_lda": (Intervention("kind", how="sda"),),
    "no_dpb": (Intervention("bias"),),
}  # fmt: skip


def evaluated(
    model: DenseModel,
    photos: Photos,
    count: int,
    names: Sequence[str] = tuple(ABLATIONS),
    side: int = SIDE,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a model on scenes composed of photos.

    Args:
        model: In eval mode.
        photos: Photos that it was not trained on.
        count: Number of scenes.
        names: Which of `ABLATIONS`.
        side: Height and width of a scene in pixels.
        tell: Called with a line of progress now and then.

    Returns:
        `scenes`, `side`, `draws`, `things`, `dropped`, and for each name the measures in per cent, each with
        its interval. A figure of what no scene holds is None, and so are the ends of an interval that is not
        known: that of one scene, or of a size that too many draws lack.

    Raises:
        ValueError: If photos or model are not of imagenette20's classes, or the model is a detector and
            pycocotools is not installed.
    """
    check_classes(photos)
    wanted = CLASSES["imagenette20" if isinstance(model, RetinaNet) else "scenes"]
    if model.num_classes != wanted:
        raise ValueError(f"the model has {model.num_classes} classes; scenes need one of {wanted}")
    if isinstance(model, RetinaNet) and find_spec("pycocotools") is None:
        raise ValueError("pycocotools is not installed: pip install pycocotools")
    every = np.arange(len(photos))
    found: dict[str, list[Any]] = {name: [] for name in names}
    things: list[Scene] = []
    for start in range(0, count, AT_ONCE):
        seeds = range(FIRST + start, FIRST + min(start + AT_ONCE, count))
        scenes = [scene_of(photos, every, seed, side) for seed in seeds]
        for name in names:
            found[name] += _each(model, scenes, ABLATIONS[name])
        things += [_slim(scene) for scene in scenes]
        if start // AT_ONCE % 10 == 9:
            tell(f"{start + len(scenes)} of {count} scenes")
    boxes = isinstance(model, RetinaNet)
    told = {"scenes": count, "side": side, "draws": BOX_DRAWS if boxes else DRAWS}
    told |= {"things": sum(len(one.labels) for one in things), "dropped": sum(one.dropped for one in things)}
    figures = _precision if boxes else _iou
    return {**told, **{name: figures(found[name], things, model.num_classes) for name in names}}


def _slim(scene: Scene) -> Scene:
    """A scene without pixels, but with the area of each mask in its place."""
    size = scene.masks.sum((1, 2)).reshape(-1, 1, 1)
    return Scene(np.zeros((0, 0, 3)), scene.boxes, scene.labels, size, scene.sources, scene.dropped)


@torch.inference_mode()
def _each(model: DenseModel, scenes: list[Scene], change: Sequence[Intervention]) -> Iterator[Any]:
    with apply(model.backbone, change):
        outputs = model(batch_of([scene.image for scene in scenes]))
    for scene, output in zip(scenes, outputs, strict=True):
        if isinstance(model, Segmenter):
            yield areas(output.argmax(0).numpy(), scene.label_map(model.num_classes - 1), model.num_classes)
        else:
            yield {key: value.numpy() for key, value in output.items()}


def _told(
    names: Sequence[str], own: Sequence[float], draws: Sequence[Sequence[float]]
) -> dict[str, list[Any]]:
    """Return each value and its 95 % interval, from the spread of the draws, within 0 and 100."""
    rows = {}
    for i, (name, value) in enumerate(zip(names, own, strict=True)):
        several = np.array([draw[i] for draw in draws])
        known = several[np.isfinite(several)]
        ends: list[float | None] = [None, None]
        if len(known) and len(known) >= (1 - ABSENT) * len(several):
            wide = Z_95 * float(known.std())
            ends = [round(max(0.0, value - wide), 2), round(min(100.0, value + wide), 2)]
        rows[name] = [round(float(value), 2) if np.isfinite(value) else None, *ends]
    return rows


def _draws(scenes: int, times: int) -> list[np.ndarray]:
    """Return the numbers of the scenes of each draw; none of a single scene, whose draws are all alike."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, scenes, scenes) for _ in range(times)] if scenes > 1 else []


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _iou(found: list[Any], scenes: list[Scene], K: int) -> dict[str, Any]:
    counts = np.zeros((len(found), K, 3), np.int64)  # right, found, true
    for scene, rows in zip(counts, found, strict=True):
        for k, *numbers in rows:
            scene[k] = numbers

    def measures(total: np.ndarray) -> tuple[float, float, float]:
        right, given, true = total.T
        iou = right / np.maximum(given + true - right, 1)
        return (
            100 * _mean(iou[true > 0]),
            100 * _mean(iou[:-1][true[:-1] > 0]),
            100 * right.sum() / true.sum(),
        )

    own = measures(counts.sum(0))
    draws = [measures(counts[chosen].sum(0)) for chosen in _draws(len(found), DRAWS)]
    names = ("miou", "miou_classes", "pixel_accuracy")
    each = [
        round(100 * float(right / (given + true - right)), 1) if true else None
        for right, given, true in counts.sum(0)
    ]
    return {**_told(names, own, draws), "iou": each}


def _precision(found: list[Any], scenes: list[Scene], K: int) -> dict[str, Any]:
    """Average precision, with the masks' areas for sizes as in COCO."""
    precision = Precision(((one.boxes, one.labels, one.masks[:, 0, 0]) for one in scenes), found, K)
    own = precision.of(np.arange(len(found)))
    draws = [precision.of(chosen) for chosen in _draws(len(found), BOX_DRAWS)]
    return _told(NAMES, own, draws)


def about(figures: dict[str, Any]) -> str:
    """Say in words what was measured on."""
    scenes, side = figures["scenes"], figures["side"]
    return f"{scenes} scenes of {side} x {side} px, composed of validation photos (seeds from {FIRST})"
