"""The message of the figure of how large the numbers grow: sizes over the blocks, tokens over the photo.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, input {"h", "w"}, photo {"of", "w", "h", "file"}, palette, strings
    start    {"block"}: a number in `blocks`
    blocks   [{"stage", "block", "kind" ("sda" or "lda"), "H", "W", "largest", "mean", "rms" of the output,
              "cooled": whether it ends in a cooling layer, "steps" [[after, largest], ...], "without":
              [largest, mean] with all cooling layers taken out, or null, "tokens" float32 (H*W): RMS,
              "median" of these, "outliers": how many are over twice the median, "top" [[row, column,
              ratio], ...] and "channels" [[channel from 1, ratio], ...], ratio null if the median is zero,
              "heads": mean attention distance in pixels, "even": that of a head that looks at its whole
              group alike, "reach" [height, width] of a group}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

from cfviz import web

from .. import message

TITLE = "cfviz: how large the numbers grow"


@dataclass(frozen=True, eq=False)
class Size:
    """One block of the figure; from 0, pixels for distances.

    Attributes:
        steps: The largest number after each part of the block: ("attn", 3.2), ...
        tokens: RMS of each token, (H, W).
        top: The largest tokens: row, column, ratio to the median.
        channels: The largest channels: channel, ratio to the median.
        without: Largest and mean with all cooling layers taken out; None if the model has none.
    """

    stage: int
    block: int
    kind: str
    largest: float
    mean: float
    rms: float
    steps: Sequence[tuple[str, float]]
    tokens: np.ndarray
    outliers: int
    top: Sequence[tuple[int, int, float]]
    channels: Sequence[tuple[int, float]]
    heads: Sequence[float]
    even: float
    reach: tuple[int, int]
    without: tuple[float, float] | None


def pack(
    blocks: Sequence[Size],
    start: int,
    *,
    photo: Image.Image,
    strings: Mapping[str, str],
    name: str = "amplitude",
) -> bytes:
    """Pack the figure's message.

    Args:
        blocks: All blocks, in order.
        start: The number of the block to begin with.
        photo: The pixels that the model saw.
        strings: The figure's words.
        name: The figure's own name.
    """
    arrays = message.Arrays()
    header: dict[str, Any] = {
        "name": name,
        "input": {"h": photo.height, "w": photo.width},
        "photo": arrays.picture(photo),
        "blocks": [_block(one, arrays) for one in blocks],
    }
    return message.pack(header, arrays, strings=strings, start={"block": start}).data


def _block(one: Size, arrays: message.Arrays) -> dict[str, Any]:
    H, W = one.tokens.shape
    return {
        "stage": one.stage, "block": one.block, "kind": one.kind, "H": H, "W": W,
        "largest": one.largest, "mean": one.mean, "rms": one.rms,
        "cooled": any(name == "acl" for name, _ in one.steps), "steps": [list(step) for step in one.steps],
        "without": None if one.without is None else list(one.without),
        "tokens": arrays.array(one.tokens.reshape(-1).astype(np.float32)),
        "median": float(np.median(one.tokens)), "outliers": one.outliers,
        "top": [[r, c, _finite(ratio)] for r, c, ratio in one.top],
        "channels": [[c, _finite(ratio)] for c, ratio in one.channels],
        "heads": list(one.heads), "even": one.even, "reach": list(one.reach),
    }  # fmt: skip


def _finite(ratio: float) -> float | None:
    return ratio if isfinite(ratio) else None


def html(data: bytes, lang: str, facts: str) -> str:
    """The figure as a page that works from a file, offline."""
    return message.offline_page(web.AMPLITUDE, [data], TITLE, lang, [facts])
