"""How large a model's numbers grow from block to block, and how far its attention reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cfviz import point_names
from cfviz.analysis.attention_measures import distance, even_distance
from cfviz.analysis.stream.amplitude import Amplitude, amplitude
from cfviz.data.images import load_image
from cfviz.framing import Size
from cfviz.geometry import Grouping
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.apply import apply, input_of
from cfviz.models.interventions.language import Intervention, cooled_blocks
from cfviz.run import inspect, load
from cfviz.trace import Trace

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


def as_streams(trace: Trace, model: CrossFormer, cooling: bool = True) -> Trace:
    """A trace that also says which cooling layers were at work."""
    at_work = tuple(cooled_blocks(model)) if cooling else ()
    return replace(trace, settings={**trace.settings, "cooled": at_work})


@dataclass(frozen=True, eq=False)
class ExplainedAmplitude:
    """How large the numbers grow in a model, on one photo.

    Attributes:
        blocks: One for each block, in order.
        without: The same with every cooling layer taken out (an ablation, not another training); empty for a
            model that has none.
        trace: The model's answer, and the tensors that were measured.
    """

    blocks: tuple[BlockStream, ...]
    without: tuple[BlockStream, ...]
    trace: Trace
    model: CrossFormer


def explain_amplitude(
    image: Any, model: str | CrossFormer = "crossformer_nano", size: Size | None = None, mode: str = "crop"
) -> ExplainedAmplitude:
    """Measure how large the numbers of a model grow from block to block, and how far its heads look.

    Args:
        image: As in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a model in eval mode.
        size: Side of the input in pixels, or (height, width); by default the model's own.
        mode: How to fit the photo to the input.

    Raises:
        ValueError: If the photo or the model cannot be used.

    Example:
        >>> for one in explain_amplitude("cat.jpg").blocks:
        ...     print(one.stage, one.block, one.out.largest, one.out.largest_tokens())
    """
    net = load(model) if isinstance(model, str) else model
    photo = load_image(image) if not hasattr(image, "sha256") else image
    trace = trace_streams(photo, net, size, mode)
    without: Sequence[BlockStream] = ()
    if cooled_blocks(net):
        without = streams(trace_streams(photo, net, size, mode, cooling=False))
    return ExplainedAmplitude(streams(trace), tuple(without), trace, net)
