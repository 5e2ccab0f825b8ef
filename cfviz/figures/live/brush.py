"""The message of the brush: the painted input, the answer and the attention before and after.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, palette, strings
    photo {"of", "w", "h", "file"}: the painted input
    limits {"strokes", "points", "thinnest", "thickest"}
    rows [{"name", "before", "after" (probabilities), "logit", "change" (of the logit), "first"}], most likely
         first; "first" marks the top class before the strokes
    stages [{"H", "W", "before", "after" float32 (H, W): the attention that each token receives}]
    start {"strokes" (as in a link), "seq" (the number of the browser's message that led to this one)}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cfviz.data.brush import MOST, MOST_POINTS, THICKEST, THINNEST

from . import message


def pack(
    photo: Image.Image,
    rows: Sequence[Mapping[str, Any]],
    stages: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    strings: Mapping[str, str],
    start: Mapping[str, Any],
    name: str = "brush",
) -> bytes:
    """Pack the figure's message.

    Args:
        photo: The input with all strokes, as the model gets it.
        rows: The classes to show.
        stages: For each stage, the attention every token receives before and after, (H, W).
        strings: The figure's words.
        start: `strokes` and `seq`.
        name: The figure's own name.
    """
    arrays = message.Arrays()
    header = {
        "name": name,
        "photo": arrays.picture(photo),
        "limits": {
            "strokes": MOST, "points": MOST_POINTS, "thinnest": THINNEST, "thickest": THICKEST
        },
        "rows": list(rows),
        "stages": [
            {
                "H": before.shape[0], "W": before.shape[1],
                "before": arrays.array(before.astype(np.float32)),
                "after": arrays.array(after.astype(np.float32)),
            }
            for before, after in stages
        ],
    }  # fmt: skip
    return message.pack(header, arrays, strings=strings, start=start).data
