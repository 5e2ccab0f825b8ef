"""The message of the figure of what a forward computes: the tree of its operations, in rows.

The layout is that of `cfviz/figures/live/message.py`: a JSON header without arrays. The header:

    id, name, palette, strings
    start  {"open": [numbers of the rows that are unfolded], "by": "ms" or "macs"}
    rows   [{"level", "parent" (number of a row, or -1), "kind", "n" (stage, block or kernel, from 1, or
           null), "path", "module" (its full name in the model, or ""), "name" (what the row is called, null
           where the words have the kind), "at" ([stage, block] from 1 of a block that has a name of its own,
           or null), "inputs" [text], "output" text, "calls", "params", "macs", "written" (bytes), "ms",
           "low", "high" (quartiles), "rest" (of "ms": in no row below)}], in the order of the forward
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from cfviz import web

from .. import message

TITLE = "cfviz: what a forward computes"


class Operation(Protocol):
    """One operation, as `cfviz.models.probes.operations.Operation` is."""

    path: tuple[str, ...]
    kind: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    calls: int
    params: int
    macs: int
    written: int
    seconds: float
    low: float
    high: float
    module: str
    place: tuple[int, int] | None

    @property
    def children(self) -> Sequence[Any]:
        """Return the operations in it."""

    @property
    def rest(self) -> float:
        """Return the seconds that no child takes."""

    @property
    def number(self) -> int | None:
        """Return the number of a stage, block or kernel, from 0."""


def pack(root: Any, *, strings: Mapping[str, str], name: str = "operations", by: str = "ms") -> bytes:
    """Pack the figure's message.

    Args:
        root: The whole forward, an `Operation`.
        strings: The figure's words.
        name: The figure's own name.
        by: What the bars show first, "ms" or "macs".
    """
    rows = list(_rows(root, -1, 0, strings))
    header = {"name": name, "rows": rows}
    return message.pack(header, message.Arrays(), strings=strings, start={"open": [0], "by": by}).data


def _rows(one: Operation, parent: int, at: int, strings: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The row of an operation, number `at`, and those below it."""
    name = None if f"kind_{one.kind}" in strings else one.path[-1] if one.path else one.kind
    place = None if name is None or one.place is None else [1 + number for number in one.place]
    yield {
        "level": len(one.path), "parent": parent, "kind": one.kind, "path": "/".join(one.path),
        "n": None if one.number is None else one.number + 1, "module": one.module, "name": name, "at": place,
        "inputs": [_shape(shape) for shape in one.inputs], "output": _shape(one.output),
        "calls": one.calls, "params": one.params, "macs": one.macs, "written": one.written,
        "ms": 1e3 * one.seconds, "low": 1e3 * one.low, "high": 1e3 * one.high, "rest": 1e3 * one.rest,
    }  # fmt: skip
    below = at + 1
    for child in one.children:
        rows = list(_rows(child, at, below, strings))
        below += len(rows)
        yield from rows


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def html(data: bytes, lang: str, facts: str) -> str:
    """The figure as a page that works from a file, offline."""
    return message.offline_page(web.OPERATIONS, [data], TITLE, lang, [facts])
