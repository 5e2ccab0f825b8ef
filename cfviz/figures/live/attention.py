"""What the living figure is told: one block of bytes with a photo, groups and logits, and its offline page.

The same bytes feed the page, the exported HTML file and the notebook. They hold a JSON header and the arrays
behind it; `cfviz/ui/widgets/figure.py` documents the layout, `living/payload.js` reads it.

Logits, not probabilities, travel: the content logits q.k / sqrt(d) in 16 bits a number, with the smallest
value and the step of every row beside them, and the position bias in full. The browser adds bias and mask
and takes the softmax, so attention and its explanation come from the same numbers, and small probabilities
keep their relative precision. `Packed.error` is the largest difference from the model's own probabilities,
measured over every number sent; the figure prints it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from PIL import Image

from cfviz import web
from cfviz.figures import theme
from cfviz.geometry import Grouping, relative_index
from cfviz.words import TRANSLATIONS

from .logits import MASKED, bias_table, quantise, restore, softmax

LIMIT = 5_000_000  # bytes of one message; past it the browser takes longer than a quarter of a second
HEADER = 20_000  # bytes kept free for the header
VERSION = 1
Part = Literal["whole", "first", "rest"]


@dataclass(frozen=True)
class Unit:
    """The attention of one block of one stage.

    Attributes:
        stage: 0 to 3.
        block: From 0.
        grouping: How the block cuts its map.
        content: q.k / sqrt(d), float32 (nG, nH, N, N); None shows groups without attention.
        bias: Position bias, float32 (nH, N, N); None where there is no content.
        probs: The model's own probabilities (nG, nH, N, N), to measure the error against; optional.
    """

    stage: int
    block: int
    grouping: Grouping
    content: np.ndarray | None = None
    bias: np.ndarray | None = None
    probs: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes this unit takes in a message, groups left out."""
        if self.content is None:
            return 0
        g, heads = self.grouping, self.content.shape[1]
        return g.H * g.W * heads * (2 * g.N + 8) + heads * (2 * g.G - 1) ** 2 * 4


@dataclass(frozen=True)
class Packed:
    """A message for the figure.

    Attributes:
        header: What the message is about, without the starting point.
        body: The arrays.
        start: Where the figure begins.
        sent: The (stage, block) whose attention is inside.
        left: The (stage, block) left out of both parts to stay under the limit.
    """

    header: Mapping[str, Any]
    body: bytes
    start: Mapping[str, Any]
    sent: tuple[tuple[int, int], ...]
    left: tuple[tuple[int, int], ...]

    @property
    def error(self) -> float:
        """Largest absolute difference of a probability shown from the model's, over all sent."""
        return self.header["error"]

    @cached_property
    def data(self) -> bytes:
        """The bytes."""
        text = json.dumps({**self.header, "start": dict(self.start)}, ensure_ascii=False).encode()
        text += b" " * (-(len(text) + 4) % 8)
        return struct.pack("<I", len(text)) + text + self.body

    def at(self, start: Mapping[str, Any], strings: Mapping[str, str] | None = None) -> Packed:
        """The same message with another starting point, or in another language."""
        header = dict(self.header)
        if strings is not None and header["strings"] != strings:
            header["strings"] = dict(strings)
            header["id"] = _digest(header, self.body)
        return replace(self, header=header, start=dict(start))


def _digest(header: Mapping[str, Any], body: bytes) -> str:
    """Changes with everything but the starting point."""
    seen = json.dumps({k: v for k, v in header.items() if k != "id"}, sort_keys=True).encode()
    return hashlib.sha256(seen + body).hexdigest()[:16]


