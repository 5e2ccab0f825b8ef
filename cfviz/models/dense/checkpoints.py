"""Weights of detectors and segmenters, through the same door as all others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from os import PathLike
from threading import Event
from typing import Any

import torch

from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.checkpoints import (
    Checkpoint,
    Found,
    as_float32,
    check_tensors,
    miscounted,
    read_weights,
    recognised,
)
from cfviz.models.weights.download import Progress
from cfviz.models.weights.errors import CheckpointError, printable, some
from cfviz.models.weights.facts import class_list
from cfviz.models.weights.recognise import HEADLESS
from cfviz.models.weights.state_dict import Weights
from cfviz.provenance import Note, Provenance

from .model import MODELS
from .variants import CLASSES, DENSE

_SIGNS = {  # a layer of each model's head that no other has, which also tells the number of classes
    "mask_rcnn": "roi_head.bbox_head.fc_cls.weight",
    "retinanet": "bbox_head.retina_cls.weight",
    "semantic_fpn": "decode_head.scale_heads.0.0.conv.weight",
    "upernet": "decode_head.psp_modules.0.1.conv.weight",
}
_SEGMENTS = "decode_head.conv_seg.weight"
_COUNTER = "num_batches_tracked"
REPLACED = ("left_out", "assumed_classes", "miscounted_classes", "usual_groups")  # notes on a backbone alone
_ANCHORS = 9  # of RetinaNet at one cell
_NAMES = {"coco": "COCO", "ade20k": "ADE20K", "imagenette20": "imagenette20", "scenes": "composed scenes"}


@dataclass(frozen=True, eq=False)
class DenseCheckpoint:
    """Weights of a detector or segmenter that have been opened, recognised and checked.

    Attributes:
        variant: Name of the registered model.
        backbone: What is known about the backbone and the file.
        state_dict: All parameters and running statistics under the model's names, float32 on the CPU;
            `load_state_dict(strict=True)` accepts them.
        num_classes: Classes, without a background.
        dataset: A key of `variants.CLASSES`, or None if the classes are others.
        classes: Class names in output order, if the file records them.
        settings: Groups, intervals and form of long distance attention of the backbone.
        notes: Remarks for the reader on how the weights were extracted from the file.
    """

    variant: str
    backbone: Checkpoint
    state_dict: dict[str, torch.Tensor]
    num_classes: int
    dataset: str | None
    classes: tuple[str, ...] | None
    settings: dict[str, Any]
    notes: tuple[Note, ...] = ()

    @property
    def source(self) -> str:
        """Where the weights come from."""
        return self.backbone.source

    @property
    def missing(self) -> tuple[str, ...]:
        """What a file need not hold: counters of batches, which the model makes itself."""
        return tuple(key for key in self.state_dict if key.endswith(_COUNTER))

    @property
    def facts(self) -> dict[str, Any]:
        """What a file with these weights has to record besides their numbers: nothing that was assumed."""
        told, codes = replace(self.backbone, notes=self.notes).facts, {note.code for note in self.notes}
        if self.dataset and "assumed_dense_classes" not in codes:
            told["dataset"] = self.dataset
        if "whole_map" in codes:  # by the heads, which will say so again
            told.pop("lda", None)
        if self.classes:
            told["classes"] = self.classes
        if self.source == "official":
            told |= self.settings
        return told

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build the model, in addition to the registered model's own."""
        told = {"in_chans": self.backbone.in_chans, "position_bias": self.backbone.position_bias}
        return {"num_classes": self.num_classes, **told, **self.backbone.model_args, **self.settings}

    @property
    def provenance(self) -> Provenance:
        """The origin of these weights, for a model that uses them."""
        known = self.backbone.provenance
        return replace(known, dataset=self.dataset, classes=self.classes, notes=self.notes)


