"""Average precision of boxes on composed scenes, by pycocotools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from cfviz.training.measure.dense import detections, per_cent

NAMES = ("box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large")
AREAS = 4  # ranges of sizes in COCO: all, small, medium, large
Truth = tuple[Any, Any, Any]


class Precision:
    """What was found in each scene beside what is there, matched once.

    Args:
        truth: Of each scene the boxes (n, 4) as x1, y1, x2, y2, the labels (n,) and the areas (n,).
        found: Of each scene `boxes`, `scores` and `labels`.
        num_classes: Classes.
    """

    def __init__(self, truth: Iterable[Truth], found: Sequence[Mapping[str, Any]], num_classes: int) -> None:
        from pycocotools.coco import COCO  # an optional package
        from pycocotools.cocoeval import COCOeval

        with redirect_stdout(StringIO()):  # it prints as it goes
            coco = COCO()
            coco.dataset = {
                "images": [{"id": i} for i in range(len(found))],
                "annotations": _there(truth),
                "categories": [{"id": k} for k in range(num_classes)],
            }
            coco.createIndex()
            self._run = COCOeval(coco, detections(coco, _told(found)), "bbox")
            self._run.evaluate()
        self._matches = np.array(self._run.evalImgs, object).reshape(num_classes, AREAS, len(found))

    def of(self, scenes: np.ndarray) -> list[float]:
        """Return the figures of `NAMES` in per cent over some scenes; NaN where no thing has that size.

        Args:
            scenes: Their numbers; the same scene may occur several times.
        """
        with redirect_stdout(StringIO()):
            self._run.evalImgs = self._matches[:, :, scenes].reshape(-1).tolist()
            self._run.accumulate()
            self._run.summarize()
        return per_cent(self._run.stats[: len(NAMES)])


def _there(truth: Iterable[Truth]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, parts in enumerate(truth):
        for box, label, area in zip(*(part.tolist() for part in parts), strict=True):
            row = {"image_id": i, "category_id": label, "bbox": _bbox(box), "area": area}
            rows.append({**row, "iscrowd": 0, "id": len(rows) + 1})
    return rows


def _told(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for i, result in enumerate(found):
        parts = (result[key].tolist() for key in ("boxes", "scores", "labels"))
        for box, score, label in zip(*parts, strict=True):
            rows.append({"image_id": i, "category_id": label, "bbox": _bbox(box), "score": score})
    return rows


def _bbox(box: Sequence[float]) -> list[float]:
    """x1, y1, x2, y2 as COCO writes it: x1, y1, width, height."""
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
