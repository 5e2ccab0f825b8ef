"""What a detector or segmenter answers on a photo, and what its scores rest on; shared by all readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cfviz import point_names
from cfviz.analysis.dense import Regions, head_totals, partners, regions, stage_maps
from cfviz.analysis.receptive_field import summed_over_squares
from cfviz.figures.live import attention
from cfviz.figures.live.dense import CELL, Answer, Reason, Truth, View
from cfviz.geometry import Grouping, token_box
from cfviz.measured import quick
from cfviz.models.dense.model import DenseModel, Detector, RetinaNet, Segmenter
from cfviz.models.dense.parts.roi import STRIDES
from cfviz.models.dense.pipeline import Fitted, picture
from cfviz.models.probes import dense as probes
from cfviz.models.room import attention_weights
from cfviz.run import share_cores
from cfviz.ui.compute.cache import cached
from cfviz.words import figure_words

LEAST = 8  # cells of a region
AHEAD = 6  # scores that are explained before the reader points at them
MOST_EXPLAINED = 30_000_000  # attention weights; nano at 224 x 352 px has 4 million
ATTENTION_BYTES = 9_000_000  # of the attention figure's message: all blocks of nano at 224 x 448 px
ATTENTION = ("q", "k", "bias", "probs")


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
        ground: The class that stands for no object.
    """

    model: DenseModel
    photo: Image.Image
    fitted: Fitted
    names: Sequence[str]
    source: str
    truth: Truth | None = None
    ground: int | None = None

    @property
    def input(self) -> tuple[int, int]:
        """Height and width of the input."""
        height, width = self.fitted.tensor.shape[-2:]
        return int(height), int(width)

    @property
    def groupings(self) -> list[list[Grouping]]:
        """How each block cuts its map."""
        return self.model.backbone.groupings(*self.input)

    @property
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
        areas: The regions of a segmenter's label map at stride 4; None of a detector.
    """

    answer: Answer
    found: Any
    areas: Regions | None

    @property
    def nbytes(self) -> int:
        """Bytes to count in a cache."""
        arrays = [view.labels for view in self.answer.views] + list(self.answer.likely or ())
        return sum(array.nbytes for array in arrays) + 3 * self.answer.photo.width * self.answer.photo.height


@cached(64, 128 * 2**20)
def seen(source: str, _subject: DenseSubject) -> Seen:
    """The model's answer on the photo, and its answers without each stage if that is quick."""
    share_cores()
    model, fitted = _subject.model, _subject.fitted
    used = range(1 if isinstance(model, RetinaNet) else 0, len(_subject.groupings))  # by the pyramid
    stages = tuple(used) if _subject.quick else ()
    if isinstance(model, Detector):
        found = probes.findings(model, fitted, stages)
        views = [_view(one, found[0]) for one in found]
        return Seen(_answer(_subject, views), found[0].told, None)
    assert isinstance(model, Segmenter)  # there is no third kind
    told = probes.labelling(model, fitted, stages)
    areas = regions(told.cells, LEAST)
    shares = [cells / areas.which.size for cells in areas.cells]
    views = [View(without, labels) for without, labels in told.maps.items()]
    likely = (told.likely, told.probs)
    return Seen(_answer(_subject, views, likely, (areas.which, areas.labels, shares)), None, areas)


def _view(one: probes.Findings, first: probes.Findings) -> View:
    pairs = np.arange(len(one.boxes))
    if one is not first:
        pairs = partners(one.boxes, one.labels, first.boxes, first.labels)
    return View(one.without, one.labels, one.boxes, one.scores, one.levels, pairs, one.masks)


def _answer(subject: DenseSubject, views: list[View], likely: Any = None, areas: Any = None) -> Answer:
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
        views,
        subject.ground,
        likely,
        areas,
        subject.truth,
    )


# ------------------------------------------------------------------ why


@cached(64, 96 * 2**20)
def reasons_ahead(source: str, _subject: DenseSubject) -> tuple[Reason, ...]:
    """What the best scores rest on: the best boxes, or the largest regions that are no ground."""
    if not _subject.quick:
        return ()
    found = seen(source, _subject)
    if found.found is not None:
        names = [f"box.{i}" for i in range(min(AHEAD, len(found.found["scores"])))]
    else:
        assert found.areas is not None
        labels = found.areas.labels
        order = sorted(range(len(labels)), key=lambda i: labels[i] == _subject.ground)
        names = [f"region.{i}" for i in order[:AHEAD]]
    return reasons_for(_subject, found, names)


@cached(512, 96 * 2**20)
def reason_for(source: str, of: str, _subject: DenseSubject) -> tuple[Reason, ...]:
    """What one score rests on."""
    return reasons_for(_subject, seen(source, _subject), [of])


def reasons_for(subject: DenseSubject, found: Seen, names: Sequence[str]) -> tuple[Reason, ...]:
    """What scores rest on, with one forward and a backward pass for each.

    Args:
        subject: The model and the photo.
        found: Its answer.
        names: All "box.N", all "region.N", or one "pixel.ROW.COL".
    """
    if not names:
        return ()
    share_cores()
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


# ------------------------------------------------------------------ attention


@cached(8, 64 * 2**20)
def attention_message(source: str, _subject: DenseSubject, _name: str) -> attention.Packed:
    """The attention figure's message for this photo, with as many blocks as fit.

    Raises:
        ValueError: If not even one block fits.
    """
    share_cores()
    model, fitted, (H, W) = _subject.model, _subject.fitted, _subject.input
    patterns = [point_names.attention(point=point) for point in ATTENTION]
    arrays = probes.backbone_arrays(model, fitted, patterns)
    groupings = _subject.groupings
    return attention.pack(
        attention.units(arrays, groupings),
        size=(H, W),
        strides={s: token_box(s, 0, 0)[2] for s in range(len(groupings))},
        strings=figure_words("attention", "en"),
        photo=picture(fitted),
        start={"stage": len(groupings) - 1, "block": 0},
        name=_name,
        source=source,
        limit=ATTENTION_BYTES,
    )