def load_dense(
    source: str | PathLike[str] | bytes,
    *,
    name: str | None = None,
    allow_pickle: bool = True,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> DenseCheckpoint:
    """Open the weights of a detector or segmenter from any source, safely.

    Args:
        source: `"official:retinanet_crossformer_small"`, the authors', downloaded once; a file; the bytes of
            one; or whatever else `load_checkpoint` accepts.
        name, allow_pickle, progress, cancel: As in `load_checkpoint`.

    Raises:
        CheckpointError: A ValueError whose one sentence explains what is wrong.
    """
    return _recognised(*read_weights(source, name, allow_pickle, progress, cancel))


def load_any(source: str | PathLike[str] | bytes) -> Checkpoint | DenseCheckpoint:
    """Open weights from any source: those of a detector or segmenter with its heads, if these are known.

    Raises:
        CheckpointError: As in `load_checkpoint`.
    """
    read = read_weights(source)
    if not read[0].dense:
        return recognised(*read)
    try:
        return _recognised(*read)
    except CheckpointError as error:
        if error.code != "unknown_heads":
            raise
    return recognised(*read)  # of other heads' models the backbone is what is known


def _recognised(weights: Weights, facts: dict[str, Any], found: Found) -> DenseCheckpoint:
    """Make a checkpoint of a detector or segmenter from stripped parameters."""
    check_tensors({**weights.state, **weights.heads}, found.size, found.name)
    backbone = recognised(weights, facts, found)
    if not weights.dense:
        raise CheckpointError("no_heads", source=found.name, found=backbone.variant)
    variant, num_classes = _variant(weights, backbone, found)
    state = _state(weights, backbone, variant, num_classes, found)
    classes = class_list(facts.get("classes"))
    miscount = miscounted(classes, num_classes)
    classes = None if miscount else classes
    usual = DENSE[variant].dataset
    told = next(
        (name for name, n in CLASSES.items() if n == num_classes and name == facts.get("dataset")), None
    )
    assumed_data = usual if classes is None and num_classes == CLASSES[usual] else None
    dataset = told or assumed_data
    settings, assumed = _settings(backbone, variant)
    notes = [note for note in backbone.notes if note.code not in REPLACED]
    parent = weights.prefix.removesuffix("backbone.")
    left = [n for n in weights.left_out if n.removeprefix(parent) not in weights.heads]
    left += [weights.prefix + key for key in weights.state if key in HEADLESS]
    notes += [Note.of("unused", names=printable(some(left)))] if left else []
    notes += miscount
    if backbone.source != "official":
        notes += assumed
        if dataset and not told:
            count = str(num_classes)
            notes.append(Note.of("assumed_dense_classes", data=_NAMES[dataset], count=count))
    return DenseCheckpoint(variant, backbone, state, num_classes, dataset, classes, settings, tuple(notes))


def _variant(weights: Weights, backbone: Checkpoint, found: Found) -> tuple[str, int]:
    """Return the registered model and its number of classes, judging by the heads.

    Raises:
        CheckpointError: "unknown_heads".
    """
    kind = next((kind for kind, sign in _SIGNS.items() if sign in weights.heads), "a model with other heads")
    name = f"{kind}_{backbone.variant}"
    if name not in DENSE:
        said = {"kind": kind, "backbone": backbone.variant, "available": ", ".join(DENSE)}
        raise CheckpointError("unknown_heads", source=found.name, **said)
    rows = _rows(weights, _SEGMENTS if DENSE[name].task == "segment" else _SIGNS[kind])
    count = {"retinanet": rows // _ANCHORS, "mask_rcnn": rows - 1}.get(kind, rows)
    return name, max(count, 1)  # a shape that does not fit is named later


def _rows(weights: Weights, key: str) -> int:
    shape = tuple(weights.heads[key].shape) if key in weights.heads else ()
    return shape[0] if shape else 0


def head_shapes(variant: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters and statistics of a registered model's neck and heads."""
    known = DENSE[variant]
    return _shapes(known.kind, known.backbone, tuple(known.heads.items()), num_classes)


@lru_cache(maxsize=16)
def _shapes(
    kind: str, backbone: str, heads: tuple[tuple[str, Any], ...], num_classes: int
) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        shallow = CrossFormer(num_classes=0, **{**VARIANTS[backbone], "depths": (1, 1, 1, 1)})
        model = MODELS[kind](shallow, num_classes, **dict(heads))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return {name: shape for name, shape in shapes.items() if not name.startswith("backbone.")}


def _state(
    weights: Weights, backbone: Checkpoint, variant: str, num_classes: int, found: Found
) -> dict[str, torch.Tensor]:
    """Return all parameters under the model's names.

    Raises:
        CheckpointError: "keys", "shape", "dtype" or "not_finite".
    """
    expected, heads = head_shapes(variant, num_classes), weights.heads
    missing = [key for key in expected if key not in heads and not key.endswith(_COUNTER)]
    unexpected = [key for key in heads if key not in expected]
    if missing or unexpected:
        said = {"missing": some(missing), "unexpected": some(unexpected)}
        raise CheckpointError("keys", source=found.name, variant=variant, **said)
    for key, value in heads.items():
        if tuple(value.shape) != expected[key]:
            got, wanted = (" x ".join(map(str, s)) or "()" for s in (value.shape, expected[key]))
            said = {"variant": variant, "got": got, "expected": wanted}
            raise CheckpointError("shape", source=found.name, key=key, **said)
    state = {f"backbone.{key}": v for key, v in backbone.state_dict.items() if key not in HEADLESS}
    state |= as_float32({k: v for k, v in heads.items() if not k.endswith(_COUNTER)}, found.name)
    counters = (key for key in expected if key.endswith(_COUNTER))
    return state | {key: torch.zeros((), dtype=torch.int64, device="cpu") for key in counters}


def _settings(backbone: Checkpoint, variant: str) -> tuple[dict[str, Any], list[Note]]:
    """Return the backbone's settings: the file's, else those that the authors used for this model.

    A file that records its groups but not its intervals gets the intervals that belong to these groups.
    """
    own = DENSE[variant].settings
    usual = VARIANTS[DENSE[variant].backbone]
    settings: dict[str, Any] = {"lda": backbone.lda or "whole"}
    if backbone.group_size is None:
        groups = ", ".join(map(str, own["group_size"]))
        settings = {**own, **settings, **({"interval": backbone.interval} if backbone.interval else {})}
        return settings, [Note.of("assumed_groups", groups=groups)]
    fitting = own if backbone.group_size == own["group_size"] else usual
    return {
        **settings,
        "group_size": backbone.group_size,
        "interval": backbone.interval or fitting["interval"],
    }, []
