"""Which tokens a prediction rests on, and whether a map of them is better than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rollout import Kernels, Layer, attended, through_kernels


def weighted_attention(probs: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Gradient x attention where it speaks for the class, averaged over heads (Chefer et al., 2021).

    Args:
        probs: (nG, nH, N, N).
        gradient: Of the class's logit with respect to `probs`, same shape.

    Returns:
        (nG, N, N), not negative.
    """
    if probs.shape != gradient.shape:
        raise ValueError(f"the attention is {probs.shape}, its gradient {gradient.shape}; expected one shape")
    return np.maximum(probs.astype(np.float64) * gradient, 0).mean(1)


def relevance(stages: Sequence[Sequence[Layer]], merging: Sequence[Kernels]) -> np.ndarray:
    """Relevance of the first stage's tokens for the class, from the pooled output back.

    The shortcut passes everything on and attention adds its weighted share: r <- r + r A, block by block from
    the last; kernels pass relevance on as in rollout. What arrives through the shortcuts alone is subtracted:
    every token contributes to the mean that the head reads, so it would only spread evenly over the photo.

    Args:
        stages: The blocks of every stage, with `weighted_attention` as their attention.
        merging: The layer between each stage and the next.

    Returns:
        (H1, W1), sums to one; equal everywhere if attention adds nothing.
    """
    last = stages[-1][-1].grouping
    even = np.full((last.H, last.W), 1 / (last.H * last.W))  # the head averages all tokens
    rows = np.stack([even, np.zeros_like(even)])  # through the shortcuts, added by attention
    for s in range(len(stages) - 1, -1, -1):
        for layer in reversed(stages[s]):
            if layer.cooling is not None:
                rows = through_kernels(rows, layer.cooling, *rows.shape[1:])
            rows = rows + np.stack([np.zeros_like(rows[0]), attended(rows, layer).sum(0)])
        if s:
            below = stages[s - 1][0].grouping
            rows = through_kernels(rows, merging[s - 1], below.H, below.W)
    added = rows[1]
    return added / added.sum() if added.sum() > 0 else np.full(added.shape, 1 / added.size)


def relevance_order(values: np.ndarray) -> np.ndarray:
    """Cells from the most to the least relevant: int (n,), ties in reading order."""
    return np.argsort(-values.reshape(-1), kind="stable")


def ranking_masks(ranking: np.ndarray, shape: tuple[int, int], side: int, steps: int) -> np.ndarray:
    """The first cells of a ranking, more of them in every step, as masks of pixels.

    Args:
        ranking: Cells, most relevant first: (h * w,).
        shape: (h, w) cells.
        side: Side of a cell in pixels.
        steps: How many masks after the empty one.

    Returns:
        bool (steps + 1, h * side, w * side): none, 1/steps, ..., all.
    """
    n = shape[0] * shape[1]
    if sorted(ranking.tolist()) != list(range(n)):
        raise ValueError(f"the ranking does not hold each of the {n} cells once")
    place = np.empty(n, int)
    place[ranking] = np.arange(n)
    counts = np.round(np.linspace(0, n, steps + 1)).astype(int)
    cells = place.reshape(shape)[None] < counts[:, None, None]
    return cells.repeat(side, 1).repeat(side, 2)


def area_under(curve: np.ndarray) -> float:
    """Mean height of a curve with evenly spaced steps (trapezoids): (steps + 1,)."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


def beats_chance(
    deletion: np.ndarray, insertion: np.ndarray, random_deletion: np.ndarray, random_insertion: np.ndarray
) -> bool:
    """Whether a map finds what matters: it must beat every random order, in deletion and in insertion.

    Deleting the most relevant first must lower the class's probability sooner (a smaller area), inserting
    them first must raise it sooner (a larger area).

    Args:
        deletion: The map's curve, (steps + 1,).
        insertion: The map's curve, (steps + 1,).
        random_deletion: Curves of random orders, (n, steps + 1).
        random_insertion: Curves of random orders, (n, steps + 1).
    """
    below = all(area_under(deletion) < area_under(curve) for curve in random_deletion)
    above = all(area_under(insertion) > area_under(curve) for curve in random_insertion)
    return below and above
