"""What each block already knows of a photo, read by linear probes: for the lab, Python and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from cfviz.figures.live.answer import block_readings as live
from cfviz.figures.live.message import Cell
from cfviz.framing import Size, size_text
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.linear import BlockReading, LinearProbes, open_probes, probes_for
from cfviz.run import class_names, inspect, load
from cfviz.trace import Trace
from cfviz.words import figure_words, quantity, short_name, together, translator


def figure(trace: Trace, probes: LinearProbes, labels: Sequence[str], lang: str, target: int) -> bytes:
    """Return the message of the figure of what each block knows.

    Args:
        trace: Of a photo, with `probes.points`.
        probes: Of the trace's weights.
        labels: The names of the classes in the reader's language.
        lang: "en" or "zh-Hant".
        target: The class to follow through the blocks.
    """
    assert trace.crop is not None  # every trace of a photo has one
    blocks = [
        live.Known(
            one.stage, one.block, one.photo, one.tokens,
            probes.accuracy(one.stage, one.block), probes.accuracy(one.stage, one.block, "token"),
        )
        for one in probes.read(trace)
    ]  # fmt: skip
    names, strings = [short_name(name) for name in labels], figure_words("reading", lang)
    return live.pack(blocks, trace.probs, names, target, photo=trace.crop, strings=strings)


@dataclass(frozen=True, eq=False)
class ExplainedBlocks(Cell):
    """What each block knows of a photo; in a notebook the living figure of the lab.

    Attributes:
        readings: One for each block, in order: `photo` and `tokens` are probabilities of the classes.
        trace: The model's own answer, and the tokens that were read.
        probes: What read them.
    """

    title: ClassVar[str] = live.TITLE
    readings: tuple[BlockReading, ...]
    trace: Trace
    probes: LinearProbes
    model: CrossFormer

    def page(self, lang: str = "en") -> str:
        t = translator(lang)
        target = self.trace.top(1)[0][0]
        data = figure(self.trace, self.probes, class_names(self.model, lang), lang, target)
        size = quantity(size_text(self.trace.size), "px")
        facts = f"{self.trace.model}, {size}. {self.trace.weights.sentence(t)}"
        return live.html(data, lang, together(facts, t("reading.learned", **learned(self.probes))))


def learned(probes: LinearProbes) -> dict[str, str]:
    """The fields of the sentence on how probes learned and were measured."""
    about = probes.about
    return {
        "size": size_text(about["size"]),
        "learned": f"{about['learned']:,}",
        "measured": f"{about['measured']:,}",
    }


def explain_blocks(
    image: Any,
    model: str | CrossFormer = "crossformer_nano",
    probes: LinearProbes | str | PathLike[str] | None = None,
    size: Size | None = None,
) -> ExplainedBlocks:
    """Read what each block of a model already knows of a photo.

    Args:
        image: As in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a model in eval mode.
        probes: The model's probes or a file of them; by default those that come with cfviz.
        size: Side of the input in pixels, or (height, width); by default the model's own.

    Raises:
        ValueError: If there are no probes of these weights, or the photo cannot be used.

    Example:
        >>> for one in explain_blocks("cat.jpg").readings:
        ...     print(one.stage, one.block, one.photo.argmax(), one.tokens.shape)
    """
    net = load(model) if isinstance(model, str) else model
    found = probes_for(net) if probes is None else probes
    if found is None:
        raise ValueError("no probes come with cfviz for these weights; make some with `cfviz probes`")
    known = found if isinstance(found, LinearProbes) else open_probes(found)
    trace = inspect(image, net, size, known.points)
    return ExplainedBlocks(known.read(trace), trace, known, net)