@dataclass
class _Body:
    """Arrays one after the other, each at a multiple of 8 bytes."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, raw: bytes, kind: str) -> dict[str, Any]:
        at, pad = self.size, -len(raw) % 8
        self.parts += [raw, b"\0" * pad]
        self.size += len(raw) + pad
        return {"at": at, "bytes": len(raw), "type": kind}

    def array(self, values: np.ndarray) -> dict[str, Any]:
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        return self.add(little.tobytes(), values.dtype.name)


def pack(
    units: Sequence[Unit],
    *,
    size: tuple[int, int],
    strides: Mapping[int, int],
    strings: Mapping[str, str],
    photo: Image.Image | None = None,
    start: Mapping[str, Any] | None = None,
    limit: int = LIMIT,
    name: str = "figure",
    source: str = "",
    part: Part = "whole",
) -> Packed:
    """Pack what the figure shows into one message, or into two of which the first is short.

    Blocks are sent in this order until the limit: the block in `start`, the rest of its stage, the other
    stages. What is left out is listed, and the figure asks for it when a person goes there.

    Args:
        units: Every block, in order; one at least.
        size: Height and width of the model's input, pixels.
        strides: Pixels a token side, for each stage in `units`.
        strings: The figure's words, from `words`.
        photo: The pixels the model saw; None draws plain tokens.
        start: Any of stage, block, head, row, col, locked.
        limit: Bytes.
        name: The figure's own name, by which Python sends it somewhere.
        source: What made this attention (photo, model, size): where two messages of a figure agree in it,
            the figure keeps the blocks it was sent before.
        part: "first" sends the starting block alone, so that it is drawn soon; "rest" what "whole" would have
            sent beside it, for the figure that shows the first.

    Raises:
        ValueError: If there is no unit, or the starting block alone passes the limit.
    """
    if not units:
        raise ValueError("there is no block to show; expected at least one Unit")
    begin = dict(start or {})
    begin.setdefault("stage", units[0].stage)
    begin.setdefault("block", next((u.block for u in units if u.stage == begin["stage"]), 0))
    body = _Body()
    picture = None if photo is None else _photo(photo, body)
    tables = list(dict.fromkeys(u.grouping for u in units))
    groups = [_grouping(g, body) for g in tables]
    first = (begin["stage"], begin["block"])
    chosen = _choose(units, first, limit - body.size - HEADER)
    inside = {"whole": chosen, "first": {first}, "rest": chosen - {first}}[part]
    stages, error = _stages(units, inside, chosen, tables, strides, body)
    header = {
        "version": VERSION,
        "name": name,
        "source": source,
        "input": {"h": size[0], "w": size[1]},
        "photo": picture,
        "stages": stages,
        "groupings": groups,
        "palette": palette(),
        "strings": dict(strings),
        "error": error,
    }
    data = b"".join(body.parts)
    order = [(u.stage, u.block) for u in units]
    sent, left = tuple(k for k in order if k in inside), tuple(k for k in order if k not in chosen)
    return Packed(header | {"id": _digest(header, data)}, data, begin, sent, left)


def _choose(units: Sequence[Unit], first: tuple[int, int], limit: int) -> set[tuple[int, int]]:
    """The (stage, block) that fit, nearest to where the reader starts."""
    weight = {(u.stage, u.block): u.nbytes for u in units}
    if first not in weight:
        raise ValueError(f"there is no block {first}; there are {sorted(weight)}")
    if weight[first] > limit:
        raise ValueError(
            f"block {first} needs {weight[first] / 1e6:.1f} MB; a message takes {limit / 1e6:.1f} MB. "
            "Choose a smaller input size or a later stage"
        )
    order = sorted(weight, key=lambda k: (abs(k[0] - first[0]), abs(k[1] - first[1]), k))
    chosen, total = set(), 0
    for key in order:
        if total + weight[key] <= limit:
            chosen.add(key)
            total += weight[key]
    return chosen


def _stages(
    units: Sequence[Unit],
    inside: set[tuple[int, int]],
    chosen: set[tuple[int, int]],
    tables: Sequence[Grouping],
    strides: Mapping[int, int],
    body: _Body,
) -> tuple[list[dict[str, Any]], float]:
    """The header's stages, their arrays put into the body, and the largest error of all of them."""
    stages: dict[int, dict[str, Any]] = {}
    error = 0.0
    for unit in units:
        g = unit.grouping
        fresh = {"s": unit.stage, "H": g.H, "W": g.W, "stride": strides[unit.stage], "heads": 0, "blocks": []}
        stage = stages.setdefault(unit.stage, fresh)
        entry: dict[str, Any] = {"b": unit.block, "grouping": tables.index(g)}
        if unit.content is not None:
            stage["heads"] = unit.content.shape[1]
            if (unit.stage, unit.block) in inside:
                attention, worst = _attention(unit, body)
                entry |= attention
                error = max(error, worst)
            elif (unit.stage, unit.block) not in chosen:
                entry["absent"] = True
        stage["blocks"].append(entry)
    return list(stages.values()), error


def _grouping(g: Grouping, body: _Body) -> dict[str, Any]:
    small = np.uint16 if g.Hp * g.Wp <= 65536 else np.uint32
    keys = {k: getattr(g, k) for k in ("kind", "H", "W", "G", "I", "Hp", "Wp", "nG")}
    return keys | {"index": body.array(g.index.astype(small))}


