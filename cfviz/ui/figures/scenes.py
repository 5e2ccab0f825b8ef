"""Scenes composed of the gallery's photos, on which it is known to the pixel what is where."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from cfviz.analysis.dense import mean_iou, partners
from cfviz.data.scenes import EXAMPLES, Scene
from cfviz.figures.live.dense import Answer, Truth
from cfviz.measured.dense import DenseSubject, ground_of
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.pipeline import Fitted, fit
from cfviz.run import dense_class_names
from cfviz.ui.compute import keys
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


def picture(scene: Scene) -> Image.Image:
    """The scene as a photo."""
    return Image.fromarray(scene.image)


def subject_of(net: DenseModel, key: str, lang: str, of: Image.Image | Scene) -> DenseSubject:
    """What a model is asked about: a photo, or a scene of which everything is known.

    Args:
        net: In eval mode.
        key: Stands for the model, the device it is on, and the photo or scene.
        lang: Language of the class names.
        of: The photo or the scene.
    """
    photo = picture(of) if isinstance(of, Scene) else of
    fitted = fit(photo, net.task, net.sides)
    told = truth(of, fitted, ground_of(net)) if isinstance(of, Scene) else None
    known = net.provenance
    source = keys.joined(known.sha256 or known.source, key)
    return DenseSubject(net, photo, fitted, dense_class_names(net, lang), source, told)


def truth(scene: Scene, fitted: Fitted, ground: int | None) -> Truth:
    """What is on a scene, in pixels of the input."""
    vertical, horizontal = fitted.scale
    scale = np.array([horizontal, vertical, horizontal, vertical])
    same = fitted.size == fitted.photo
    labels = scene.label_map(ground) if ground is not None and same else None
    return Truth(scene.boxes * scale, [int(k) for k in scene.labels], labels)


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
