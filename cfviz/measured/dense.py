"""What a detector or segmenter answers on a photo, and the tokens, heads and pixels its scores rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from cfviz.analysis.dense import Regions, head_totals, partners, regions, stage_maps
from cfviz.analysis.receptive_field import summed_over_squares
from cfviz.data.images import Photo, load_image
from cfviz.figures.live import dense as live
from cfviz.figures.live.dense import CELL, Answer, Reason, Truth, View
from cfviz.figures.live.message import Cell
from cfviz.geometry import Grouping
from cfviz.models.crossformer import CrossFormer
from cfviz.models.dense.model import DenseModel, Detector, RetinaNet, Segmenter
from cfviz.models.dense.parts.roi import STRIDES
from cfviz.models.dense.pipeline import Fitted, fit, picture
from cfviz.models.dense.variants import list_dense
from cfviz.models.factory import create_model
from cfviz.models.inputs import check_eval
from cfviz.models.probes import dense as probes
from cfviz.models.room import attention_weights
from cfviz.models.variants import SHIPPED
from cfviz.run import SCENES, about_findings, dense_class_names, pick_device
from cfviz.words import figure_words, together, translator

from . import quick

__all__ = [
    "DenseSubject",
    "Explained",
    "Seen",
    "answer_of",
    "explain",
    "first_answer",
    "ground_of",
    "maps_of",
    "names_ahead",
    "reasons_for",
    "with_others",
]

LEAST = 8  # cells of a region
AHEAD = 6  # scores that are explained before the reader points at them
MOST_EXPLAINED = 30_000_000  # attention weights; nano at 224 x 352 px has 4 million


def ground_of(model: DenseModel) -> int | None:
    """Return the class that stands for no object, the last one of a segmenter of scenes; else None."""
    return model.num_classes - 1 if model.provenance.dataset == SCENES else None


@dataclass(frozen=True, eq=False)
class DenseSubject:
    """A detector or segmenter, and what it is asked about.

    Attributes:
        model: In eval mode; shared, never modified.
        photo: The photo or scene.
        fitted: The photo as the model gets it.
        names: Names of the classes.
        source: A cache key that stands for all of the above but the names.
        truth: What is known to be on the photo, in pixels of the input.
    """

    model: DenseModel
    photo: Image.Image
    fitted: Fitted
    names: Sequence[str]
    source: str
    truth: Truth | None = None

    @cached_property
    def ground(self) -> int | None:
        """The class that stands for no object, if there is one."""
        return ground_of(self.model)

    @property
    def input(self) -> tuple[int, int]:
        """Height and width of the input."""
        height, width = self.fitted.tensor.shape[-2:]
        return int(height), int(width)

    @property
    def groupings(self) -> list[list[Grouping]]:
        """How each block cuts its map."""
        return self.model.backbone.groupings(*self.input)

    @cached_property
    def seen_pixels(self) -> Image.Image:
        """The pixels of the input that are photo."""
        height, width = self.fitted.size
        return picture(self.fitted).crop((0, 0, width, height))

    @property
    def quick(self) -> bool:
        """Whether a few more forwards take no time that a reader notices."""
        return quick(self.model.backbone, self.input)

    @property
    def explainable(self) -> bool:
        """Whether there is room for what gradients need: all activations and attention of a forward."""
        try:
            return attention_weights(self.model.backbone, *self.input) <= MOST_EXPLAINED
        except ValueError:
            return False

    @property
    def left_out(self) -> tuple[int, ...]:
        """The stages that are left out in turn, from 0: those whose maps the model uses, if it is quick."""
        first = 1 if isinstance(self.model, RetinaNet) else 0
        return tuple(range(first, len(self.groupings))) if self.quick else ()

    @property
    def levels(self) -> list[tuple[str, int]]:
        """Name and stride of each level of a detector's pyramid."""
        if not isinstance(self.model, Detector):
            return []
        first, count = (3, 5) if isinstance(self.model, RetinaNet) else (2, len(STRIDES))
        return [(f"P{first + i}", 2 ** (first + i)) for i in range(count)]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model answers on a photo.

    Attributes:
        answer: For the figure.
        found: A detector's detections, as the model returns them; None of a segmenter.
        areas: The regions of a segmenter's label map at stride 4, with all stages; None of a detector.
    """

    answer: Answer
    found: Any
    areas: Regions | None

    @property
    def nbytes(self) -> int:
        """Bytes to count in a cache."""
        arrays = [view.labels for view in self.answer.views] + list(self.answer.likely or ())
        return sum(array.nbytes for array in arrays) + 3 * self.answer.photo.width * self.answer.photo.height


def answer_of(subject: DenseSubject) -> Seen:
    """The model's answer on the photo, and its answers without each stage if that is quick."""
    maps = maps_of(subject)
    return with_others(subject, maps, first_answer(subject, maps))


