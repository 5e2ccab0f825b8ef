"""Measure heads on cached scenes, to follow their training."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch

from cfviz.models.dense.model import DenseModel, RetinaNet, SemanticFPN
from cfviz.models.dense.parts.layers import resized
from cfviz.training.measure.dense import areas, mean_iou

from .features import SceneCache
from .precision import NAMES, Precision

AT_ONCE = 20


@torch.inference_mode()
def measured(model: DenseModel, scenes: SceneCache) -> dict[str, float]:
    """Return `miou` and `pixel_accuracy`, or `box_ap` and `box_ap50`, in per cent.

    Without pycocotools, nothing is measured of a detector.
    """
    groups = [range(i, min(i + AT_ONCE, len(scenes))) for i in range(0, len(scenes), AT_ONCE)]
    if isinstance(model, SemanticFPN):
        counts = []
        for chosen in groups:
            logits = model.decode_head(model.neck(scenes.maps(list(chosen))))
            found = resized(logits, (scenes.side, scenes.side)).argmax(1).numpy()
            truth = scenes.label_map(list(chosen)).numpy()
            counts += [areas(f, t, model.num_classes) for f, t in zip(found, truth, strict=True)]
        figures = mean_iou(counts, model.num_classes)
        return {key: figures[key] for key in ("miou", "pixel_accuracy")}
    assert isinstance(model, RetinaNet)
    results: list[dict[str, torch.Tensor]] = []
    for chosen in groups:
        logits, deltas = model.bbox_head(model.neck(scenes.maps(list(chosen))[1:]))
        for b in range(len(chosen)):
            one = [[maps[b] for maps in parts] for parts in (logits, deltas)]
            results.append(model.bbox_head.select(one[0], one[1], (scenes.side, scenes.side)))
    if not find_spec("pycocotools"):
        return {}
    sides = [boxes[:, 2:] - boxes[:, :2] for boxes in scenes.boxes]
    known = zip(scenes.boxes, scenes.labels, (one.prod(-1) for one in sides), strict=True)
    precision = Precision(known, results, model.num_classes).of(np.arange(len(results)))
    return dict(zip(NAMES[:2], precision, strict=False))
