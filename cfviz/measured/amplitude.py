"""How large a model's numbers grow from block to block, and how far its attention reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cfviz import point_names
from cfviz.analysis.attention_measures import distance, even_distance
from cfviz.analysis.stream.amplitude import Amplitude, amplitude
from cfviz.data.decode import Photo
from cfviz.data.images import load_image, prepare
from cfviz.figures.live.answer import amplitude as live
from cfviz.figures.live.message import Cell
from cfviz.framing import CENTRE, Centre, Size, size_text
from cfviz.geometry import Grouping
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.apply import apply, input_of
from cfviz.models.interventions.language import Intervention, cooled_blocks
from cfviz.run import forward, inspect, load
from cfviz.trace import Trace
from cfviz.words import figure_words, quantity, together, translator

WITHOUT_COOLING = (Intervention("cooling"),)  # the same weights, every cooling layer taken out


@dataclass(frozen=True, eq=False)
class BlockStream:
    """The stream at one block, and how far its heads look.

    Attributes:
        stage, block: From 0.
        after: The stream after "attn", after "mlp" and, if the block has a cooling layer, after "acl"; the
            last is the block's output.
        distances: Mean attention distance of each head in pixels, (nH,).
        even: The distance of a head that looks at all of its group alike, in pixels.
        grouping: How the block cut its map.
        stride: Side of a token in pixels.
    """

    stage: int
    block: int
    after: Mapping[str, Amplitude]
    distances: np.ndarray
    even: float
    grouping: Grouping
    stride: int

    @property
    def out(self) -> Amplitude:
        """The block's output."""
        return self.after["acl" if "acl" in self.after else "mlp"]

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width in pixels from the first to the last token of a group."""
        g = self.grouping
        step = 1 if g.kind == "sda" else g.I
        return ((g.Gh - 1) * step + 1) * self.stride, ((g.Gw - 1) * step + 1) * self.stride


Streams = tuple[BlockStream, ...]


def points(model: CrossFormer) -> tuple[str, ...]:
    """Name the points that `streams` needs."""
    ends = ("attn_branch", "mlp_branch", "out", "attn.probs")
    every = (
        point_names.block(s, b, end) for s, n in enumerate(model.depths) for b in range(n) for end in ends
    )
    return (*(input_of(s, 0) for s in range(len(model.depths))), *every)


def streams(trace: Trace) -> tuple[BlockStream, ...]:
    """Measure the stream at every block of a trace that watched `points(model)`.

    Attention and MLP add to what came in: the stream after each is the same sum that the model made. A
    cooling layer replaces the stream (it has no shortcut).

    Raises:
        ValueError: If a point was not watched, or a number is not finite.
    """
    return tuple(_stream(trace, s, b) for s, blocks in enumerate(trace.groupings) for b in range(len(blocks)))


def _stream(trace: Trace, s: int, b: int) -> BlockStream:
    grouping = trace.grouping(s, b)
    stride = trace.size[0] // grouping.H
    attended = trace[input_of(s, b)] + trace[point_names.block(s, b, "attn_branch")]
    mixed = attended + trace[point_names.block(s, b, "mlp_branch")]
    out = trace[point_names.block(s, b)]
    after = {"attn": amplitude(attended), "mlp": amplitude(mixed)}
    if cooled(trace, s, b):
        after["acl"] = amplitude(out)
    return BlockStream(
        s, b, after,
        distance(trace[point_names.attention(s, b)], grouping, stride), even_distance(grouping, stride),
        grouping, stride,
    )  # fmt: skip


def cooled(trace: Trace, stage: int, block: int) -> bool:
    """Whether a block of the traced model ends in a cooling layer that was at work."""
    places: Any = trace.settings.get("cooled", ())
    return (stage, block) in places


def trace_streams(
    image: Any,
    model: CrossFormer,
    size: Size | None = None,
    mode: str = "crop",
    cooling: bool = True,
    **rest: Any,
) -> Trace:
    """Return a trace of what `streams` needs.

    Args:
        image, model, size, mode, rest: As in `cfviz.inspect`.
        cooling: False takes every cooling layer out: an ablation of the same weights, which learned with
            these layers, not a model that was trained without them.

    Raises:
        ValueError: If `cooling` is False and the model has no cooling layer, or for the reasons of `inspect`.
    """
    with apply(model, () if cooling else WITHOUT_COOLING):
        trace = inspect(image, model, size, points(model), mode=mode, **rest)
    return as_streams(trace, model, cooling)


def as_streams(
    trace: Trace, model: CrossFormer, cooling: bool = True, arrays: Mapping[str, np.ndarray] | None = None
) -> Trace:
    """A trace that also says which cooling layers were at work; of other arrays, if some are given."""
    at_work = tuple(cooled_blocks(model)) if cooling else ()
    kept = trace.arrays if arrays is None else arrays
    return replace(trace, arrays=kept, settings={**trace.settings, "cooled": at_work})


def measured(trace: Trace, model: CrossFormer, image: Any) -> tuple[Streams, Streams]:
    """Measure the stream of a trace, and that with all cooling layers taken out, if the model has any.

    Args:
        trace: Of `points(model)`, from `as_streams`.
        model: The model.
        image: What it saw, (3, H, W), normalised.

    Raises:
        ValueError: If a point was not watched, or a number is not finite.
    """
    if not cooled_blocks(model):
        return streams(trace), ()
    with apply(model, WITHOUT_COOLING):
        arrays, _ = forward(model, image, points(model))
    return streams(trace), streams(as_streams(trace, model, cooling=False, arrays=arrays))


MEASURES = ("mean", "largest", "rms", "outliers", "distance")


def over_photos(
    photos: Iterable[Any], model: CrossFormer, size: Size | None = None, mode: str = "crop"
) -> dict[str, np.ndarray]:
    """Measure the stream at every block on each of many photos, to compare models photo by photo.

    Args:
        photos: Each as in `cfviz.inspect`.
        model: In eval mode.
        size: Side of the input in pixels, or (height, width); by default the model's own.
        mode: How photos are fitted to the input, as in `cfviz.inspect`.

    Returns:
        By name, float64 (photos, blocks): "mean", "largest" and "rms" of each block's output, "outliers", the
        share of its tokens that are over twice the median token, and "distance", the mean attention distance
        of its heads in pixels.

    Raises:
        ValueError: If there are no photos, or a photo or the model cannot be used.

    Example:
        >>> cooled, plain = (over_photos(photos, one, 64)["largest"] for one in (with_cooling, without))
        >>> (plain - cooled).mean(0)  # by block
    """
    return by_measure([measures(streams(trace_streams(photo, model, size, mode))) for photo in photos])


def measures(blocks: Streams) -> list[tuple[float, ...]]:
    """Return the `MEASURES` of each block of one photo."""
    return [
        (
            one.out.mean,
            one.out.largest,
            one.out.rms,
            float(one.out.outliers().mean()),
            float(one.distances.mean()),
        )
        for one in blocks
    ]


def by_measure(rows: Sequence[Sequence[Sequence[float]]]) -> dict[str, np.ndarray]:
    """Return what `measures` gave for many photos by name, float64 (photos, blocks).

    Raises:
        ValueError: If there are no photos.
    """
    if not rows:
        raise ValueError("there are no photos to measure on")
    whole = np.array(rows, np.float64)  # photos, blocks, measures
    return {name: whole[:, :, n] for n, name in enumerate(MEASURES)}


# ---------------------------------------------------------------- the figure


def figure(blocks: Streams, without: Streams, trace: Trace, lang: str) -> bytes:
    """Return the message of the figure.

    Args:
        blocks: What `streams` measured.
        without: The same without cooling layers; empty for a model that has none.
        trace: The photo's.
        lang: "en" or "zh-Hant".
    """
    assert trace.crop is not None  # every trace of a photo has one
    sizes = [_shown(one, without[i].out if without else None) for i, one in enumerate(blocks)]
    start = blocks.index(_largest(blocks))
    return live.pack(sizes, start, photo=trace.crop, strings=figure_words("amplitude", lang))


def _shown(one: BlockStream, without: Amplitude | None) -> live.Size:
    out = one.out
    return live.Size(
        one.stage, one.block, one.grouping.kind, out.largest, out.mean, out.rms,
        steps=[(name, size.largest) for name, size in one.after.items()],
        tokens=out.tokens, outliers=int(out.outliers().sum()),
        top=out.largest_tokens(), channels=[(c + 1, ratio) for c, ratio in out.largest_channels()],
        heads=one.distances.tolist(), even=one.even, reach=one.reach,
        without=None if without is None else (without.largest, without.mean),
    )  # fmt: skip


def _largest(blocks: Streams) -> BlockStream:
    return max(blocks, key=lambda one: one.out.largest)


def facts(blocks: Streams) -> dict[str, Any]:
    """The fields of the sentence above the figure."""
    first, most = blocks[0], _largest(blocks)
    return {
        "first_at": f"{first.stage + 1}.{first.block + 1}",
        "first": _short(first.out.largest),
        "at": f"{most.stage + 1}.{most.block + 1}",
        "largest": _short(most.out.largest),
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True, eq=False)
class ExplainedAmplitude(Cell):
    """How large the numbers grow in a model, on one photo; in a notebook the living figure of the lab.

    Attributes:
        blocks: One for each block, in order.
        without: The same with every cooling layer taken out (an ablation, not another training); empty for a
            model that has none.
        trace: The model's answer, and the tensors that were measured.
    """

    title: ClassVar[str] = live.TITLE
    blocks: Streams
    without: Streams
    trace: Trace
    model: CrossFormer

    def page(self, lang: str = "en") -> str:
        t = translator(lang)
        data = figure(self.blocks, self.without, self.trace, lang)
        size = quantity(size_text(self.trace.size), "px")
        facts = f"{self.trace.model}, {size}. {self.trace.weights.sentence(t)}"
        note = t("amplitude.ablation" if self.without else "amplitude.none")
        return live.html(data, lang, together(facts, note))


def explain_amplitude(
    image: Any,
    model: str | CrossFormer = "crossformer_nano",
    size: Size | None = None,
    mode: str = "crop",
    centre: Centre = CENTRE,
) -> ExplainedAmplitude:
    """Measure how large the numbers of a model grow from block to block, and how far its heads look.

    Args:
        image: As in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a model in eval mode.
        size: Side of the input in pixels, or (height, width); by default the model's own.
        mode: How to fit the photo to the input, as in `cfviz.inspect`.
        centre: Where mode "crop" crops, as in `cfviz.inspect`.

    Raises:
        ValueError: If the photo or the model cannot be used.

    Example:
        >>> for one in explain_amplitude("cat.jpg").blocks:
        ...     print(one.stage, one.block, one.out.largest, one.out.largest_tokens())
    """
    net = load(model) if isinstance(model, str) else model
    photo = image if isinstance(image, Photo) else load_image(image)
    trace = trace_streams(photo, net, size, mode, centre=centre)
    blocks, without = measured(trace, net, prepare(photo, trace.size, mode, centre=centre).tensor)
    return ExplainedAmplitude(blocks, without, trace, net)
