"""Scenes composed of the gallery's photos, on which it is known to the pixel what is where."""

from __future__ import annotations

from typing import Any

import numpy as np

from cfviz.analysis.dense import mean_iou, partners
from cfviz.data.scenes import EXAMPLES, Scene
from cfviz.figures.live.dense import Answer
from cfviz.ui.compute.cache import cached
from cfviz.words import Translator, percent

SCENES = range(1, len(EXAMPLES) + 1)
CODE = """
from PIL import Image

from cfviz.data.scenes import EXAMPLES

scene = EXAMPLES[{index}].scene()
photo = Image.fromarray(scene.image)
"""


@cached(8)
def composed(number: int) -> Scene:
    """One of the example scenes, counted from 1."""
    return EXAMPLES[number - 1].scene()


def code(number: int) -> str:
    """The lines of Python that compose a scene as `photo`."""
    return CODE.format(index=number - 1).strip()


def judged(t: Translator, found: Answer, threshold: float, number: int = 0) -> str:
    """One sentence on how much of a scene a view, with all stages or without one, answers rightly."""
    told, view = found.truth, found.views[number]
    if told is None:
        return ""
    left = {} if view.without is None else {"stage": view.without + 1}
    ending = "_without" if left else ""
    if view.boxes is None or view.scores is None:
        if told.map is None:
            return ""
        return t(f"dense.scene_iou{ending}", share=percent(mean_iou(view.labels, told.map)), **left)
    kept = view.scores >= np.float32(threshold)
    pairs = partners(view.boxes[kept], view.labels[kept], told.boxes, np.array(told.labels))
    right = int((pairs >= 0).sum())
    fields: dict[str, Any] = {"right": right, "n": len(told.labels), "boxes": int(kept.sum())}
    return t(f"dense.scene_found{ending}", **fields, **left)
