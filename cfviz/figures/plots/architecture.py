"""The whole model in one figure: its parts, their cost, and what each stage made of the photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfviz.geometry import CEL_KERNELS, Grouping, token_box
from cfviz.words import quantity


def feature_colours(features: np.ndarray) -> np.ndarray:
    """A map of features as a picture: the first three principal components as red, green and blue.

    Tokens with similar features get similar colours; the colours themselves mean nothing. Each component is
    scaled from its 1st to its 99th percentile, and its sign is chosen so that its skew is positive: the
    picture does not flip between two equal runs.

    Args:
        features: (H, W, C).

    Returns:
        uint8 (H, W, 3).
    """
    H, W, C = features.shape
    x = features.reshape(H * W, C).astype(np.float64)
    x = x - x.mean(0)
    if H * W < C:  # the same components from the smaller of the two products
        squares, vectors = np.linalg.eigh(x @ x.T)
        parts = (vectors * np.sqrt(squares.clip(0)))[:, ::-1][:, :3]  # H*W, 3
    else:
        _, vectors = np.linalg.eigh(x.T @ x)
        parts = x @ vectors[:, ::-1][:, :3]  # H*W, 3
    if parts.shape[1] < 3:
        parts = np.pad(parts, ((0, 0), (0, 3 - parts.shape[1])))
    parts = parts * np.where((parts**3).mean(0) < 0, -1.0, 1.0)
    low, high = np.percentile(parts, (1, 99), axis=0)
    scaled = (parts - low) / np.maximum(high - low, 1e-12)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8).reshape(H, W, 3)


def anatomy(
    groupings: Sequence[Sequence[Grouping]],
    channels: Sequence[int],
    heads: Sequence[int],
    costs: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What the figure shows of each stage, as plain numbers and strings.

    Args:
        groupings: How each block of each stage cuts its map.
        channels: C of each stage.
        heads: Number of heads of each stage.
        costs: `cel.{s}` and `stage.{s}` with `.params` and `.macs`.
    """
    stages = []
    for s, blocks in enumerate(groupings):
        cel, body = costs[f"cel.{s}"], costs[f"stage.{s}"]
        stages.append(
            {
                "H": blocks[0].H,
                "W": blocks[0].W,
                "C": channels[s],
                "heads": heads[s],
                "stride": token_box(s, 0, 0)[2],
                "kernels": list(CEL_KERNELS[s]),
                "blocks": [
                    {"kind": g.kind, "Gh": g.Gh, "Gw": g.Gw, "I": g.I, "padded": g.padded} for g in blocks
                ],
                "cel_params": cel.params,
                "cel_macs": cel.macs,
                "params": body.params,
                "macs": body.macs,
            }
        )
    return stages


def readable(count: float) -> str:
    """A count with three significant digits and a prefix: "852 M", which no line tears apart."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * limit:
            value = count / limit
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return quantity(f"{value:.{digits}f}", unit)
    return f"{count:.0f}"
