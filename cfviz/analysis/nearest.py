"""Which places of other photos a token resembles: cosines of tokens. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Place", "cosines", "nearest"]


@dataclass(frozen=True)
class Place:
    """One token of one map, and its cosine with the token that was asked about."""

    map: int
    row: int
    col: int
    cosine: float


def cosines(token: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Cosine of a token with every token of a map.

    Args:
        token: (C,).
        features: (H, W, C).

    Returns:
        float64 (H, W), -1 to 1; 0 where either token is zero.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if token.ndim != 1 or features.ndim != 3 or features.shape[2] != len(token):
        raise ValueError(f"the token is {token.shape} and the map {features.shape}; expected (C,), (H, W, C)")
    t, f = (np.asarray(one, np.float64) for one in (token, features))
    lengths = np.linalg.norm(f, axis=2) * np.linalg.norm(t)
    return np.divide(f @ t, lengths, out=np.zeros_like(lengths), where=lengths > 0).clip(-1, 1)


def nearest(token: np.ndarray, maps: Sequence[np.ndarray]) -> list[Place]:
    """The token of each map that is most like a token, the map with the most similar one first.

    Args:
        token: (C,).
        maps: (H, W, C) each, such as one stage's tokens of several photos; their sizes may differ.
    """
    found = []
    for n, features in enumerate(maps):
        values = cosines(token, features)
        row, col = np.unravel_index(int(values.argmax()), values.shape)
        found.append(Place(n, int(row), int(col), float(values[row, col])))
    return sorted(found, key=lambda place: -place.cosine)
