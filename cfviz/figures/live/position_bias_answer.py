"""The message of the figure of predictions: queries, keys and bias under every method, and the top classes.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, source (messages with the same one share the reader's choices), part: answer
    palette, strings, input {"h", "w"} pixels, photo {"of", "file"}
    grouping: how the block cuts its map, see `Arrays.grouping`; scale: of q.k
    ways [{"way", "name", "help", and once it is computed:
           "lines" [[class, percent, logit, change]],
           "q", "k" float32 (nG, N, d) of one head, "table" float32 ((2G-1)^2)}]
    start {"row", "col", "less"}
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cfviz.geometry import Grouping

from . import message


@dataclass(frozen=True)
class Card:
    """The card of one method of making the bias.

    Attributes:
        method: Code of the method.
        name: Name of the method in the reader's language.
        note: One line on what it does, or on which other method it equals here.
        lines: The top classes: name, percentage, logit, change of the logit; all as text.
        q: One head's queries, float32 (nG, N, d); None while they are being computed.
        k: The same head's keys.
        table: The same head's bias at every offset, float32 ((2G-1)^2).
    """

    method: str
    name: str
    note: str = ""
    lines: Sequence[Sequence[str]] = ()
    q: np.ndarray | None = None
    k: np.ndarray | None = None
    table: np.ndarray | None = None


def pack(
    cards: Sequence[Card],
    groups: Grouping,
    photo: bytes,
    size: tuple[int, int],
    *,
    strings: Mapping[str, str],
    start: Mapping[str, Any],
    source: str = "",
) -> bytes:
    """Pack the message.

    Args:
        cards: One per method, in order.
        groups: How the block cuts its map.
        photo: The pixels that the model saw, as PNG.
        size: Height and width of the input in pixels.
        strings: The figure's words.
        start: `row` and `col` of the query in tokens, `less`: whether differences are shown.
        source: Names photo, size and model.
    """
    if not cards:
        raise ValueError("there is no card to show; expected at least one")
    arrays = message.Arrays()
    known: dict[bytes, dict[str, Any]] = {}

    def add(values: np.ndarray) -> dict[str, Any]:
        raw = np.ascontiguousarray(values, np.float32)
        key = raw.tobytes()
        if key not in known:  # the first block sees the same tokens under every method
            known[key] = arrays.array(raw)
        return known[key]

    d = next((card.q.shape[-1] for card in cards if card.q is not None), 1)
    header: dict[str, Any] = {
        "part": "answer",
        "source": source,
        "input": {"h": size[0], "w": size[1]},
        "photo": {
            "of": message.digest_of(Image.open(io.BytesIO(photo))),
            "file": arrays.add(photo, "image/png"),
        },
        "grouping": arrays.grouping(groups),
        "scale": d**-0.5,
        "ways": [_way(card, add) for card in cards],
    }
    return message.pack(header, arrays, strings=strings, start=start).data


def _way(card: Card, add: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"way": card.method, "name": card.name, "note": card.note}
    if card.q is None or card.k is None or card.table is None:
        return entry
    arrays = {"q": add(card.q), "k": add(card.k), "table": add(card.table)}
    return entry | arrays | {"lines": [list(line) for line in card.lines]}
