"""Where the logit of a class comes from: its parts on a photo, for the lab, in Python and in notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, ClassVar

from PIL import Image

from cfviz.data.decode import Photo
from cfviz.data.images import load_image, prepare
from cfviz.figures.live.answer import logit_parts as live
from cfviz.figures.live.message import Cell
from cfviz.framing import Size, size_text
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.logit_parts import LogitParts, Part, logit_parts
from cfviz.run import class_names, load, name_of
from cfviz.words import figure_words, quantity, short_name, together, translator


def figure(
    found: LogitParts,
    photo: Image.Image,
    labels: Sequence[str],
    lang: str,
    totals: Mapping[str, float] | None = None,
    lab: bool = False,
) -> bytes:
    """Return the message of the figure of a logit's parts.

    Args:
        found: The parts.
        photo: The pixels that the model saw.
        labels: The names of the classes in the reader's language.
        lang: "en" or "zh-Hant".
        totals: What the logit changes by without a part, by the part's place, as far as it was measured.
        lab: Whether a part can be taken to the lab.
    """
    stages = 1 + max(part.stage or 0 for part in found.parts)
    sums = [found.since(stage) for stage in range(stages)]
    name = label(found, labels)
    strings = figure_words("parts", lang)
    return live.pack(sums, found.logit, name, photo=photo, strings=strings, totals=totals, lab=lab)


def label(found: LogitParts, labels: Sequence[str]) -> str:
    """Name the logit: the class, or "tench − golf ball"."""
    names = [short_name(labels[i]) for i in (found.target, found.minus) if i is not None]
    return " − ".join(names)


@dataclass(frozen=True, eq=False)
class ExplainedLogit(Cell):
    """A logit on a photo, and the parts it is the sum of; in a notebook the living figure of the lab.

    Attributes:
        found: The parts, see `cfviz.models.probes.logit_parts`.
        model: The model.
        photo: The pixels that the model saw.
    """

    title: ClassVar[str] = live.TITLE
    found: LogitParts
    model: CrossFormer
    photo: Image.Image

    def largest(self, n: int = 10) -> list[Part]:
        """Return the parts that add or take away most, biases left out."""
        parts = [part for part in self.found.parts if part.kind not in live.FIXED]
        return sorted(parts, key=lambda part: -abs(part.value))[:n]

    def page(self, lang: str = "en") -> str:
        t = translator(lang)
        data = figure(self.found, self.photo, class_names(self.model, lang), lang)
        size = size_text((self.photo.height, self.photo.width))
        facts = f"{name_of(self.model)}, {quantity(size, 'px')}. {self.model.provenance.sentence(t)}"
        return live.html(data, lang, together(facts, t("parts.direct")))


def explain_logit(
    image: Any,
    model: str | CrossFormer = "crossformer_nano",
    target: int | str | None = None,
    minus: int | str | None = None,
    size: Size | None = None,
) -> ExplainedLogit:
    """Split the logit of a class on a photo into the parts that it is the sum of.

    Args:
        image: As in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a model in eval mode.
        target: The class, as its index or its English name; by default the predicted one.
        minus: A class whose logit is subtracted: why the one and not the other.
        size: Side of the input in pixels, or (height, width); by default the model's own.

    Raises:
        ValueError: If there is no such class, the weights are random, or the logit cannot be split.

    Example:
        >>> explain_logit("cat.jpg", minus="beagle").largest(3)
    """
    photo = image if isinstance(image, Photo) else load_image(image)
    net = load(model) if isinstance(model, str) else model
    if not isinstance(net, CrossFormer):
        raise ValueError(f"the model is a {type(net).__name__}; only the logit of a CrossFormer can be split")
    if net.in_chans != 3:
        raise ValueError(f"the model takes {net.in_chans} channels; expected 3, as photos have")
    if not net.provenance.predicts:
        raise ValueError("the model has random weights, which have learned nothing; open a file of weights")
    seen = prepare(photo, net.img_size if size is None else size)
    names = class_names(net)
    wanted, less = (None if one is None else _index(one, names) for one in (target, minus))
    return ExplainedLogit(logit_parts(net, seen.tensor, wanted, less), net, seen.crop)


def _index(chosen: int | str, names: Sequence[str]) -> int:
    """The index of a class given by its index or by one of its English names."""
    if not isinstance(chosen, str):
        try:
            return index(chosen)  # of NumPy, too, such as `trace.probs.argmax()`; checked with the model
        except TypeError:
            raise ValueError(f"the class is {chosen!r}; expected its index or its English name") from None
    word = chosen.strip().casefold()
    whole = [at for at, name in enumerate(names) if word == name.strip().casefold()]
    one_of = [at for at, name in enumerate(names) if word in map(str.strip, name.casefold().split(","))]
    if len(found := whole or one_of) == 1:
        return found[0]
    if found:
        those = ", ".join(map(str, found))
        raise ValueError(f"the classes {those} are all called {chosen!r}; expected the index of one of them")
    raise ValueError(f"the model has no class {chosen!r}; its classes are {', '.join(names[:5])}, ...")
