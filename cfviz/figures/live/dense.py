"""The message of the figure of a detector or segmenter, and the one that brings what scores rest on.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, palette, strings
    source    reasons with the same source belong to this photo and model
    explained whether reasons follow; without them the figure has no part for them
    task      "detect" or "segment"
    input     {"h", "w"} pixels of the input that are photo, {"H", "W"} of the whole input
    photo     {"of", "w", "h", "file"}: the input's pixels that are photo
    classes   [{"index", "name", "short", "colour"}] of all classes in the message, the most important first
    ground    number of the class that stands for no object, or null
    stages    [{"H", "W", "stride", "blocks": [{"kind", "heads"}]}]
    levels    [{"name", "stride"}] of the pyramid, for detectors
    views     [{"without": null or a stage from 0, and of a detector
                "boxes" float32 (n, 4), "scores" float32 (n,), "labels" and "levels" uint8 (n,),
                "partners" int16 (n,): the same thing in the first view, or -1,
                "masks" null or uint8 (n, 28, 28), probabilities in 255ths;
                of a segmenter "labels" uint8 (h*w,) and "regions" {"which" uint8 (H/4*W/4,), 255 for
                none, "labels" [n], "shares" [n] of the photo}}]; the first is of the whole model
    likely    of a segmenter {"labels" uint8 (n, h*w), "probs" uint16 (n, h*w) in 65535ths}, the likeliest;
              n is 3, or fewer if there are fewer classes
    truth     null or {"boxes" float32 (n, 4), "labels" [n], and of a segmenter "map" uint8 (h*w,)}
    pending   [stages whose views follow in a message of their own]
    start     {"threshold", "view", "show", "sort", "box", "row", "col", "held"}

Boxes are in pixels of the input. `others` makes the message of the views that follow:

    name      the figure's name and ".views"
    source
    classes   all of them, those of the first message before the new ones, with the same colours
    views     without the first

`reasons` makes the message of what scores rest on:

    source
    reasons   [{"of": "box.3", "region.0" or "pixel.ROW.COL", "logit",
                "maps": one float32 (H*W,) per stage, "heads": one list of float32 (nH,) per stage,
                "field": float32 (H/4*W/4,)}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from PIL import Image

from cfviz import web
from cfviz.figures import theme
from cfviz.geometry import Grouping
from cfviz.words import short_name

from . import message

CELL = 4  # pixels of a cell of the regions and of the field
NONE = 255
MASK_STEPS, PROB_STEPS = 255, 65535


@dataclass(frozen=True, eq=False)
class Found:
    """The connected regions of a label map, largest first.

    Attributes:
        which: The region of each cell, (H/4, W/4); -1 for none.
        labels: The class of each region.
        shares: Each region's share of the photo.
    """

    which: np.ndarray
    labels: Sequence[int]
    shares: Sequence[float]


@dataclass(frozen=True, eq=False)
class View:
    """What the model answers, with all stages or without one.

    Attributes:
        without: The stage whose map is left out, from 0; None for the whole model.
        boxes: (n, 4), in pixels of the input, best first; of a detector.
        scores: (n,).
        labels: (n,), numbers of classes; of a segmenter (h, w), one for each pixel.
        levels: (n,), the pyramid's level that found each box, from 0.
        partners: (n,), each box's number in the first view, or -1.
        masks: (n, 28, 28), probabilities; None if the model draws no masks.
        regions: Of a segmenter.
    """

    without: int | None
    labels: np.ndarray
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    levels: np.ndarray | None = None
    partners: np.ndarray | None = None
    masks: np.ndarray | None = None
    regions: Found | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known to be on a composed scene, in pixels of the input.

    Attributes:
        boxes: (n, 4).
        labels: (n,), numbers of classes.
        map: (h, w), the class of each pixel.
    """

    boxes: np.ndarray
    labels: Sequence[int]
    map: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Reason:
    """What one score rests on.

    Attributes:
        of: "box.3", "region.0" or "pixel.ROW.COL".
        logit: The logit in question.
        maps: What each token contributed, one (H, W) for each stage.
        heads: What each head contributed, for each stage one (nH,) per block.
        field: Gradients of the pixels, summed over cells of 4 x 4, (H/4, W/4).
    """

    of: str
    logit: float
    maps: Sequence[np.ndarray]
    heads: Sequence[Sequence[np.ndarray]]
    field: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """What the figure shows of one photo.

    Attributes:
        task: "detect" or "segment".
        photo: The input's pixels that are photo.
        size: Height and width of the input's part that is photo.
        input: Height and width of the input.
        names: Names of all classes, in output order.
        ground: The class that stands for no object, if there is one.
        groupings: Of each block of each stage.
        heads: Heads of each stage.
        levels: Name and stride of each level of the pyramid.
        views: The whole model first.
        likely: The likeliest classes and their probabilities with all stages, (n, h, w) each; of a segmenter.
        truth: What is known to be there.
        pending: Stages, from 0, without which the model is still to be asked: each will be a view.
    """

    task: Literal["detect", "segment"]
    photo: Image.Image
    size: tuple[int, int]
    input: tuple[int, int]
    names: Sequence[str]
    groupings: Sequence[Sequence[Grouping]]
    heads: Sequence[int]
    levels: Sequence[tuple[str, int]]
    views: Sequence[View]
    ground: int | None = None
    likely: tuple[np.ndarray, np.ndarray] | None = None
    truth: Truth | None = None
    pending: Sequence[int] = ()


