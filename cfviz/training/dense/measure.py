"""Measure heads on cached scenes, to follow their training."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any

import torch

from cfviz.models.dense.model import DenseModel, RetinaNet, SemanticFPN
from cfviz.models.dense.parts.layers import resized
from cfviz.training.measure.dense import areas, mean_iou

from .features import SceneCache

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
    return _precision(results, scenes, model.num_classes) if find_spec("pycocotools") else {}


def _precision(results: list[dict[str, Any]], scenes: SceneCache, num_classes: int) -> dict[str, float]:
    from pycocotools.coco import COCO  # an optional package
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    for i, found in enumerate(results):
        for box, label in zip(scenes.boxes[i].tolist(), scenes.labels[i].tolist(), strict=True):
            x1, y1, x2, y2 = box
            area = (x2 - x1) * (y2 - y1)
            row = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": 0, "id": len(truth) + 1}
            truth.append({**row, "image_id": i, "category_id": label})
        parts = (found[key].tolist() for key in ("boxes", "scores", "labels"))
        for box, score, label in zip(*parts, strict=True):
            x1, y1, x2, y2 = box
            told.append(
                {"image_id": i, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            )
    if not told:
        return {"box_ap": 0.0, "box_ap50": 0.0}
    with redirect_stdout(StringIO()):  # it prints as it goes
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(results))],
            "annotations": truth,
            "categories": [{"id": k} for k in range(num_classes)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(told), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {"box_ap": 100 * float(run.stats[0]), "box_ap50": 100 * float(run.stats[1])}
