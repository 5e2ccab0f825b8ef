"""COCO's result format: what its evaluation, and most tools for boxes and masks, read.

A list of dicts with `image_id`, `category_id` (COCO's own, 1 to 90 with gaps), `bbox` (x, y, width, height)
and `score`, and for masks `segmentation`: run lengths, column by column, written as text.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import numpy as np

from .labels import coco_ids


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Write a mask (H, W) as run lengths: {"size": [H, W], "counts": text}."""
    flat = np.asarray(mask, bool).T.reshape(-1)  # column by column
    changes = np.flatnonzero(np.diff(flat)) + 1
    begins = [0, *changes.tolist(), flat.size]
    runs = [after - before for before, after in pairwise(begins)] if flat.size else []
    runs = [0, *runs] if flat.size and flat[0] else runs  # the first run is of zeros
    return {"size": [int(side) for side in mask.shape], "counts": _text(runs)}


def _text(runs: list[int]) -> str:
    """Write numbers as COCO does: from the third on minus the one two before, five bits per letter."""
    letters = []
    for i, run in enumerate(runs):
        left = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits = left & 31
            left >>= 5
            more = left != (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + 32 * more))
    return "".join(letters)


def image_id(photo: str, position: int) -> int:
    """Return the number in a photo's name, if it is one as in COCO (000000000139.jpg), else the position."""
    stem = PurePath(photo).stem
    return int(stem) if stem.isascii() and stem.isdecimal() else position


def as_results(
    image: int,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    mask: Callable[[int], np.ndarray] | None,
    categories: list[int] | None = None,
) -> list[dict[str, Any]]:
    """Write the detections of one image.

    Args:
        image: Its number.
        boxes: (n, 4), as x1, y1, x2, y2.
        scores: (n,).
        labels: (n,), numbers of classes from 0.
        mask: Gives the mask of a detection by its index; None without masks.
        categories: Category id of each class; None for COCO's own if there are 80 of them.
    """
    known = coco_ids() if categories is None else categories
    results = []
    for i, (box, score, label) in enumerate(
        zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
    ):
        x1, y1, x2, y2 = box
        one: dict[str, Any] = {
            "image_id": image,
            "category_id": known[label],
            "bbox": [round(number, 3) for number in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 6),
        }
        if mask is not None:
            one["segmentation"] = encode_mask(mask(i))
        results.append(one)
    return results
