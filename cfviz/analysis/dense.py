"""Boxes, label maps and what they rest on: regions, overlaps, changes, shares of heads and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cfviz.geometry import Grouping


def head_totals(by_key: np.ndarray) -> np.ndarray:
    """What each head contributed: (nG, nH, N) -> (nH,)."""
    return by_key.astype(np.float64).sum((0, 2))


def token_map(by_key: np.ndarray, grouping: Grouping) -> np.ndarray:
    """What each token contributed as a key, all heads together: (nG, nH, N) -> (H, W)."""
    return grouping.scatter(by_key.astype(np.float64).sum(1))


def stage_maps(
    by_key: Mapping[tuple[int, int], np.ndarray], groupings: Sequence[Sequence[Grouping]]
) -> list[np.ndarray]:
    """What each token contributed in all blocks of its stage: one (H, W) for each stage."""
    return [
        np.sum([token_map(by_key[s, b], g) for b, g in enumerate(blocks)], 0)
        for s, blocks in enumerate(groupings)
    ]


@dataclass(frozen=True, eq=False)
class Regions:
    """The connected regions of a label map, largest first.

    Attributes:
        which: The region of each cell, int32 (H, W); -1 in regions that are too small.
        labels: The class of each region.
        cells: The number of cells of each region.
    """

    which: np.ndarray
    labels: list[int]
    cells: list[int]


def regions(labels: np.ndarray, least: int = 1, most: int = 255) -> Regions:
    """Find the connected regions of a label map; cells that share a side are connected.

    Args:
        labels: int (H, W).
        least: Cells that a region must have.
        most: Regions to keep, the largest.
    """
    parent = np.arange(labels.size).reshape(labels.shape)
    down, across = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    while True:  # the least number of a region spreads to all its cells, by jumps that double
        before = parent.copy()
        for same, a, b in (
            (down, parent[:-1], parent[1:]),
            (across, parent[:, :-1], parent[:, 1:]),
        ):
            lower = np.where(same, np.minimum(a, b), labels.size)
            np.minimum(a, lower, out=a)
            np.minimum(b, lower, out=b)
        parent = np.minimum(parent, parent.reshape(-1)[parent])
        if (parent == before).all():
            break
    roots, which, cells = np.unique(parent, return_inverse=True, return_counts=True)
    order = [i for i in np.argsort(-cells, kind="stable") if cells[i] >= least][:most]
    number = np.full(len(roots), -1, np.int32)
    number[order] = np.arange(len(order))
    flat = labels.reshape(-1)
    return Regions(
        number[which].reshape(labels.shape),
        [int(flat[roots[i]]) for i in order],
        [int(cells[i]) for i in order],
    )


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes x1, y1, x2, y2: (n, 4), (m, 4) -> (n, m); 0 where both are empty."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def partners(
    boxes: np.ndarray, labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray, least: float = 0.5
) -> np.ndarray:
    """Pair boxes with others of their class, the best first, each at most once.

    Args:
        boxes: (n, 4), best first.
        labels: (n,).
        others: (m, 4).
        other_labels: (m,).
        least: Overlap that a pair must have.

    Returns:
        The partner of each box, int64 (n,); -1 without one.
    """
    found = overlaps(boxes, others) * (labels[:, None] == other_labels[None])
    partner = np.full(len(boxes), -1)
    for i in range(len(boxes)):
        if found.shape[1] and found[i].max() >= least:
            partner[i] = found[i].argmax()
            found[:, partner[i]] = -1
    return partner


def mean_iou(labels: np.ndarray, truth: np.ndarray) -> float:
    """Mean intersection over union of the classes that are in the truth: (H, W), (H, W) -> 0 to 1."""
    if labels.shape != truth.shape:
        raise ValueError(f"the labels are {labels.shape}, the truth {truth.shape}; expected one shape")
    each = [
        ((labels == k) & (truth == k)).sum() / ((labels == k) | (truth == k)).sum() for k in np.unique(truth)
    ]
    return float(np.mean(each))
