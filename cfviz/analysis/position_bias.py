"""Position bias as a surface over offsets: what it prefers, which pairs share it, how a table is resized.

A surface is an array (nH, 2Gh-1, 2Gw-1): the bias of every head at every offset (dh, dw), query minus key,
from -(Gh-1) to Gh-1 and from -(Gw-1) to Gw-1. Positive dh means that the key lies above the query.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from cfviz.geometry import Grouping, offsets, relative_index
from cfviz.options import TABLE_METHODS
from cfviz.stats import softmax

CHARACTERS = ("near", "far", "horizontal", "vertical", "diagonal", "shifted", "flat")
FAINT = 0.02  # a head whose measures are all smaller prefers nothing: it is flat


def surface(bias: np.ndarray, width: int | None = None) -> np.ndarray:
    """The surface behind the bias of all pairs: the same numbers, once per offset.

    Args:
        bias: (nH, N, N), indexed by head, query and key, of groups of Gh x Gw tokens.
        width: Gw; square groups by default.

    Returns:
        (nH, 2Gh-1, 2Gw-1).

    Raises:
        ValueError: If two pairs with the same offset differ, so that the bias is no function of the offset.
    """
    nH, N, _ = bias.shape
    Gw = isqrt(N) if width is None else width
    Gh = N // Gw
    if Gh * Gw != N or bias.shape[2] != N or (width is None and Gh != Gw):
        raise ValueError(
            f"got a bias {bias.shape}; expected (heads, N, N) with N = {Gw} times a whole number"
        )
    index = relative_index(Gh, Gw)
    _, first = np.unique(index, return_index=True)
    flat = bias.reshape(nH, -1)[:, first]  # nH, (2Gh-1)*(2Gw-1)
    if not np.array_equal(flat[:, index], bias):
        raise ValueError("pairs with the same offset differ; expected a bias that depends on the offset only")
    return flat.reshape(nH, 2 * Gh - 1, 2 * Gw - 1)


def pair_bias(surfaces: np.ndarray) -> np.ndarray:
    """The bias of every pair in a group: (nH, 2Gh-1, 2Gw-1) -> (nH, N, N)."""
    nH, h, w = surfaces.shape
    return surfaces.reshape(nH, -1)[:, relative_index((h + 1) // 2, (w + 1) // 2)]


# ---------------------------------------------------------------- what a head prefers


@dataclass(frozen=True)
class Measures:
    """What the bias alone would make a query attend to, one number per head.

    Weights are the softmax of the surface over all offsets. Lengths are in tokens.

    Attributes:
        spread: Largest minus smallest bias, (nH,).
        centre: Weighted mean position of the key relative to the query, (nH, 2): down, right.
        distance: Weighted mean distance of the key, (nH,).
        nearness: 1 - distance / the distance under even weights: above 0 near, below 0 far, (nH,).
        anisotropy: (variance along rows - variance along columns) / their sum: above 0 horizontal, (nH,).
        diagonality: Correlation of the two coordinates: keys along one diagonal or the other, (nH,).
        decay: Distance at which the mean bias of a ring has lost 1 - 1/e of what it loses between the query
            and the farthest ring; nan where it gains, (nH,).
    """

    spread: np.ndarray
    centre: np.ndarray
    distance: np.ndarray
    nearness: np.ndarray
    anisotropy: np.ndarray
    diagonality: np.ndarray
    decay: np.ndarray

    def character(self, head: int) -> str:
        """The one of `CHARACTERS` that names the head's strongest preference."""
        reach = max(1e-9, float(self.distance[head]))
        strength = {
            "near": float(self.nearness[head]),
            "far": -float(self.nearness[head]),
            "horizontal": float(self.anisotropy[head]),
            "vertical": -float(self.anisotropy[head]),
            "diagonal": abs(float(self.diagonality[head])),
            "shifted": float(np.hypot(*self.centre[head])) / reach,
        }
        best = max(strength, key=lambda name: strength[name])
        return best if strength[best] >= FAINT else "flat"


