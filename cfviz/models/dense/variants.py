"""The detectors and segmenters with a CrossFormer inside: what they are made of, what the authors published.

Settings are those of the authors' configurations of 2022, to which their published weights belong. The two
around `crossformer_nano` are ours: small enough to ship, and for inputs of 224 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Task = Literal["detect", "segment"]
Kind = Literal["retinanet", "mask_rcnn", "semantic_fpn", "upernet"]

DenseName = Literal[
    "retinanet_crossformer_small", "retinanet_crossformer_base", "retinanet_crossformer_nano",
    "mask_rcnn_crossformer_small", "mask_rcnn_crossformer_base",
    "semantic_fpn_crossformer_small", "semantic_fpn_crossformer_base", "semantic_fpn_crossformer_large",
    "semantic_fpn_crossformer_nano",
    "upernet_crossformer_small", "upernet_crossformer_base", "upernet_crossformer_large",
]  # fmt: skip

_SEVENS: dict[str, Any] = dict(group_size=(7, 7, 7, 7), interval=(8, 4, 2, 1))
_FOURTEENS: dict[str, Any] = dict(group_size=(14, 14, 7, 7), interval=(16, 8, 2, 1))


@dataclass(frozen=True)
class DenseVariant:
    """A detector or segmenter.

    Attributes:
        kind: Which of the four models.
        backbone: Variant of CrossFormer inside.
        drive: Google Drive file id of the authors' weights; None if the model is ours.
        parameters: Millions, as published.
        published: Figures in per cent, by measure: `box_ap` and `mask_ap` on COCO val2017, `miou` and
            `miou_multi_scale` on ADE20K's validation set.
        settings: Arguments of the backbone.
        heads: Arguments of the model for neck and heads, where they are not the authors'.
        dataset: Data set whose classes the weights know: a key of `CLASSES`.
        sides: Most pixels of a photo's long and short side in the model's input.
    """

    kind: Kind
    backbone: str
    drive: str | None
    parameters: float
    published: dict[str, float]
    settings: dict[str, Any]
    dataset: str
    sides: tuple[int, int]
    heads: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """Whether it finds boxes, or labels pixels."""
        return TASKS[self.kind]


TASKS: dict[str, Task] = {
    "retinanet": "detect", "mask_rcnn": "detect", "semantic_fpn": "segment", "upernet": "segment",
}  # fmt: skip
DATASETS: dict[str, str] = {"detect": "coco", "segment": "ade20k"}
CLASSES = {"coco": 80, "ade20k": 150, "imagenette20": 20, "scenes": 21}
ONE_SCALE = (1.0,)
SIX_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # of a photo, in the authors' test settings for UPerNet
SIDES: dict[Task, tuple[int, int]] = {"detect": (1333, 800), "segment": (2048, 512)}  # the authors'


def _dense(
    kind: Kind,
    size: str,
    drive: str,
    parameters: float,
    published: dict[str, float],
    settings: dict[str, Any] = _SEVENS,
) -> tuple[str, DenseVariant]:
    backbone, task = f"crossformer_{size}", TASKS[kind]
    rest = (settings, DATASETS[task], SIDES[task])
    return f"{kind}_{backbone}", DenseVariant(kind, backbone, drive, parameters, published, *rest)


def _ours(kind: Kind, parameters: float, dataset: str, **heads: Any) -> tuple[str, DenseVariant]:
    backbone, settings = "crossformer_nano", {**_SEVENS, "lda": "regions"}
    sides = (448, 224)
    made = DenseVariant(kind, backbone, None, parameters, {}, settings, dataset, sides, heads)
    return f"{kind}_{backbone}", made


def _ap(box: float, mask: float) -> dict[str, float]:
    return {"box_ap": box, "mask_ap": mask}


def _iou(single: float, several: float) -> dict[str, float]:
    return {"miou": single, "miou_multi_scale": several}


DENSE: dict[str, DenseVariant] = dict(
    (
        _dense("retinanet", "small", "1OEEottS4fYGVZcPZG6WuBlKMK0tZLPZW", 40.8, {"box_ap": 44.4}),
        _dense("retinanet", "base", "1TOuLLf_S4Ixo6COvaHQAocACR4NKKnGz", 62.1, {"box_ap": 46.2}),
        _ours("retinanet", 5.5, "imagenette20", channels=96, anchor_scale=2.0),
        _dense("mask_rcnn", "small", "1qgO3-wnsJQw9Nj304AOj-TjVyadPPtvf", 50.2, _ap(45.4, 41.4)),
        _dense("mask_rcnn", "base", "1urkCa8Inss9CL1G1OgM4tWR5PSf6Ofn4", 71.5, _ap(47.2, 42.7)),
        _dense(
            "semantic_fpn", "small", "1I-zpGG5rvkTtrTUnOF8Fx11yeb6pXGYi", 34.3, {"miou": 46.4}, _FOURTEENS
        ),
        _dense("semantic_fpn", "base", "1EjAnRc8Sau0un1ymqDVhFebHPeBIjukK", 55.6, {"miou": 48.0}),
        _dense(
            "semantic_fpn", "large", "12WS9lX9yR5skxdt3N2HE3b2EaDSMwUMY", 95.4, {"miou": 49.1}, _FOURTEENS
        ),
        _ours("semantic_fpn", 4.7, "scenes", channels=96, hidden=64),
        _dense("upernet", "small", "1VKu4D6oxYdO1VVILLMhOQy8oCxKGH5gx", 62.3, _iou(47.6, 48.4)),
        _dense("upernet", "base", "1B8VTNeidrzlfsOkQUKgmX4m_UfCIm58i", 83.6, _iou(49.7, 50.6)),
        _dense("upernet", "large", "1I9ph5MeCwlTF2PNCkIYMFXYsdywp9nU1", 125.5, _iou(50.4, 51.4)),
    )
)


def list_dense(task: Task | None = None) -> list[str]:
    """List the names of the detectors ("detect"), of the segmenters ("segment"), or of both."""
    return [name for name, variant in DENSE.items() if task in (None, variant.task)]