def pack(
    answer: Answer,
    *,
    strings: Mapping[str, str],
    start: Mapping[str, Any] | None = None,
    name: str = "dense",
    source: str = "",
    explained: bool = True,
) -> message.Message:
    """Pack the figure's message.

    Args:
        answer: What the figure shows.
        strings: The figure's words.
        start: Where the figure begins.
        name: The figure's own name, also that of the reasons sent to it.
        source: The photo and the model; reasons with the same source are accepted.
        explained: Whether reasons can follow.
    """
    arrays = message.Arrays()
    (h, w), (H, W) = answer.size, answer.input
    stages = [
        {
            "H": blocks[0].H, "W": blocks[0].W, "stride": H // blocks[0].H,
            "blocks": [{"kind": g.kind, "heads": nH} for g in blocks],
        }
        for blocks, nH in zip(answer.groupings, answer.heads, strict=True)
    ]  # fmt: skip
    header: dict[str, Any] = {
        "name": name,
        "source": source,
        "explained": explained,
        "task": answer.task,
        "input": {"h": h, "w": w, "H": H, "W": W},
        "photo": arrays.picture(answer.photo),
        "classes": _classes(answer),
        "ground": answer.ground,
        "stages": stages,
        "levels": [{"name": level, "stride": stride} for level, stride in answer.levels],
        "views": [_view(view, arrays) for view in answer.views],
        "likely": None,
        "truth": None,
        "pending": list(answer.pending),
    }
    if answer.likely is not None:
        labels, probs = answer.likely
        steps = np.rint(probs * PROB_STEPS).astype(np.uint16)
        header["likely"] = {"labels": _bytes(labels, arrays), "probs": arrays.array(steps)}
    if answer.truth is not None:
        known = answer.truth
        header["truth"] = {
            "boxes": arrays.array(known.boxes.astype(np.float32)), "labels": [int(k) for k in known.labels]
        }  # fmt: skip
        if known.map is not None:
            header["truth"]["map"] = _bytes(known.map, arrays)
    return message.pack(header, arrays, strings=strings, start=start)


def others(answer: Answer, *, name: str = "dense", source: str = "") -> bytes:
    """Pack the views that the figure's message named as pending.

    Args:
        answer: With all its views.
        name: The figure's name.
        source: As in the figure's message.
    """
    arrays = message.Arrays()
    views = [_view(view, arrays) for view in answer.views[1:]]
    header = {"name": f"{name}.views", "source": source, "classes": _classes(answer), "views": views}
    return message.pack(header, arrays, strings={}).data


def _classes(answer: Answer) -> list[dict[str, Any]]:
    colours = class_colours(present(answer), answer.ground)
    return [{"index": k, **both_names(answer.names[k]), "colour": colour} for k, colour in colours.items()]