def measures(surfaces: np.ndarray) -> Measures:
    """The measures of every head's surface, (nH, 2Gh-1, 2Gw-1)."""
    nH, h, w = surfaces.shape
    d = -offsets((h + 1) // 2, (w + 1) // 2).astype(float)  # where the key lies: down, right
    flat = surfaces.reshape(nH, -1).astype(float)
    p = softmax(flat)
    far = np.hypot(d[:, 0], d[:, 1])
    centre = p @ d  # nH, 2
    variance = p @ d**2 - centre**2
    mixed = p @ (d[:, 0] * d[:, 1]) - centre[:, 0] * centre[:, 1]
    total = np.maximum(variance.sum(1), 1e-12)
    return Measures(
        spread=np.ptp(flat, axis=1),
        centre=centre,
        distance=p @ far,
        nearness=1 - (p @ far) / max(far.mean(), 1e-12),
        anisotropy=(variance[:, 1] - variance[:, 0]) / total,
        diagonality=mixed / np.maximum(np.sqrt(variance.prod(1)), 1e-12),
        decay=np.array([_decay(values, far) for values in flat]),
    )


def ring_means(values: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Mean over offsets at about the same distance: entry r covers distances that round to r."""
    ring = np.rint(far).astype(int)
    return np.bincount(ring, values) / np.bincount(ring)


def _decay(values: np.ndarray, far: np.ndarray) -> float:
    mean = ring_means(values, far)
    loss = mean[0] - mean[-1]
    if loss <= 0:
        return float("nan")
    level = mean[0] - loss * (1 - np.exp(-1))
    r = int(np.argmax(mean <= level))
    step = mean[r - 1] - mean[r]
    return r - 1 + float((mean[r - 1] - level) / step) if r and step > 0 else float(r)


def head_order(found: Measures, by: str) -> np.ndarray:
    """Heads in order, from the strongest preference of a kind to the weakest.

    Args:
        found: From `measures`.
        by: "number", "near" (to far), "horizontal" (to vertical), "diagonal", "shifted" (centre of mass
            farthest from the query first), "decay" (shortest first, those without decay last) or "spread".
    """
    keys = {
        "number": np.arange(len(found.spread), 0, -1),
        "near": found.nearness,
        "horizontal": found.anisotropy,
        "diagonal": np.abs(found.diagonality),
        "shifted": np.hypot(*found.centre.T),
        "decay": -np.nan_to_num(found.decay, nan=np.inf),
        "spread": found.spread,
    }
    if by not in keys:
        raise ValueError(f"order is by {by!r}; expected one of {', '.join(keys)}")
    return np.argsort(-keys[by], kind="stable")


# ---------------------------------------------------------------- other windows


def untrained_offsets(Gh: int, Gw: int, trained: int | tuple[int, int]) -> np.ndarray:
    """Which offsets of a Gh x Gw group the groups of training lack: bool (2Gh-1, 2Gw-1).

    Args:
        Gh: Height of the group, in tokens.
        Gw: Width of the group, in tokens.
        trained: Side of the largest groups of training, or their height and width.
    """
    far = (np.abs(offsets(Gh, Gw)) >= np.array(trained)).any(1)
    return far.reshape(2 * Gh - 1, 2 * Gw - 1)


def untrained_pairs(groups: Grouping, trained: int | tuple[int, int]) -> float:
    """The share of all (query, key) pairs whose offset the groups of training lack, 0 to 1.

    Unlike the share of offsets it weighs each offset by the number of pairs that have it, near ones most.
    Padding counts neither as a query nor as a key.

    Args:
        groups: How a block cuts its map.
        trained: Side of the largest groups of training, or their height and width.
    """
    Th, Tw = (trained, trained) if isinstance(trained, int) else trained
    patterns, which = groups.patterns
    all_pairs = known = 0
    for valid, times in zip(patterns.reshape(-1, groups.Gh, groups.Gw), np.bincount(which), strict=True):
        rows, cols = int(valid.any(1).sum()), int(valid.any(0).sum())  # padding lies below and on the right
        all_pairs += int(times) * (rows * cols) ** 2
        known += int(times) * _near_pairs(rows, Th) * _near_pairs(cols, Tw)
    return 1 - known / all_pairs


def _near_pairs(n: int, trained: int) -> int:
    """How many of the n * n pairs of places on a line are less than `trained` apart."""
    return sum((1 if d == 0 else 2) * (n - d) for d in range(min(n, trained)))


def resized_table(surfaces: np.ndarray, Gh: int, Gw: int, method: str) -> np.ndarray:
    """A table resized for groups of another shape.

    Args:
        surfaces: (nH, 2T-1, 2T-1), the trained table.
        Gh: Height of the new groups, in tokens.
        Gw: Width of the new groups, in tokens.
        method: "bicubic" interpolates (as torch does: a = -0.75, corners not aligned); "clamp" gives offsets
            beyond the trained ones the value of the nearest trained one; "cut" gives them 0.

    Returns:
        (nH, 2Gh-1, 2Gw-1).
    """
    if method not in TABLE_METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(TABLE_METHODS)}")
    far = surfaces.shape[1] // 2
    if method == "bicubic":
        rows, cols = (_bicubic(surfaces.shape[1], 2 * side - 1) for side in (Gh, Gw))
        return rows @ surfaces @ cols.T
    near = [np.clip(np.arange(1 - side, side), -far, far) + far for side in (Gh, Gw)]
    out = surfaces[:, near[0][:, None], near[1][None, :]]
    return out if method == "clamp" else np.where(untrained_offsets(Gh, Gw, far + 1), 0, out)


def _bicubic(old: int, new: int, a: float = -0.75) -> np.ndarray:
    """The matrix (new, old) that resamples a line with Keys' cubic kernel, repeating the ends."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    base = np.floor(at).astype(int)
    out = np.zeros((new, old))
    for shift in range(-1, 3):
        x = np.abs(at - base - shift)
        inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
        outer = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        np.add.at(out, (np.arange(new), np.clip(base + shift, 0, old - 1)), np.where(x <= 1, inner, outer))
    return out


# ---------------------------------------------------------------- what a window costs


@dataclass(frozen=True)
class AttentionLoad:
    """What attention does in one block.

    Attributes:
        padded: Height and width of the padded map, in tokens.
        waste: Share of the padded map that is padding, 0 to 1.
        pairs: Query-key pairs per head.
        macs: Multiply-adds of the attention: q, k and v, logits, weighted sum and projection.
    """

    padded: tuple[int, int]
    waste: float
    pairs: int
    macs: int


def attention_load(groups: Grouping, channels: int) -> AttentionLoad:
    """The load of a block with these groups and this number of channels."""
    tokens, pairs = groups.Hp * groups.Wp, groups.nG * groups.N**2
    macs = 4 * tokens * channels**2 + 2 * pairs * channels
    return AttentionLoad((groups.Hp, groups.Wp), 1 - groups.H * groups.W / tokens, pairs, macs)
