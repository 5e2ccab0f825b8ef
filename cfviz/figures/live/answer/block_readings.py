"""The message of the figure of what each block knows: its probe's answer, and the classes its tokens read.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, input {"h", "w"}, photo {"of", "w", "h", "file"}, palette, strings
    start    {"block"}: a number in `blocks`
    labels   of all classes; target: the class that is marked in every row
    colours  {class: hex} of the classes that most tokens read; rest: hex of all others
    answer   the model's own probabilities
    blocks   [{"stage", "block", "H", "W", "photo" (probabilities of all classes), "accuracy" and
              "token_accuracy" {"n", "value", "low", "high"}, "top" uint16 (H*W, 3): the likeliest classes of
              each token, "p" uint16 (H*W, 3): their probabilities, 65535 for 1}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cfviz import web
from cfviz.figures import theme

from .. import message

SENT, CERTAIN = 3, 65535  # classes of each token, and the code of probability 1
TITLE = "cfviz: what each block already knows"


@dataclass(frozen=True, eq=False)
class Known:
    """What one block knows of a photo.

    Attributes:
        stage, block: From 0.
        photo: Probabilities read from the mean token, (classes,).
        tokens: Probabilities read from each token, (H, W, classes).
        accuracy, token_accuracy: Measured: `n`, `value`, `low` and `high`.
    """

    stage: int
    block: int
    photo: np.ndarray
    tokens: np.ndarray
    accuracy: Mapping[str, float]
    token_accuracy: Mapping[str, float]


def pack(
    blocks: Sequence[Known],
    answer: np.ndarray,
    labels: Sequence[str],
    target: int,
    *,
    photo: Image.Image,
    strings: Mapping[str, str],
    name: str = "reading",
) -> bytes:
    """Pack the figure's message.

    Args:
        blocks: All blocks, in order.
        answer: The model's own probabilities, (classes,).
        labels: The names of the classes.
        target: The class that every row marks.
        photo: The pixels that the model saw.
        strings: The figure's words.
        name: The figure's own name.
    """
    arrays = message.Arrays()
    header: dict[str, Any] = {
        "name": name,
        "input": {"h": photo.height, "w": photo.width},
        "photo": arrays.picture(photo),
        "labels": list(labels),
        "target": target,
        "answer": answer.tolist(),
        "colours": dict(zip(map(str, _frequent(blocks, target)), theme.CLASS_COLOURS, strict=False)),
        "rest": theme.GROUND,
        "blocks": [_block(one, arrays) for one in blocks],
    }
    return message.pack(header, arrays, strings=strings, start={"block": len(blocks) // 2}).data


def _frequent(blocks: Sequence[Known], target: int) -> list[int]:
    """The classes, those first that the largest share of tokens reads in some block; the target leads."""
    shares = np.zeros(blocks[0].tokens.shape[-1])
    for one in blocks:
        best = one.tokens.argmax(-1).reshape(-1)
        shares = np.maximum(shares, np.bincount(best, minlength=len(shares)) / len(best))
        shares[one.photo.argmax()] += 1  # what a row names has a colour of its own
    shares[target] = np.inf
    return [int(i) for i in np.argsort(-shares, kind="stable")]


def _block(one: Known, arrays: message.Arrays) -> dict[str, Any]:
    H, W, classes = one.tokens.shape
    flat = one.tokens.reshape(H * W, classes)
    top = np.argsort(-flat, axis=1, kind="stable")[:, :SENT]
    p = np.rint(CERTAIN * np.take_along_axis(flat, top, 1))
    if classes < SENT:
        top, p = (np.pad(x, ((0, 0), (0, SENT - classes))) for x in (top, p))
    return {
        "stage": one.stage, "block": one.block, "H": H, "W": W,
        "photo": one.photo.tolist(),
        "accuracy": dict(one.accuracy), "token_accuracy": dict(one.token_accuracy),
        "top": arrays.array(top.astype(np.uint16)), "p": arrays.array(p.astype(np.uint16)),
    }  # fmt: skip


def html(data: bytes, lang: str, facts: str) -> str:
    """The figure as a page that works from a file, offline."""
    return message.offline_page(web.READING, [data], TITLE, lang, [facts])
