"""The message of the embedding figure: the photo, and what each kernel contributed to each token.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, input {"h", "w"}, photo {"of", "w", "h", "file"}, palette, strings
    start {"cel", "measure", "row", "col"}
    cels  [{"stage", "H", "W" (tokens), "stride" (pixels per token), "unit" (pixels per step of a kernel),
            "kernels" [{"k", "channels", "macs" (for the whole photo)}],
            "norm", "carried", "caused" float32 (K, H*W), "codes" int8 (H*W, C), "step" float32 (C,):
            channel = codes * step, off by at most half a step}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cfviz.figures import theme
from cfviz.geometry import CEL_STRIDES

from . import message

MEASURES = ("norm", "carried", "caused")


@dataclass(frozen=True)
class Cel:
    """One cross-scale embedding layer on one photo.

    Attributes:
        stage: 0 to 3.
        kernels: Side of each kernel, in what the layer reads.
        channels: D_i of each kernel.
        macs: Multiply-adds of each kernel for the whole photo.
        tokens: The concatenated tokens, (H, W, C).
        norm: Length of each kernel's part, (K, H, W).
        carried: Share of the normalised token's energy in each kernel's channels, (K, H, W).
        caused: Share of the normalised token that each kernel causes, (K, H, W).
    """

    stage: int
    kernels: tuple[int, ...]
    channels: tuple[int, ...]
    macs: tuple[int, ...]
    tokens: np.ndarray
    norm: np.ndarray
    carried: np.ndarray
    caused: np.ndarray


def quantise(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Channels in 8 bits: tokens = codes * step.

    Args:
        tokens: (..., C).

    Returns:
        `codes` int8 (..., C), `step` float32 (C,). The error is at most half a step.
    """
    step = (np.abs(tokens).reshape(-1, tokens.shape[-1]).max(0) / 127).astype(np.float32)
    return np.rint(tokens / np.where(step > 0, step, 1)).clip(-127, 127).astype(np.int8), step


def pack(
    cels: Sequence[Cel],
    *,
    photo: Image.Image,
    strings: Mapping[str, str],
    start: Mapping[str, Any] | None = None,
    name: str = "embedding",
) -> bytes:
    """Pack the figure's message.

    Args:
        cels: The layers, at least one.
        photo: The pixels that the model saw.
        strings: The figure's words.
        start: Any of `cel`, `measure`, `row` and `col`.
        name: The figure's own name.
    """
    if not cels:
        raise ValueError("there is no layer to show; expected at least one Cel")
    arrays = message.Arrays()
    picture = arrays.picture(photo)
    header: dict[str, Any] = {
        "name": name,
        "input": {"h": photo.height, "w": photo.width},
        "photo": picture,
        "cels": [_cel(cel, arrays) for cel in cels],
    }
    begin = {"cel": 0, "measure": "carried", **(start or {})}
    colours = {"kernels": theme.KERNEL_COLOURS}
    return message.pack(header, arrays, strings=strings, start=begin, colours=colours).data


def _cel(cel: Cel, arrays: message.Arrays) -> dict[str, Any]:
    H, W, C = cel.tokens.shape
    codes, step = quantise(cel.tokens.reshape(H * W, C))
    unit = int(np.prod(CEL_STRIDES[: cel.stage]))
    kernels = zip(cel.kernels, cel.channels, cel.macs, strict=True)
    flat = {name: getattr(cel, name).reshape(len(cel.kernels), -1).astype(np.float32) for name in MEASURES}
    return {
        "stage": cel.stage,
        "H": H,
        "W": W,
        "unit": unit,
        "stride": unit * CEL_STRIDES[cel.stage],
        "kernels": [{"k": k, "channels": d, "macs": int(m)} for k, d, m in kernels],
        "codes": arrays.array(codes),
        "step": arrays.array(step),
        **{name: arrays.array(values) for name, values in flat.items()},
    }
