"""The message of the attention figure, with a photo, groups and logits; and the figure's offline page.

The same message feeds the page, the exported HTML file and the notebook. It carries logits rather than
probabilities: the content logits q.k / sqrt(d) in 16 bits each, the largest value and the span of every row,
and the position bias in full. The browser adds bias and mask and takes the softmax, so attention and its
explanation come from the same numbers, and small probabilities keep their relative precision. Where that
would be too much, as groups grow with the map, queries and keys are sent instead, in 16 bits each, and the
browser multiplies those of the token under the pointer: their size does not depend on that of the groups.
`Packed.error` is the largest difference from the model's own probabilities over everything sent; the figure
shows it.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    version   1
    id, name, palette, strings
    source    messages with the same source show the same attention: blocks sent before are kept
    input     {"h", "w"} pixels of the model's input
    photo     null or {"of", "w", "h", "file": png}
    stages    [{"s", "H", "W" (tokens), "stride" (pixels), "heads", "blocks": [
                {"b", "grouping": number, and with attention:
                 "codes" uint16 (H*W, nH, N), "high" and "span" float32 (H*W, nH), in the order of the map:
                 content = high - span * (codes / 65535)^2, meaningless for padded keys; or
                 "q" and "k" int16 (H*W, nH, d), "q_step" and "k_step" float32 (H*W, nH):
                 content = sum(q * k) * q_step * k_step; or, where the browser runs the model itself,
                 "content" float32 (H*W, nH, N);
                 "bias" float32 (nH, (2Gh-1) * (2Gw-1)), "peak": the largest attention;
                 or "absent": true where it did not fit; with neither, another message brings it}]}]
    groupings [{"kind", "H", "W", "Gh", "Gw", "I", "Hp", "Wp", "nG", "index" uint16 or uint32 (nG, N)}]
              or, of another model, what `attention_schemes` says
    error     largest difference between a probability shown and the model's
    start     {"stage", "block", "head", "row", "col", "locked", "tour": walk over the photo until touched}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from cfviz import point_names, web
from cfviz.geometry import MASKED, Grouping, relative_index, token_box
from cfviz.geometry.schemes import Scheme
from cfviz.stats import softmax
from cfviz.trace import Trace
from cfviz.words import figure_words, quantity

from . import attention_schemes, message
from .attention_schemes import SchemeUnit, scheme_entry
from .logits import Encoded, bias_by_offset, quantise, restore

LIMIT = 5_000_000  # bytes of one message; above it the browser takes longer than a quarter of a second
HEADER = 20_000  # bytes kept free for the header
DIRECT = 4_500_000  # bytes of one block's logits, above which queries and keys are sent instead
CHUNK = 500_000  # probabilities compared at once: as many as a processor's cache holds
TOP = 32767  # the largest number of a query or a key
VERSION = 1
Part = Literal["whole", "first", "stage", "none"]


@dataclass(frozen=True)
class Unit:
    """The attention of one block of one stage.

    Attributes:
        stage: 0 to 3.
        block: From 0.
        grouping: How the block cuts its map.
        content: q.k / sqrt(d), float32 (nG, nH, N, N); None shows groups without attention.
        bias: Position bias, float32 (nH, N, N); None where there is no attention.
        probs: The model's own probabilities (nG, nH, N, N), to measure the error against; optional.
        vectors: q / sqrt(d) and k, float32 (nG, nH, N, d), in place of the content.
    """

    stage: int
    block: int
    grouping: Grouping
    content: np.ndarray | None = None
    bias: np.ndarray | None = None
    probs: np.ndarray | None = None
    vectors: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def heads(self) -> int:
        """The number of heads; 0 without attention."""
        known = self.content if self.vectors is None else self.vectors[0]
        return 0 if known is None else known.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that this unit takes in a message, groups left out."""
        return _bytes(self.grouping, self.heads, 0 if self.vectors is None else self.vectors[0].shape[-1])

    def encoded(self) -> Encoded:
        """The block as it is sent."""
        if self.vectors is not None:
            return self._encoded_vectors(*self.vectors)
        content, g = self.content, self.grouping
        if self.bias is None or content is None or content.shape != (g.nG, len(self.bias), g.N, g.N):
            came = None if content is None else content.shape
            raise ValueError(
                f"the content logits are {came}; expected (nG, nH, N, N) = ({g.nG}, nH, {g.N}, {g.N})"
            )
        rows = _by_token(content, g)  # H*W, nH, N
        spent, mask = rows, np.zeros(())
        if g.padded:
            mask = _by_token(np.broadcast_to(np.where(g.valid, 0, MASKED)[:, None, None], content.shape), g)
            highest = np.where(mask < 0, -np.inf, rows).max(-1, keepdims=True)
            spent = np.where(mask < 0, highest, rows)  # padding spends no steps
        codes, high, span = quantise(spent)
        table = bias_by_offset(self.bias, g.Gh, g.Gw)
        offsets = np.broadcast_to(table[:, relative_index(g.Gh, g.Gw)], content.shape)
        bias = _by_token(offsets, g).astype(np.float64)
        shown = softmax(restore(codes, high, span) + bias + mask)
        truth = (
            softmax(rows.astype(np.float64) + bias + mask) if self.probs is None else _by_token(self.probs, g)
        )
        error = float(np.abs(shown - truth).max())
        return Encoded({"codes": codes, "high": high, "span": span}, table, float(shown.max()), error)

    def _encoded_vectors(self, q: np.ndarray, k: np.ndarray) -> Encoded:
        """Queries and keys as they are sent, and the error of the attention that they give."""
        g, bias = self.grouping, self.bias
        if bias is None or q.shape != k.shape or q.shape[:3] != (g.nG, len(bias), g.N):
            expected = f"(nG, nH, N, d) = ({g.nG}, nH, {g.N}, d)"
            raise ValueError(f"queries and keys are {q.shape} and {k.shape}; expected {expected}")
        (nq, sq), (nk, sk) = (_in_steps(x) for x in (q, k))  # nG, nH, N, d; nG, nH, N, 1
        error = peak = 0.0
        some = max(1, CHUNK // (len(bias) * g.N**2))
        for at in (slice(i, i + some) for i in range(0, g.nG, some)):
            there = g.valid[at]
            added = bias + np.where(there, 0, np.float32(MASKED))[:, None, None]  # groups, nH, N, N
            shown = _attention(nq[at] * sq[at], nk[at] * sk[at], added)
            truth = _attention(q[at], k[at], added) if self.probs is None else self.probs[at]
            if not there.all():  # of padding, nothing is shown
                asked = np.broadcast_to(there[:, None], shown.shape[:3])
                shown, truth = shown[asked], truth[asked]
            peak = max(peak, float(shown.max(initial=0.0)))
            apart = shown - truth
            error = max(error, float(apart.max(initial=0.0)), -float(apart.min(initial=0.0)))
        whole = {"q": nq.astype(np.int16), "k": nk.astype(np.int16), "q_step": sq, "k_step": sk}
        content = {name: _by_token(x, g) for name, x in whole.items()}
        return Encoded(content, bias_by_offset(bias, g.Gh, g.Gw), peak, error)


def _attention(q: np.ndarray, k: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Attention (..., N, N) in float32 and in place: hundreds of millions of weights in a large map."""
    found = q.astype(np.float32, copy=False) @ k.astype(np.float32, copy=False).swapaxes(-1, -2)
    found += added
    found -= found.max(-1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(-1, keepdims=True)
    return found


def _in_steps(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (..., d) as whole numbers up to `TOP` and the length of a step (..., 1), both float32."""
    step = (np.abs(x).max(-1, keepdims=True) / TOP).astype(np.float32)
    return np.rint(x / np.where(step > 0, step, 1)).astype(np.float32, copy=False), step


@dataclass(frozen=True)
class Kept:
    """A block whose attention is encoded when it is first sent, by a function that keeps the result.

    Attributes:
        stage: 0 to 3.
        block: From 0.
        grouping: How the block cuts its map.
        heads: The number of heads.
        encoded: Returns the block as it is sent.
        depth: Numbers in a query or a key, d.
    """

    stage: int
    block: int
    grouping: Grouping
    heads: int
    encoded: Callable[[], Encoded]
    depth: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that this block takes in a message, groups left out."""
        return _bytes(self.grouping, self.heads, self.depth)


def _direct_bytes(g: Grouping, heads: int) -> int:
    return g.H * g.W * heads * (2 * g.N + 8) + heads * (2 * g.Gh - 1) * (2 * g.Gw - 1) * 4


def _bytes(g: Grouping, heads: int, depth: int) -> int:
    """Bytes of a block's attention, in the form in which it is sent."""
    direct = _direct_bytes(g, heads)
    if not depth or direct <= DIRECT:
        return direct
    return direct - g.H * g.W * heads * (2 * g.N + 8) + g.H * g.W * heads * (4 * depth + 8)


@dataclass(frozen=True)
class Packed(message.Message):
    """A message for the figure of attention.

    Attributes:
        sent: The (stage, block) whose attention is in the message.
        left: The (stage, block) left out of all parts to stay within the limit.
    """

    sent: tuple[tuple[int, int], ...] = ()
    left: tuple[tuple[int, int], ...] = ()

    @property
    def error(self) -> float:
        """Largest absolute difference of a probability shown from the model's, over everything sent."""
        return self.header["error"]


def pack(
    units: Sequence[Unit | Kept | SchemeUnit],
    *,
    size: tuple[int, int],
    strides: Mapping[int, int],
    strings: Mapping[str, str],
    photo: Image.Image | None = None,
    start: Mapping[str, Any] | None = None,
    limit: int = LIMIT,
    alone: int = 0,
    name: str = "figure",
    source: str = "",
    part: Part = "whole",
    has: tuple[int, int] | None = None,
) -> Packed:
    """Pack what the figure shows into one message, or into one for a block and one for each stage visited.

    Blocks are sent in this order up to the limit: the block in `start`, the rest of its stage, the other
    stages. What is left out is listed, and the figure asks for it when the reader goes there.

    Args:
        units: Every block, in order; at least one. Those that are sent in several messages are best `Kept`.
        size: Height and width of the model's input in pixels.
        strides: Side of a token in pixels, for each stage in `units`.
        strings: The figure's words, from `cfviz.words.figure_words`.
        photo: The pixels the model saw; None draws plain tokens.
        start: Any of stage, block, head, row, col, locked.
        limit: Bytes.
        alone: Bytes that the starting block may take, if more than the limit; then it is sent alone.
        name: The figure's own name, by which Python moves it to a place.
        source: What made this attention (photo, model, size). A figure that gets a message with the same
            source keeps the blocks that it was sent before.
        part: "first" sends the starting block alone, so that it is drawn soon; "stage" sends the stage of the
            starting block, for the figure that shows the first. The stages together are most of the bytes.
            "none" sends no block: each follows in a message of its own.
        has: The (stage, block) that the figure has from the first message, left out of a "stage".

    Raises:
        ValueError: If there is no unit, or the starting block alone exceeds the limit.
    """
    if not units:
        raise ValueError("there is no block to show; expected at least one Unit")
    begin = dict(start or {})
    begin.setdefault("stage", units[0].stage)
    begin.setdefault("block", next((u.block for u in units if u.stage == begin["stage"]), 0))
    arrays = message.Arrays()
    picture = None if photo is None else arrays.picture(photo)
    tables = list(dict.fromkeys(u.grouping for u in units))
    groups = [
        arrays.grouping(g) if isinstance(g, Grouping) else scheme_entry(g, arrays, _biased(units, g))
        for g in tables
    ]
    first = (begin["stage"], begin["block"])
    chosen = _choose(units, first, limit - arrays.size - HEADER, alone)
    stage = {key for key in chosen if key[0] == first[0]} - {has}
    inside = {"whole": chosen, "first": {first}, "stage": stage, "none": set()}[part]
    stages, error = _stages(units, inside, chosen, tables, strides, arrays)
    header = {
        "version": VERSION,
        "name": name,
        "source": source,
        "input": {"h": size[0], "w": size[1]},
        "photo": picture,
        "stages": stages,
        "groupings": groups,
        "error": error,
    }
    order = [(u.stage, u.block) for u in units]
    sent, left = tuple(k for k in order if k in inside), tuple(k for k in order if k not in chosen)
    packed = message.pack(header, arrays, strings=strings, start=begin)
    return Packed(packed.header, packed.body, packed.start, sent, left)


def pack_trace(trace: Trace, lang: str = "en", **changes: Any) -> Packed:
    """Pack a trace of any model; blocks whose attention was not watched show only groups.

    Args:
        trace: Of a CrossFormer, or of a model of timm.
        lang: Language of the figure.
        changes: Arguments of `pack` that the trace does not decide.

    Raises:
        ValueError: If one block alone is too large.
    """
    blocks: Sequence[Unit | SchemeUnit]
    if trace.schemes:
        blocks, strides = attention_schemes.units(trace), trace.strides
        strings = attention_schemes.words(str(trace.settings["family"]), lang)
    else:
        blocks = units(trace.arrays, trace.groupings)
        strides = tuple(token_box(s, 0, 0)[2] for s in range(len(trace.groupings)))
        strings = figure_words("attention", lang)
    return pack(
        blocks,
        size=trace.size,
        strides=dict(enumerate(strides)),
        strings=strings,
        photo=trace.crop,
        **changes,
    )


def _biased(units: Sequence[Any], g: Scheme) -> bool:
    """Whether the block of a scheme has a position bias."""
    return any(u.grouping is g and u.bias is not None for u in units)


def _megabytes(count: float) -> str:
    return quantity(f"{count / 1e6:.1f}", "MB")


def _choose(
    units: Sequence[Unit | Kept | SchemeUnit], first: tuple[int, int], limit: int, alone: int
) -> set[tuple[int, int]]:
    """The (stage, block) that fit, nearest to the starting block first."""
    weight = {(u.stage, u.block): u.nbytes for u in units}
    if first not in weight:
        raise ValueError(f"there is no block {first}; there are {sorted(weight)}")
    most = max(limit, alone)
    if weight[first] > most:
        raise ValueError(
            f"block {first} needs {_megabytes(weight[first])}; a message takes {_megabytes(most)}. "
            "Choose a smaller input size or a later stage"
        )
    order = sorted(weight, key=lambda k: (abs(k[0] - first[0]), abs(k[1] - first[1]), k))
    chosen, total = {first}, weight[first]
    for key in order[1:]:
        if total + weight[key] <= limit:
            chosen.add(key)
            total += weight[key]
    return chosen


def _stages(
    units: Sequence[Unit | Kept | SchemeUnit],
    inside: set[tuple[int, int]],
    chosen: set[tuple[int, int]],
    tables: Sequence[Grouping | Scheme],
    strides: Mapping[int, int],
    arrays: message.Arrays,
) -> tuple[list[dict[str, Any]], float]:
    """The stages for the header, with their arrays added to `arrays`, and the largest error among them."""
    stages: dict[int, dict[str, Any]] = {}
    error = 0.0
    for unit in units:
        g = unit.grouping
        fresh = {"s": unit.stage, "H": g.H, "W": g.W, "stride": strides[unit.stage], "heads": 0, "blocks": []}
        stage = stages.setdefault(unit.stage, fresh)
        entry: dict[str, Any] = {"b": unit.block, "grouping": tables.index(g)}
        if unit.heads:
            stage["heads"] = unit.heads
            if (unit.stage, unit.block) in inside:
                sent = unit.encoded()
                entry |= {name: arrays.array(values) for name, values in sent.content.items()}
                if sent.bias is not None:
                    entry["bias"] = arrays.array(sent.bias)
                entry["peak"] = sent.peak
                error = max(error, sent.error)
            elif (unit.stage, unit.block) not in chosen:
                entry["absent"] = True
        stage["blocks"].append(entry)
    return list(stages.values()), error


def _by_token(rows: np.ndarray, g: Grouping) -> np.ndarray:
    """Rows (nG, nH, N, n) in the order of the map, padding dropped: (H*W, nH, n)."""
    return g.scatter(rows.swapaxes(1, 2)).reshape(g.H * g.W, rows.shape[1], rows.shape[3])


def html(packed: Packed, title: str = "cfviz", lang: str = "en") -> str:
    """A page that works from a file, offline: the figure, its data and nothing else."""
    return message.offline_page(web.ATTENTION, (packed.data,), title, lang)


def notebook(packed: Packed, title: str = "cfviz", height: int = 900) -> str:
    """The offline page in a frame, for a notebook cell."""
    return message.in_a_frame(html(packed, title), title, height)


def units(arrays: Mapping[str, np.ndarray], groupings: Iterable[Iterable[Grouping]]) -> list[Unit]:
    """The blocks of a trace whose q, k and bias were watched.

    Args:
        arrays: By point name: `layers.{s}.blocks.{b}.attn.q` (nG, nH, N, d) and so on.
        groupings: The grouping of every block of every stage.

    Returns:
        One Unit per block; those that were not watched come without content.
    """
    return [unit(arrays, s, b, g) for s, blocks in enumerate(groupings) for b, g in enumerate(blocks)]


def unit(arrays: Mapping[str, np.ndarray], s: int, b: int, g: Grouping) -> Unit:
    """One block of a trace; without content if its q, k and bias were not watched."""
    if point_names.attention(s, b, "q") not in arrays:
        return Unit(s, b, g)
    q, k, bias = (
        np.asarray(arrays[point_names.attention(s, b, name)], np.float32) for name in ("q", "k", "bias")
    )
    scale, probs = np.float32(q.shape[-1] ** -0.5), arrays.get(point_names.attention(s, b))
    if _direct_bytes(g, q.shape[1]) > DIRECT:
        return Unit(s, b, g, None, bias, probs, (q * scale, k))
    return Unit(s, b, g, q @ k.swapaxes(-1, -2) * scale, bias, probs)  # nG, nH, N, N
