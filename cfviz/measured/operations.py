"""What a forward on a photo computes and how long it takes, for pages, Python and notebooks."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any, ClassVar

from cfviz.data.decode import Photo
from cfviz.data.images import load_image, prepare
from cfviz.figures.live.answer import operations as live
from cfviz.figures.live.message import Cell
from cfviz.framing import CENTRE, Centre, Size, as_size
from cfviz.models.crossformer import CrossFormer
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.pipeline import fit
from cfviz.models.dense.variants import DENSE
from cfviz.models.factory import create_model
from cfviz.models.others.reading import family_of, input_size
from cfviz.models.probes.operations import PASSES, Operations, operations
from cfviz.run import load, name_of, prepared_for
from cfviz.words import figure_words, percent, quantity, together, translator, unbroken


def figure(found: Operations, lang: str) -> bytes:
    """Return the message of the figure of a forward's operations."""
    return live.pack(found.root, strings=figure_words("operations", lang))


def sentence(found: Operations, lang: str) -> str:
    """Say where the time goes: of a CrossFormer, of a detector with one inside, of a model of timm."""
    stages, t = found.stages, translator(lang)
    parts = {one.path[0]: one.seconds for one in found.root.children}
    if "backbone" in parts:
        whole = found.root.seconds
        heads = sum(seconds for name, seconds in parts.items() if name.endswith("_head"))
        shares = {"backbone": parts["backbone"], "neck": parts.get("neck", 0.0), "heads": heads}
        shares["attend"] = found.root.sum_of("attend")
        return t(
            "operations.answer_dense",
            **{name: percent(seconds / whole, 0) for name, seconds in shares.items()},
        )
    if not stages:
        root, below = found.root, found.root.children
        largest = max(below, key=lambda one: one.seconds)
        return t(
            "operations.answer_other", name=largest.module or largest.kind, n=len(below),
            share=percent(largest.seconds / root.seconds, 0), macs=percent(largest.macs / root.macs, 0),
        )  # fmt: skip
    most = max(range(len(stages)), key=lambda s: stages[s].seconds)
    shares = {"share": stages[most].seconds / found.root.seconds, "attend": found.share("attend")}
    mlp = found.share("mlp")
    return t(
        "operations.answer", stage=most + 1, mlp=percent(mlp, 0),
        **{name: percent(value, 0) for name, value in shares.items()},
    )  # fmt: skip


def how_measured(found: Operations, lang: str) -> str:
    """Say on what the time was measured, and what measuring costs."""
    times = {"ms": found.root.seconds, "plain": found.plain, "low": found.plain_low, "high": found.plain_high}
    return translator(lang)(
        "operations.measured", device=found.device, threads=found.threads, dtype=found.dtype,
        passes=found.passes, **{name: milliseconds(value) for name, value in times.items()},
    )  # fmt: skip


def milliseconds(seconds: float) -> str:
    """Format a time in milliseconds: 34.9, 0.21, 182."""
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def table(found: Operations) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return the column names and the rows of all operations."""
    rows = found.rows()
    return tuple(rows[0]), [tuple(row.values()) for row in rows]


def as_text(found: Operations, suffix: str) -> str:
    """Return everything as the text of a file: ".json", or ".csv" for the rows alone.

    Raises:
        ValueError: If the file's name ends otherwise.
    """
    if suffix == ".json":
        return json.dumps(found.as_dict(), indent=1) + "\n"
    if suffix == ".csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns, rows = table(found)
        writer.writerows([columns, *rows])
        return out.getvalue()
    raise ValueError(f"the file ends in {suffix!r}; operations are written as .json or .csv")


@dataclass(frozen=True, eq=False)
class MeasuredOperations(Cell):
    """The operations of a forward on a photo; in a notebook the living figure of the lab.

    Attributes:
        found: The operations, see `cfviz.models.probes.operations`.
        model: The model.
    """

    title: ClassVar[str] = live.TITLE
    found: Operations
    model: Any

    def page(self, lang: str = "en") -> str:
        height, width = self.found.size
        if isinstance(self.model, DenseModel):
            name = str(self.model.pretrained_cfg["architecture"])
        else:
            name = name_of(self.model)
        facts = unbroken(f"{name}, {quantity(f'{height} × {width}', 'px')}.")
        said = (sentence(self.found, lang).replace("**", ""), how_measured(self.found, lang))
        return live.html(figure(self.found, lang), lang, together(facts, *said))


def measure_operations(
    image: Any,
    model: Any = "crossformer_nano",
    size: Size | None = None,
    passes: int = PASSES,
    mode: str = "crop",
    centre: Centre = CENTRE,
    sides: tuple[int, int] | None = None,
) -> MeasuredOperations:
    """Record and time the operations of a model's forward on a photo.

    Args:
        image: As in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a model in eval mode: a CrossFormer, a
            detector, a segmenter, or a model of timm that `inspect` takes.
        size: Side of a classifier's input in pixels, or (height, width); by default the model's own.
        passes: How many passes to time, at least 3.
        mode, centre: How the photo is fitted to a classifier's input, as in `cfviz.inspect`.
        sides: Most pixels of the long and the short side of a detector's or segmenter's input.

    Raises:
        ValueError: If the model is none of these or cannot take the photo, or there are too few passes.

    Example:
        >>> measured = measure_operations("cat.jpg", size=448)
        >>> [(stage.path, stage.seconds) for stage in measured.found.stages]
    """
    photo = image if isinstance(image, Photo) else load_image(image)
    net = _opened(model)
    if isinstance(net, DenseModel):
        fitted = fit(photo.image, net.task, sides or net.sides)
        return MeasuredOperations(operations(net, fitted.tensor[0], passes), net)
    if not isinstance(net, CrossFormer):
        try:
            family_of(net)
        except ValueError as error:
            raise ValueError(
                f"the model is a {type(net).__name__}; expected a CrossFormer, a detector, a segmenter or a "
                "model of timm whose attention can be read. For any other model, call "
                "cfviz.models.probes.operations.operations with its input"
            ) from error
        wanted = as_size(*input_size(net)) if size is None else size
        found = operations(net, prepared_for(net, photo, wanted, mode, centre).tensor, passes)
        return MeasuredOperations(found, net)
    if net.in_chans != 3:
        raise ValueError(f"the model takes {net.in_chans} channels; expected 3, as photos have")
    seen = prepare(photo, net.img_size if size is None else size, mode, centre=centre)
    return MeasuredOperations(operations(net, seen.tensor, passes), net)


def _opened(model: Any) -> Any:
    if not isinstance(model, str):
        return model
    return create_model(model) if model in DENSE else load(model)
