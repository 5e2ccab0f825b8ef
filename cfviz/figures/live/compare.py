"""The message of the comparison figure: one photo, and what every token attends to in each of two models.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, input {"h", "w"}, photo {"of", "w", "h", "file"}, palette, strings, stage
    start {"row", "col", "held", "tour"}
    sides [{"title", "trained", "block", "blocks" [names of the stage's blocks], "kind", "note", "heads",
            "H", "W" (tokens), "stride" (pixels), "groups" nG,
            "reduction" (side of a key in tokens), "pads" (whether padding is a key like any other),
            "queries" uint32 (nG, Nq), "keys" uint32 (nG, Nk): flat positions of tokens (a key's first one),
            NOWHERE for padding, "region" null or int8 (nG, Nq): a query scores keys of its own region only,
            "probs" null or uint16 (H*W, rows, Nk), 65535 for 1; one row per head, or one with their mean}]

Probabilities are off by at most half a step, 0.00001. A model with random weights comes without them; then
the figure draws only who may attend to whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cfviz.geometry.schemes import Scheme

from . import message

NOWHERE = 2**32 - 1
STEPS = 65535
LIMIT = 2_400_000  # bytes of one model's probabilities; above it the mean over heads is sent


@dataclass(frozen=True)
class Layer:
    """One block of one model.

    Attributes:
        title: The model's name.
        scheme: Who may attend to whom.
        probs: float32 (nG, nH, Nq, Nk) in the scheme's order; None for random weights.
        heads: How many heads the block has.
        block: The block's number in its stage, from 0.
        blocks: The names of all blocks of the stage.
        note: One sentence on the kind of attention.
    """

    title: str
    scheme: Scheme
    probs: np.ndarray | None
    heads: int
    block: int
    blocks: Sequence[str]
    note: str


def pack(
    layers: Sequence[Layer],
    *,
    photo: Image.Image,
    stage: int,
    strings: Mapping[str, str],
    start: Mapping[str, Any],
    name: str = "compare",
) -> bytes:
    """Pack the figure's message.

    Args:
        layers: Two, of the same stage.
        photo: The pixels that both models saw.
        stage: 0 to 3.
        strings: The figure's words.
        start: `row`, `col`, `held` and `tour`.
        name: The figure's own name.
    """
    arrays = message.Arrays()
    header: dict[str, Any] = {
        "name": name,
        "input": {"h": photo.height, "w": photo.width},
        "photo": arrays.picture(photo),
        "stage": stage,
        "sides": [_side(layer, photo, arrays) for layer in layers],
    }
    return message.pack(header, arrays, strings=strings, start=start).data


def _side(layer: Layer, photo: Image.Image, arrays: message.Arrays) -> dict[str, Any]:
    scheme = layer.scheme
    rows = None if layer.probs is None else by_token(layer.probs, scheme)
    return {
        "title": layer.title,
        "trained": layer.probs is not None,
        "block": layer.block,
        "blocks": list(layer.blocks),
        "kind": scheme.name,
        "note": layer.note,
        "heads": layer.heads,
        "H": scheme.H,
        "W": scheme.W,
        "stride": photo.width // scheme.W,
        "groups": len(scheme.queries),
        "reduction": scheme.reduction,
        "pads": scheme.pads_attend,
        "queries": arrays.array(_places(scheme.queries)),
        "keys": arrays.array(_places(scheme.keys[:, :, 0])),
        "region": None if scheme.region is None else arrays.array(scheme.region.astype(np.int8)),
        "probs": None if rows is None else arrays.array(quantise(rows)),
    }


def _places(flat: np.ndarray) -> np.ndarray:
    return np.where(flat < 0, NOWHERE, flat).astype(np.uint32)


def by_token(probs: np.ndarray, scheme: Scheme, limit: int = LIMIT) -> np.ndarray:
    """Attention in the order of the map, without the queries that are padding.

    Args:
        probs: (nG, nH, Nq, Nk).
        scheme: The scheme whose order they are in.
        limit: In bytes, two per number; where all heads would take more, only their mean is returned.

    Returns:
        float32 (H*W, nH or 1, Nk).

    Raises:
        ValueError: If the probabilities are not of this scheme.
    """
    nG, nH, Nq, Nk = probs.shape
    if (nG, Nq) != scheme.queries.shape or Nk != scheme.keys.shape[1]:
        raise ValueError(
            f"the probabilities are {probs.shape}; expected (nG, nH, Nq, Nk) with nG, Nq = "
            f"{scheme.queries.shape} and Nk = {scheme.keys.shape[1]}"
        )
    if 2 * scheme.H * scheme.W * nH * Nk > limit:
        probs = probs.mean(1, keepdims=True)
    flat = probs.swapaxes(1, 2).reshape(nG * Nq, -1, Nk)
    out = np.zeros((scheme.H * scheme.W, flat.shape[1], Nk), np.float32)
    places = scheme.queries.reshape(-1)
    out[places[places >= 0]] = flat[places >= 0]
    return out


def quantise(probs: np.ndarray) -> np.ndarray:
    """Probabilities in 16 bits: p = code / 65535, off by at most half a step."""
    return np.rint(probs.astype(np.float64).clip(0, 1) * STEPS).astype(np.uint16)