def _attention(unit: Unit, body: _Body) -> tuple[dict[str, Any], float]:
    """The logits of one block and how far the probabilities made from them are from the model's."""
    content, g = unit.content, unit.grouping
    if unit.bias is None or content is None or content.shape != (g.nG, len(unit.bias), g.N, g.N):
        came = None if content is None else content.shape
        raise ValueError(
            f"the content logits are {came}; expected (nG, nH, N, N) = ({g.nG}, nH, {g.N}, {g.N})"
        )
    rows = _by_token(content, g)  # H*W, nH, N
    mask = _by_token(np.broadcast_to(np.where(g.valid, 0, MASKED)[:, None, None], content.shape), g)
    highest = np.where(mask < 0, -np.inf, rows).max(-1, keepdims=True)
    codes, high, span = quantise(np.where(mask < 0, highest, rows))  # padding is not sent: it spends no steps
    table = bias_table(unit.bias, g.G)
    bias = _by_token(np.broadcast_to(table[:, relative_index(g.G, g.G)], content.shape), g).astype(np.float64)
    shown = softmax(restore(codes, high, span) + bias + mask)
    truth = softmax(rows.astype(np.float64) + bias + mask) if unit.probs is None else _by_token(unit.probs, g)
    return {
        "codes": body.array(codes),
        "high": body.array(high),
        "span": body.array(span),
        "bias": body.array(table),
        "peak": float(shown.max()),
    }, float(np.abs(shown - truth).max())


def _by_token(rows: np.ndarray, g: Grouping) -> np.ndarray:
    """Rows (nG, nH, N, N) in the order of the map, those of padding dropped: (H*W, nH, N)."""
    return g.scatter(rows.swapaxes(1, 2)).reshape(g.H * g.W, rows.shape[1], g.N)


def _photo(photo: Image.Image, body: _Body) -> dict[str, Any]:
    out = io.BytesIO()
    photo.convert("RGB").save(out, "PNG", compress_level=1)  # three times as quick, a fifth larger
    return {"w": photo.width, "h": photo.height, "file": body.add(out.getvalue(), "image/png")}


def words(lang: str = "en") -> dict[str, str]:
    """The figure's words in one language; braces stay for the browser to fill."""
    path = TRANSLATIONS / lang / "attention.json"
    if not path.is_file():
        raise ValueError(
            f"there are no words for {lang!r}; there are {sorted(p.name for p in path.parents[1].iterdir())}"
        )
    entries = json.loads(path.read_text("utf-8")).items()
    return {key.removeprefix("figure."): text for key, text in entries if key.startswith("figure.")}


def palette() -> dict[str, Any]:
    """The colours of the figure in both themes."""
    scales = {"sequential": list(theme.SEQUENTIAL), "diverging": list(theme.DIVERGING)}
    kinds = {"sda": theme.SDA, "lda": theme.LDA}
    return kinds | scales | {"light": theme.LIGHT.css(), "dark": theme.DARK.css()}


def script() -> str:
    """The figure's modules joined into one, in the order of their imports."""
    return web.script("attention/main.js")


def style() -> str:
    """The figure's style sheet."""
    return web.text("shared/figure.css")


def html(packed: Packed, title: str = "cfviz", lang: str = "en") -> str:
    """A page that works from a file, offline: the figure, its data and nothing else."""
    page = web.text("attention/offline.html")
    for key, value in {
        "%TITLE%": _escape(title),
        "%LANG%": _escape(lang),
        "%STYLE%": style(),
        "%SCRIPT%": script().replace("</", "<\\/"),
        "%DATA%": base64.b64encode(packed.data).decode(),
    }.items():
        page = page.replace(key, value, 1)
    return page


def notebook(packed: Packed, title: str = "cfviz", height: int = 900) -> str:
    """The offline page in a frame of its own, for a notebook cell."""
    page = (
        html(packed, title).encode("ascii", "xmlcharrefreplace").decode()
    )  # whatever the notebook's encoding
    return (
        f'<iframe title="{_escape(title)}" srcdoc="{_escape(page)}" sandbox="allow-scripts allow-downloads" '
        f'style="width:100%;height:{height}px;border:0"></iframe>'
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def units(arrays: Mapping[str, np.ndarray], groupings: Iterable[Iterable[Grouping]]) -> list[Unit]:
    """The blocks of a trace whose q, k and bias were watched.

    Args:
        arrays: Name -> array; `layers.{s}.blocks.{b}.attn.q` (nG, nH, N, d) and so on.
        groupings: The grouping of every block of every stage.

    Returns:
        One Unit a block; those that were not watched come without content.
    """
    out = []
    for s, blocks in enumerate(groupings):
        for b, g in enumerate(blocks):
            at = f"layers.{s}.blocks.{b}.attn."
            if at + "q" not in arrays:
                out.append(Unit(s, b, g))
                continue
            q, k, bias = (np.asarray(arrays[at + name], np.float32) for name in ("q", "k", "bias"))
            content = q @ k.swapaxes(-1, -2) * np.float32(q.shape[-1] ** -0.5)  # nG, nH, N, N
            out.append(Unit(s, b, g, content, bias, arrays.get(at + "probs")))
    return out
