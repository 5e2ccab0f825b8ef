"""How similar features are: those of two layers (linear CKA), and single tokens (their cosine).

CKA, centred kernel alignment, is after Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network
Representations Revisited" (2019), section 3. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA of two sets of features of the same inputs, 0 to 1.

    It is 1 for features that agree up to a shift, a rotation or reflection, and one factor for all channels.
    With fewer inputs than channels, even unrelated features score well above 0.

    Args:
        x: (n, p), one row per input.
        y: (n, q), row i of the same input as row i of `x`.

    Returns:
        |Xc' Yc|² / (|Xc' Xc| |Yc' Yc|), Frobenius norms of centred features; 0 where either is constant.

    Raises:
        ValueError: If the arrays are not two matrices with the same number of rows, at least two.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise ValueError(f"x is {x.shape} and y {y.shape}; expected (n, p) and (n, q) with one n from 2 up")
    a, b = (_scaled(np.asarray(z, np.float64)) for z in (x, y))
    if a is None or b is None:
        return 0.0
    if len(x) < min(x.shape[1], y.shape[1]):  # the same number from n x n matrices
        k, m = a @ a.T, b @ b.T
        return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))
    cross, own = np.linalg.norm(a.T @ b) ** 2, np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(cross / own)


def _scaled(x: np.ndarray) -> np.ndarray | None:
    """Centred, and scaled so that no product overflows; None where nothing varies."""
    centred = x - x.mean(0)
    largest = float(np.abs(centred).max())
    return centred / largest if largest > 1e-12 * max(1e-300, float(np.abs(x).max())) else None


def on_grid(features: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """A map averaged over the cells of a coarser grid, so that two maps describe the same places.

    Args:
        features: (H, W, C).
        rows, cols: Cells of the grid; H must be a multiple of the one, W of the other.

    Returns:
        (rows * cols, C), row by row.

    Raises:
        ValueError: If the grid does not divide the map.
    """
    H, W, C = features.shape
    if H % rows or W % cols:
        raise ValueError(f"the map is {H} x {W}; expected multiples of {rows} and {cols} cells")
    cells = features.reshape(rows, H // rows, cols, W // cols, C).mean((1, 3), dtype=np.float64)
    return cells.reshape(rows * cols, C)


def cka_table(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> np.ndarray:
    """Linear CKA of every layer of one model with every layer of another.

    Args:
        one: Features (n, p_i), one array per layer.
        other: Features (n, q_j), one array per layer, of the same n inputs.

    Returns:
        (len(one), len(other)).
    """
    return np.array([[linear_cka(x, y) for y in other] for x in one])


# ---------------------------------------------------------------- tokens


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
