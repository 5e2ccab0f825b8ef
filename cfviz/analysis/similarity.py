"""How similar the features of two layers are: linear centred kernel alignment (CKA).

After Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network Representations Revisited" (2019),
section 3. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

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