def present(answer: Answer) -> list[int]:
    """The classes in an answer, the most important of the whole model first: by score, or by area.

    Those of the other views come last: views that follow later change no place, and so no colour.
    """
    first, *rest = (_in_view(answer, view) for view in answer.views)
    order = list(first)
    if answer.likely is not None:
        order += np.unique(answer.likely[0]).tolist()
    if answer.truth is not None:
        order += [int(k) for k in answer.truth.labels]
    return list(dict.fromkeys(chain(order, *rest)))


def _in_view(answer: Answer, view: View) -> list[int]:
    if answer.task == "detect":
        return [int(k) for k in view.labels]
    counts = np.bincount(view.labels.reshape(-1), minlength=len(answer.names))
    return [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]


def both_names(name: str) -> dict[str, str]:
    """A class's name in a message, whole and short."""
    return {"name": name, "short": short_name(name)}


def class_colours(classes: Sequence[int], ground: int | None = None) -> dict[int, str]:
    """Colours of classes, in order; neighbours in the list differ most, and the ground has none of them."""
    rest = [k for k in classes if k != ground]
    colours = {k: theme.CLASS_COLOURS[i % len(theme.CLASS_COLOURS)] for i, k in enumerate(rest)}
    return {k: colours.get(k, theme.GROUND) for k in classes}


def reasons(given: Sequence[Reason], *, name: str = "dense", source: str = "") -> bytes:
    """Pack what scores rest on.

    Args:
        given: For each score.
        name: The figure's name, or another under which the figure listens.
        source: As in the figure's message.
    """
    arrays = message.Arrays()

    def add(values: np.ndarray) -> dict[str, Any]:
        return arrays.array(np.asarray(values, np.float32).reshape(-1))

    rows = [
        {
            "of": one.of,
            "logit": one.logit,
            "maps": [add(values) for values in one.maps],
            "heads": [[add(values) for values in blocks] for blocks in one.heads],
            "field": add(one.field),
        }
        for one in given
    ]
    return message.pack({"name": name, "source": source, "reasons": rows}, arrays, strings={}).data


def _bytes(values: np.ndarray, arrays: message.Arrays) -> dict[str, Any]:
    """Append whole numbers in 8 bits.

    Raises:
        ValueError: If they do not fit.
    """
    if values.size and not 0 <= values.min() <= values.max() <= NONE:
        raise ValueError(f"the numbers reach from {values.min()} to {values.max()}; expected 0 to {NONE}")
    return arrays.array(values.astype(np.uint8))


def _view(view: View, arrays: message.Arrays) -> dict[str, Any]:
    row: dict[str, Any] = {"without": view.without, "labels": _bytes(view.labels, arrays)}
    if view.boxes is None:
        assert view.regions is not None  # a label map comes with them
        which = np.where(view.regions.which < 0, NONE, view.regions.which)
        told = {"labels": list(view.regions.labels), "shares": list(view.regions.shares)}
        return row | {"regions": told | {"which": _bytes(which, arrays)}}
    assert view.scores is not None  # boxes come with all of these
    assert view.levels is not None
    assert view.partners is not None
    masks = None
    if view.masks is not None:
        masks = _bytes(np.rint(view.masks * MASK_STEPS), arrays)
    return row | {
        "boxes": arrays.array(view.boxes.astype(np.float32)),
        "scores": arrays.array(view.scores.astype(np.float32)),
        "levels": _bytes(view.levels, arrays),
        "partners": arrays.array(view.partners.astype(np.int16)),
        "masks": masks,
    }


def html(packed: message.Message, rest: bytes, title: str, texts: Sequence[str], lang: str = "en") -> str:
    """A page that works from a file, offline: the figure, all that it explains, and a few texts.

    Args:
        packed: The figure's message.
        rest: What scores rest on, from `reasons`.
        title: The page's title.
        texts: Below the figure, each as it is, line breaks included.
        lang: "en" or "zh-Hant".
    """
    return message.offline_page(web.DENSE, (packed.data, rest), title, lang, texts)
