"""The message of the figure of what many photos show: a channel's patches, receptive fields, heads and bias.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, palette, strings
    start    {"place": "channel.CEL.KERNEL.CHANNEL", "fields" or "head.STAGE.BLOCK.HEAD"}, counted from 1
    H, W     the input in pixels
    photos   [{"title", "file" (a JPEG of the input; null if no channel responds most to it)}]
    fields   {"rows", "cols", "maps": float32 (stages, rows, cols), "areas": [shares]}
    heads    [{"stage", "block", "kind", "rows", "cols", "r": [correlation, null where undefined],
               "mean", "alone": float32 (nH, rows, cols), by key minus query: what is above the middle is
               above the query; nan where no pair has the offset}]
    kernels  [{"stage", "side", "channels", "kept", "step", "top", "left", "span" (pixels: token (r, c) reads
               a square of `span` at (top + r step, left + c step)),
               "value": float32, "photo": uint32, "row", "col": uint16 (channels, kept)}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfviz import web

from .. import message

TITLE = "cfviz: what many photos show"


@dataclass(frozen=True)
class Heads:
    """The heads of a block.

    Attributes:
        stage, block: From 0.
        kind: "sda" or "lda".
        r: Their correlations, (nH,).
        mean, alone: As those of `ByOffset`, by query minus key, (nH, 2Gh-1, 2Gw-1).
    """

    stage: int
    block: int
    kind: str
    r: np.ndarray
    mean: np.ndarray
    alone: np.ndarray


@dataclass(frozen=True)
class Kernel:
    """A kernel of a CEL: its side, what its token reads (step, top, left, span), and its best patches."""

    stage: int
    side: int
    reads: tuple[int, int, int, int]
    best: Mapping[str, np.ndarray]


def pack(
    photos: Sequence[tuple[str, bytes]],
    size: tuple[int, int],
    fields: Sequence[np.ndarray],
    areas: Sequence[float],
    heads: Sequence[Heads],
    kernels: Sequence[Kernel],
    *,
    strings: Mapping[str, str],
    start: Mapping[str, Any] | None = None,
    name: str = "survey",
) -> bytes:
    """Pack the figure's message.

    Args:
        photos: The title and a JPEG of each input.
        size: Height and width of the inputs.
        fields: The receptive field of each stage.
        areas: The smallest share of the input that holds half of each.
        heads: The heads of each block; none without a position bias.
        kernels: All kernels, in the order of the layers.
        strings: The figure's words.
        start: Where the figure begins.
        name: The figure's own name.
    """
    arrays = message.Arrays()
    used = set(np.unique(np.concatenate([one.best["photo"].reshape(-1) for one in kernels])).tolist())
    header = {
        "name": name, "H": size[0], "W": size[1],
        "photos": [
            {"title": title, "file": arrays.add(file, "image/jpeg") if n in used else None}
            for n, (title, file) in enumerate(photos)
        ],
        "fields": {
            "rows": fields[0].shape[0], "cols": fields[0].shape[1], "areas": list(areas),
            "maps": arrays.array(np.stack(fields).astype(np.float32)),
        },
        "heads": [_heads(one, arrays) for one in heads],
        "kernels": [_kernel(one, arrays) for one in kernels],
    }  # fmt: skip
    return message.pack(header, arrays, strings=strings, start=start or {"place": "channel.1.1.1"}).data


def _heads(one: Heads, arrays: message.Arrays) -> dict[str, Any]:
    r = [float(x) if np.isfinite(x) else None for x in one.r]
    rows, cols = one.mean.shape[1:]
    maps = {
        name: arrays.array(getattr(one, name)[:, ::-1, ::-1].astype(np.float32)) for name in ("mean", "alone")
    }
    at = {"stage": one.stage, "block": one.block, "kind": one.kind, "rows": rows, "cols": cols, "r": r}
    return at | maps


def _kernel(one: Kernel, arrays: message.Arrays) -> dict[str, Any]:
    channels, kept = one.best["value"].shape
    step, top, left, span = one.reads
    at = {
        "stage": one.stage, "side": one.side, "channels": channels, "kept": kept,
        "step": step, "top": top, "left": left, "span": span,
        "value": arrays.array(one.best["value"].astype(np.float32)),
    }  # fmt: skip
    kinds = {"photo": np.uint32, "row": np.uint16, "col": np.uint16}
    return at | {name: arrays.array(one.best[name].astype(kind)) for name, kind in kinds.items()}


def html(data: bytes, lang: str, facts: str) -> str:
    """The figure as a page that works from a file, offline."""
    return message.offline_page(web.SURVEY, [data], TITLE, lang, [facts])
