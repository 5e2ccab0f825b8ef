"""The message of the figure of similar places: a photo, and how much each token of others is like one of its.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, palette, strings
    photo {"of", "w", "h", "file"}: the input
    H, W: tokens of the stage; stage, from 0; stages: how many there are
    row, col: the token; own float32 (H, W): its cosines with the photo's own tokens; mean: of all cosines
    others [{"title", "file" (a JPEG of the input), "row", "col", "cosine" (the best place),
             "map" float32 (H, W)}]
    start {}
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .. import message


@dataclass(frozen=True)
class Other:
    """Another photo.

    Attributes:
        title: What it is called.
        file: A JPEG of the input, see `small`.
        row, col: The token most like the chosen one.
        cosine: Its cosine with that one.
        cosines: Of all tokens, (H, W).
    """

    title: str
    file: bytes
    row: int
    col: int
    cosine: float
    cosines: np.ndarray


def small(photo: Image.Image, longest: int = 240) -> bytes:
    """A small JPEG of an input."""
    out, copy = io.BytesIO(), photo.convert("RGB")
    copy.thumbnail((longest, longest))
    copy.save(out, "JPEG", quality=82)
    return out.getvalue()


def pack(
    photo: Image.Image,
    own: np.ndarray,
    token: tuple[int, int],
    others: Sequence[Other],
    *,
    stage: int,
    stages: int,
    strings: Mapping[str, str],
    name: str = "similar",
    mean: float | None = None,
) -> bytes:
    """Pack the figure's message.

    Args:
        photo: The input.
        own: The cosines of the token with the photo's own tokens, (H, W).
        token: Row and column.
        others: The other photos, in the order in which they are shown.
        stage: From 0.
        stages: How many the model has.
        strings: The figure's words.
        name: The figure's own name.
        mean: Of all cosines, if not all photos are shown.
    """
    arrays = message.Arrays()
    header = {
        "name": name,
        "photo": arrays.picture(photo),
        "H": own.shape[0], "W": own.shape[1], "stage": stage, "stages": stages,
        "row": token[0], "col": token[1], "own": arrays.array(own.astype(np.float32)),
        "mean": float(np.mean([one.cosines.mean() for one in others])) if mean is None else mean,
        "others": [
            {
                "title": one.title, "file": arrays.add(one.file, "image/jpeg"), "row": one.row,
                "col": one.col, "cosine": one.cosine,
                "map": arrays.array(one.cosines.astype(np.float32)),
            }
            for one in others
        ],
    }  # fmt: skip
    return message.pack(header, arrays, strings=strings).data
