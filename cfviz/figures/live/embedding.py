"""The message of the embedding figure: the photo, and what each kernel contributed to each token.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, source, input {"h", "w"}, photo {"of", "w", "h", "file"}, palette, strings
    start {"cel", "measure", "row", "col"}
    cels  [{"stage", "H", "W" (tokens), "stride" (pixels per token), "unit" (pixels per step of a kernel),
            "kernels" [{"k", "channels", "macs" (for the whole photo)}],
            "norm", "carried", "caused" float32 (K, H*W), "codes" int8 (H*W, C), "step" float32 (C,):
            channel = codes * step, off by at most half a step}]

A large message is sent in two: the first has the photo and one measure of one layer, and none of the other
arrays; the second, `rest`, has all layers whole and only `name` and `source` beside them.
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
ALL = (*MEASURES, "codes", "step")  # the arrays of a layer
AT_ONCE = 2_000_000  # bytes of arrays that are sent in one message


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
    source: str = "",
    only: tuple[int, str] | None = None,
) -> bytes:
    """Pack the figure's message.

    Args:
        cels: The layers, at least one.
        photo: The pixels that the model saw.
        strings: The figure's words.
        start: Any of `cel`, `measure`, `row` and `col`.
        name: The figure's own name.
        source: The photo and the model; a `rest` with the same source is accepted.
        only: Number of a layer and a measure, to leave out all other arrays.
    """
    if not cels:
        raise ValueError("there is no layer to show; expected at least one Cel")
    arrays = message.Arrays()
    picture = arrays.picture(photo)
    header: dict[str, Any] = {
        "name": name,
        "source": source,
        "input": {"h": photo.height, "w": photo.width},
        "photo": picture,
        "cels": [_cel(cel, arrays, _wanted(n, only)) for n, cel in enumerate(cels)],
    }
    begin = {"cel": 0, "measure": "carried", **(start or {})}
    colours = {"kernels": theme.KERNEL_COLOURS}
    return message.pack(header, arrays, strings=strings, start=begin, colours=colours).data


def rest(cels: Sequence[Cel], *, name: str = "embedding", source: str = "") -> bytes:
    """Pack all layers for a figure whose first message left most of them out.

    Args:
        cels: The layers of that message.
        name: The figure's own name.
        source: As in that message.
    """
    arrays = message.Arrays()
    header = {"name": name, "source": source, "cels": [_cel(cel, arrays, ALL) for cel in cels]}
    return message.pack(header, arrays, strings={}).data


def is_large(cels: Sequence[Cel]) -> bool:
    """Whether the layers are too large for one message."""
    return sum(cel.tokens.size + 4 * len(MEASURES) * cel.norm.size for cel in cels) > AT_ONCE


def _wanted(n: int, only: tuple[int, str] | None) -> Sequence[str]:
    """The names of the arrays of layer `n` that a message has."""
    if only is None:
        return ALL
    return only[1:] if n == only[0] else ()


def _cel(cel: Cel, arrays: message.Arrays, wanted: Sequence[str]) -> dict[str, Any]:
    H, W, C = cel.tokens.shape
    unit = int(np.prod(CEL_STRIDES[: cel.stage]))
    kernels = zip(cel.kernels, cel.channels, cel.macs, strict=True)
    flat = {
        name: getattr(cel, name).reshape(len(cel.kernels), -1).astype(np.float32)
        for name in MEASURES
        if name in wanted
    }
    if "codes" in wanted:
        flat["codes"], flat["step"] = quantise(cel.tokens.reshape(H * W, C))
    return {
        "stage": cel.stage,
        "H": H,
        "W": W,
        "unit": unit,
        "stride": unit * CEL_STRIDES[cel.stage],
        "kernels": [{"k": k, "channels": d, "macs": int(m)} for k, d, m in kernels],
        **{name: arrays.array(values) for name, values in flat.items()},
    }