def maps_of(subject: DenseSubject) -> probes.Maps:
    """The backbone's maps of the photo, from which neck and heads answer."""
    return probes.maps_of(subject.model, subject.fitted)


def first_answer(subject: DenseSubject, maps: probes.Maps) -> Seen:
    """The model's answer with all stages, from the backbone's maps; the others are named as pending."""
    model, fitted = subject.model, subject.fitted
    if isinstance(model, Detector):
        (found,) = probes.findings(model, maps, fitted)
        view = _detected(found, np.arange(len(found.boxes)))
        return Seen(_answer(subject, view), found.told, None)
    assert isinstance(model, Segmenter)  # there is no third kind
    told = probes.labelling(model, maps, fitted)
    area = regions(told.cells[None], LEAST)
    return Seen(_answer(subject, _labelled(told, None, area), told.likely), None, area)


def with_others(subject: DenseSubject, maps: probes.Maps, first: Seen) -> Seen:
    """The first answer with those without each stage, from the same maps of the backbone."""
    model, fitted, tried = subject.model, subject.fitted, first.answer.pending
    if not tried:
        return first
    (whole,) = first.answer.views
    if isinstance(model, Detector):
        views = [_partnered(one, whole) for one in probes.findings(model, maps, fitted, tried)]
    else:
        assert isinstance(model, Segmenter)
        told = probes.labelling(model, maps, fitted, tried)
        views = [_labelled(told, s, regions(told.cells[s], LEAST)) for s in tried]
    return replace(first, answer=replace(first.answer, views=[whole, *views], pending=()))


def _labelled(told: probes.Labelling, without: int | None, areas: Regions) -> View:
    return View(without, told.maps[without], regions=_with_shares(areas))


def _with_shares(areas: Regions) -> live.Found:
    """Regions with the share of the photo that each has; a segmenter's input is all photo."""
    return live.Found(areas.which, areas.labels, [cells / areas.which.size for cells in areas.cells])


def _partnered(one: probes.Findings, first: View) -> View:
    assert first.boxes is not None  # a detector's
    return _detected(one, partners(one.boxes, one.labels, first.boxes, first.labels))


def _detected(one: probes.Findings, pairs: np.ndarray) -> View:
    return View(one.without, one.labels, one.boxes, one.scores, one.levels, pairs, one.masks)


def _answer(subject: DenseSubject, view: View, likely: Any = None) -> Answer:
    model = subject.model
    return Answer(
        model.task,
        subject.seen_pixels,
        subject.fitted.size,
        subject.input,
        subject.names,
        subject.groupings,
        model.backbone.num_heads,
        subject.levels,
        [view],
        subject.ground,
        likely,
        subject.truth,
        subject.left_out,
    )


# ------------------------------------------------------------------ why


def names_ahead(subject: DenseSubject, found: Seen) -> list[str]:
    """The best scores, by the names that `reasons_for` takes: the best boxes, or the largest regions.

    The region that is no object comes last.
    """
    if found.found is not None:
        return [f"box.{i}" for i in range(min(AHEAD, len(found.found["scores"])))]
    assert found.areas is not None  # a segmenter's
    labels = found.areas.labels
    order = sorted(range(len(labels)), key=lambda i: labels[i] == subject.ground)
    return [f"region.{i}" for i in order[:AHEAD]]


def reasons_for(subject: DenseSubject, found: Seen, names: Sequence[str]) -> tuple[Reason, ...]:
    """What scores rest on, with one forward and a backward pass for each.

    Args:
        subject: The model and the photo.
        found: Its answer.
        names: All "box.N", all "region.N", or one "pixel.ROW.COL".
    """
    if not names:
        return ()
    told = probes.reasons(subject.model, subject.fitted.tensor[0], _pick(subject, found, names))
    groupings = subject.groupings
    return tuple(
        Reason(
            of,
            one.logit,
            stage_maps(one.by_key, groupings),
            [[head_totals(one.by_key[s, b]) for b in range(len(g))] for s, g in enumerate(groupings)],
            summed_over_squares(one.field, CELL),
        )
        for of, one in zip(names, told, strict=True)
    )


def _pick(subject: DenseSubject, found: Seen, names: Sequence[str]) -> probes.Pick:
    model = subject.model
    if isinstance(model, Detector):
        assert found.found is not None
        return probes.of_boxes(model, found.found, [int(name.removeprefix("box.")) for name in names])
    if names[0].startswith("pixel."):
        row, col = map(int, names[0].split(".")[1:])
        return probes.of_pixel(int(found.answer.views[0].labels[row, col]), row, col, subject.input)
    assert found.areas is not None
    numbers = [int(name.removeprefix("region.")) for name in names]
    masks = np.stack([found.areas.which == n for n in numbers])
    return probes.of_regions([found.areas.labels[n] for n in numbers], masks)


# ------------------------------------------------------------------ in Python and in notebooks


