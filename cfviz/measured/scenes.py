"""Scenes composed of photos as what a detector or segmenter is asked about."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cfviz.data.scenes import Scene
from cfviz.figures.live.dense import Truth
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.pipeline import Fitted, fit
from cfviz.run import dense_class_names

from .dense import DenseSubject, ground_of


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
    source = f"{known.sha256 or known.source}|{key}"
    return DenseSubject(net, photo, fitted, dense_class_names(net, lang), source, told)


def truth(scene: Scene, fitted: Fitted, ground: int | None) -> Truth:
    """What is on a scene, in pixels of the input."""
    vertical, horizontal = fitted.scale
    scale = np.array([horizontal, vertical, horizontal, vertical])
    same = fitted.size == fitted.photo
    labels = scene.label_map(ground) if ground is not None and same else None
    return Truth(scene.boxes * scale, [int(k) for k in scene.labels], labels)