@dataclass(frozen=True, eq=False)
class Explained(Cell):
    """A detector's or segmenter's answer on a photo; in a notebook the living figure of the dense page.

    Attributes:
        subject: The model and the photo; `subject.fitted` is the model's input.
        seen: The answer.
        remark: What the answer is worth on this photo, if there is something to say.
    """

    subject: DenseSubject
    seen: Seen
    remark: str = ""

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes."""
        return self.subject.names

    @property
    def views(self) -> Sequence[View]:
        """What was found: `views[0]` with all stages, the others without the one that `without` says.

        A detector's have `boxes`, in pixels of the input, `scores` and `labels`; a segmenter's `labels`, the
        class of each pixel of the input, and `regions`.
        """
        return self.seen.answer.views

    def why(self, box: int | None = None, pixel: tuple[int, int] | None = None) -> Reason:
        """Return what one score rests on: `maps` of tokens by stage, `heads` by stage and block, and `field`.

        Args:
            box: Number of a detector's box, from 0, best first.
            pixel: Row and column of a pixel of the input, for a segmenter.

        Raises:
            ValueError: If there is no such box or pixel, or no room for the gradients.
        """
        if not self.subject.explainable:
            raise ValueError("this model's attention is too large at this size; use smaller sides")
        view = self.views[0]
        if view.boxes is not None:
            if pixel is not None or type(box) is not int or not 0 <= box < len(view.boxes):
                raise ValueError(f"the box is {box!r}; expected box=N, from 0 and below {len(view.boxes)}")
            name = f"box.{box}"
        else:
            h, w = view.labels.shape
            good = box is None and isinstance(pixel, tuple) and len(pixel) == 2
            if pixel is None or not good or not (0 <= pixel[0] < h and 0 <= pixel[1] < w):
                raise ValueError(f"the pixel is {pixel!r}; expected pixel=(row, column), inside {h} x {w}")
            name = f"pixel.{int(pixel[0])}.{int(pixel[1])}"
        return reasons_for(self.subject, self.seen, [name])[0]

    @property
    def title(self) -> str:
        return f"cfviz: {self.subject.model.pretrained_cfg['architecture']}"

    def page(self, lang: str = "en") -> str:
        t, subject = translator(lang), self.subject
        explained = subject.explainable
        packed = live.pack(self.seen.answer, strings=figure_words("dense", lang), explained=explained)
        names = names_ahead(subject, self.seen) if explained else []
        rest = live.reasons(reasons_for(subject, self.seen, names))
        h, w = subject.fitted.size
        facts = together(subject.model.provenance.sentence(t), self.remark, t("dense.exact_file", h=h, w=w))
        return live.html(packed, rest, t("dense.title"), [facts], lang)


def explain(
    image: Any,
    model: str | DenseModel = "semantic_fpn_crossformer_nano",
    sides: tuple[int, int] | None = None,
    device: str | None = None,
) -> Explained:
    """Ask a detector or segmenter about a photo, and keep what is needed to explain any of its scores.

    Args:
        image: As in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a model in eval mode.
        sides: Most pixels of the long and the short side of the input; None for the model's own.
        device: "cpu", "cuda", ..., for a variant; by default CUDA if available. A model of your own runs
            where it is.

    Raises:
        ValueError: If the photo, the model or the sides cannot be used, or the weights are random.

    Example:
        >>> answer = explain("street.jpg", "retinanet_crossformer_nano")
        >>> answer.why(box=0).maps[3]  # what each token of the last stage contributed to the best box's logit
    """
    photo = image if isinstance(image, Photo) else load_image(image)
    if photo.strokes:
        raise ValueError(
            "the photo has strokes of a brush, which are made for an input of a classifier; give the painted "
            "pixels themselves: explain(inspect(photo).crop)"
        )
    if isinstance(model, str):
        if model not in list_dense() or model not in SHIPPED:
            there = ", ".join(name for name in list_dense() if name in SHIPPED)
            raise ValueError(f"{model!r} is no detector or segmenter that comes with weights: {there}")
        made: Any = create_model(model)
        net: DenseModel = made.to(pick_device(device))
    elif isinstance(model, DenseModel):
        if device is not None:
            raise ValueError("a model of your own runs where it is; move it with model.to(device)")
        net = model
    else:
        raise ValueError(f"got a {type(model).__name__}, expected a detector or segmenter")
    if not isinstance(net.backbone, CrossFormer):
        raise ValueError(
            f"the backbone is a {type(net.backbone).__name__}; what a score rests on is told of a "
            "CrossFormer's attention"
        )
    check_eval(net)
    if not net.provenance.predicts:
        raise ValueError("the model has random weights, which have learned nothing; open a file of weights")
    fitted = fit(photo.image, net.task, sides or net.sides)
    subject = DenseSubject(net, photo.image, fitted, dense_class_names(net), "")
    return Explained(subject, answer_of(subject), about_findings(net, photo.sha256, translator("en")))
