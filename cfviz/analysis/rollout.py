"""Attention rollout through groups, padding, merging kernels and cooling layers, exactly as they are wired.

Rollout (Abnar and Zuidema, 2020) traces attention from a token back to the input: half of a token comes
through the shortcut, half through its attention, averaged over heads. In CrossFormer there are groups instead
of one big matrix, padded keys that receive nothing, and convolutions in between: the merging layers read
tokens with kernels of 2 and 4 (stride 2), the first layer reads pixels with kernels of 4, 8, 16 and 32
(stride 4), and the cooling layer of CrossFormer++ reads 3 x 3 neighbours and has no shortcut. A kernel passes
on by the share of |w| that each of its taps has. MLPs work on one token and move nothing.

All functions carry rows (R, H, W) backwards, from a token to what it is made of; a row keeps its sum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfviz import point_names
from cfviz.geometry import CEL_KERNELS, Grouping
from cfviz.geometry.schemes import PADDING, Scheme


@dataclass(frozen=True)
class Kernels:
    """The convolutions of one embedding or cooling layer, as shares of |w|.

    Attributes:
        taps: (k, k) each, the sum of |w| over channels; all of one stride.
        stride: In tokens (or pixels) of what the kernels read.
    """

    taps: tuple[np.ndarray, ...]
    stride: int


@dataclass(frozen=True)
class Layer:
    """One block of attention.

    Attributes:
        grouping: How the block cuts its map.
        attention: (nG, N, N), rows sum to one; averaged over heads, or weighted otherwise.
        cooling: The cooling layer after the block, if there is one.
    """

    grouping: Grouping
    attention: np.ndarray
    cooling: Kernels | None = None


def layers_until(
    groupings: Sequence[Sequence[Grouping]],
    last: tuple[int, int],
    attention: Callable[[int, int], np.ndarray],
    weight: Callable[[str], np.ndarray],
    cooled: Collection[tuple[int, int]] = (),
) -> tuple[list[list[Layer]], list[Kernels]]:
    """The blocks of a CrossFormer up to one of them, and the layers between the stages, for `rollout`.

    Args:
        groupings: Of every block, `trace.groupings`.
        last: Stage and block of the last one, from 0.
        attention: Returns the attention of a block of a stage, (nG, N, N).
        weight: Returns a parameter by its full name: an array of a trace that watched it, or the model's.
        cooled: Which blocks end in a cooling layer, `trace.settings["cooled"]`.

    Example:
        >>> mean = lambda s, b: trace[f"layers.{s}.blocks.{b}.attn.probs"].mean(1)
        >>> weight = lambda name: model.get_parameter(name).detach().numpy()
        >>> rollout(one_token(14, 14, 7, 7), *layers_until(trace.groupings, (2, 1), mean, weight))
    """

    def kernels(names: Sequence[str], stride: int) -> Kernels:
        return Kernels(tuple(np.abs(weight(name)).sum((0, 1)) for name in names), stride)

    stages = [
        [
            Layer(g, attention(s, b), kernels([point_names.cooling(s, b)], 1) if (s, b) in cooled else None)
            for b, g in enumerate(groupings[s])
            if (s, b) <= last
        ]
        for s in range(last[0] + 1)
    ]
    between = [
        kernels([point_names.merging(s, k) for k in range(len(CEL_KERNELS[s]))], 2)
        for s in range(1, last[0] + 1)
    ]
    return stages, between


def through_attention(rows: np.ndarray, layer: Layer, shortcut: float = 0.5) -> np.ndarray:
    """Back through one block's attention and its shortcut.

    Args:
        rows: (R, H, W).
        layer: The block; its cooling layer is left out.
        shortcut: The share that comes through the shortcut; the rest comes through attention.

    Returns:
        (R, H, W), with the same sums.
    """
    return shortcut * rows + (1 - shortcut) * attended(rows, layer)


def attended(rows: np.ndarray, layer: Layer) -> np.ndarray:
    """Back through one block's attention alone: (R, H, W) -> (R, H, W)."""
    g = layer.grouping
    given = g.gather(np.moveaxis(rows, 0, -1))  # nG, N, R; padded queries carry nothing
    return np.moveaxis(g.scatter(layer.attention.swapaxes(1, 2) @ given), -1, 0)


def through_kernels(rows: np.ndarray, kernels: Kernels, H: int, W: int) -> np.ndarray:
    """Back through convolutions, to the H x W tokens or pixels they read.

    What a kernel would pass to the zeros around the map goes to the rest of its taps instead, so that nothing
    leaks into the padding.

    Args:
        rows: (R, H', W').
        kernels: Their taps and stride.
        H: Height of the map that they read.
        W: Width of the map that they read.

    Returns:
        (R, H, W), with the same sums.
    """
    whole = sum(float(t.sum()) for t in kernels.taps)
    if whole <= 0:
        raise ValueError("all taps are zero; expected the sum of |w| over channels")
    inside = _collect(np.ones((1, H, W)), kernels, rows.shape[1:])  # share of each token's taps on the map
    return _hand_out(rows / inside, kernels, H, W)


def _margins(kernels: Kernels) -> tuple[int, int]:
    """Room for what the kernels read beyond the edges of a map: before and after."""
    widest = max(t.shape[0] for t in kernels.taps)
    return (widest - kernels.stride) // 2, widest


def _walk(kernels: Kernels, shape: tuple[int, ...]) -> Iterator[tuple[float, tuple[slice, slice]]]:
    """For every tap: its share, and what it reads from a map with margins, for all outputs at once."""
    s, whole = kernels.stride, sum(float(t.sum()) for t in kernels.taps)
    near, _ = _margins(kernels)
    for taps in kernels.taps:
        pad = (taps.shape[0] - s) // 2
        for i, j in np.ndindex(*taps.shape):
            top, left = near - pad + i, near - pad + j
            down = slice(top, top + s * (shape[0] - 1) + 1, s)
            yield float(taps[i, j]) / whole, (down, slice(left, left + s * (shape[1] - 1) + 1, s))


def _collect(values: np.ndarray, kernels: Kernels, shape: tuple[int, ...]) -> np.ndarray:
    """Forwards: what each output collects, (R, H, W) -> (R, H', W')."""
    padded = np.pad(values, ((0, 0), _margins(kernels), _margins(kernels)))
    out = np.zeros((len(values), *shape))
    for share, (down, across) in _walk(kernels, shape):
        out += share * padded[:, down, across]
    return out


def _hand_out(rows: np.ndarray, kernels: Kernels, H: int, W: int) -> np.ndarray:
    """Backwards: what each input contributed, (R, H', W') -> (R, H, W)."""
    near, far = _margins(kernels)
    out = np.zeros((len(rows), H + near + far, W + near + far))
    for share, (down, across) in _walk(kernels, rows.shape[1:]):
        out[:, down, across] += share * rows
    return out[:, near : near + H, near : near + W]


def rollout(
    rows: np.ndarray, stages: Sequence[Sequence[Layer]], merging: Sequence[Kernels], shortcut: float = 0.5
) -> np.ndarray:
    """Back from tokens after the last given block to the tokens of the first stage.

    Args:
        rows: (R, H, W), one per token asked about: 1 at that token, or any weights that sum to one.
        stages: The blocks of every stage, first stage first; the last may be incomplete.
        merging: The layer between each stage and the next, one fewer than `stages`.
        shortcut: The share that comes through each block's shortcut.

    Returns:
        (R, H1, W1), with the same sums.
    """
    if len(merging) != len(stages) - 1:
        raise ValueError(f"{len(stages)} stages need {len(stages) - 1} merging layers; {len(merging)} came")
    for s in range(len(stages) - 1, -1, -1):
        for layer in reversed(stages[s]):
            if layer.cooling is not None:
                rows = through_kernels(rows, layer.cooling, *rows.shape[1:])
            rows = through_attention(rows, layer, shortcut)
        if s:
            below = stages[s - 1][0].grouping
            rows = through_kernels(rows, merging[s - 1], below.H, below.W)
    return rows


def one_token(H: int, W: int, row: int, col: int) -> np.ndarray:
    """A row that asks about one token: (1, H, W)."""
    if not (0 <= row < H and 0 <= col < W):
        raise ValueError(f"there is no token ({row}, {col}) in a map of {H} x {W}")
    out = np.zeros((1, H, W))
    out[0, row, col] = 1
    return out


# ---------------------------------------------------------------- layers of other models


@dataclass(frozen=True)
class SchemeLayer:
    """One block of attention of another model.

    Attributes:
        scheme: Which query attends to which keys; every key is one token.
        attention: (nG, Nq, Nk), rows sum to one; averaged over heads, or weighted otherwise.
    """

    scheme: Scheme
    attention: np.ndarray


@dataclass(frozen=True)
class Paths:
    """What a token is made of by rollout; the parts sum to 1.

    Attributes:
        map: By token of the first stage, (H, W).
        extra: What class and register tokens bring that the photo did not, (prefix,).
        padding: What padding brings that takes part in the softmax.
    """

    map: np.ndarray
    extra: np.ndarray
    padding: float


def rollout_schemes(
    row: int,
    col: int,
    stages: Sequence[Sequence[SchemeLayer]],
    merging: Sequence[Kernels],
    shortcut: float = 0.5,
) -> Paths:
    """Back from one token after the last given block to the tokens of the first stage.

    Class and register tokens are followed like all others. What goes to padding ends there.

    Args:
        row: The token's row in the last stage's map, from 0.
        col: Its column.
        stages: The blocks of every stage, first stage first; the last may be incomplete.
        merging: The layer between each stage and the next, one fewer than `stages`.
        shortcut: The share that comes through each block's shortcut.

    Raises:
        ValueError: If the map has no such token, a key stands for several tokens, or layers are missing.
    """
    if len(merging) != len(stages) - 1:
        raise ValueError(f"{len(stages)} stages need {len(stages) - 1} merging layers; {len(merging)} came")
    last = stages[-1][-1].scheme
    prefix = last.prefix
    rows = np.concatenate([np.zeros(prefix), one_token(last.H, last.W, row, col).reshape(-1)])
    for s in range(len(stages) - 1, -1, -1):
        for layer in reversed(stages[s]):
            rows = shortcut * rows + (1 - shortcut) * _attended_tokens(rows, layer)
        if s:
            here, below = stages[s][0].scheme, stages[s - 1][0].scheme
            whole = through_kernels(rows.reshape(1, here.H, here.W), merging[s - 1], below.H, below.W)
            rows = whole.reshape(-1)
    first = stages[0][0].scheme
    return Paths(rows[prefix:].reshape(first.H, first.W), rows[:prefix], float(1 - rows.sum()))


def rollout_of(
    schemes: Sequence[Sequence[Scheme]],
    attention: Callable[[int, int], np.ndarray],
    taps: Sequence[Any],
    stage: int,
    block: int,
    row: int,
    col: int,
) -> Paths:
    """Back from one token after any block, with the mean over heads.

    Args:
        schemes: Of every block of every stage.
        attention: Returns the attention of a block of a stage, (nG, nH, Nq, Nk).
        taps: What each layer between two stages takes of the tokens it joins, (k, k) each.
        stage: From 0.
        block: From 0.
        row: The token's row, from 0.
        col: Its column.

    Raises:
        ValueError: As `rollout_schemes`.
    """
    stages = [
        [
            SchemeLayer(scheme, np.asarray(attention(s, b), np.float64).mean(1))
            for b, scheme in enumerate(schemes[s])
            if (s, b) <= (stage, block)
        ]
        for s in range(stage + 1)
    ]
    merging = [Kernels((np.asarray(by_place),), len(by_place)) for by_place in taps[:stage]]
    return rollout_schemes(row, col, stages, merging)


def _attended_tokens(rows: np.ndarray, layer: SchemeLayer) -> np.ndarray:
    """Back through one block's attention alone: (prefix + H*W,), what goes to padding left out."""
    scheme, end = layer.scheme, len(rows)
    if scheme.keys.shape[-1] != 1:
        raise ValueError(
            f"a key of {scheme.name!r} stands for {scheme.keys.shape[-1]} tokens, which a convolution joins; "
            "rollout follows single tokens"
        )

    def slots(flat: np.ndarray) -> np.ndarray:
        beside = np.where(flat == PADDING, end, PADDING - 1 - flat)
        return np.where(flat >= 0, scheme.prefix + flat, beside)

    given = np.append(rows, 0.0)[slots(scheme.queries)]  # nG, Nq; padded queries carry nothing
    out = np.zeros(end + 1)
    made = np.einsum("gq,gqk->gk", given, layer.attention)
    np.add.at(out, slots(scheme.keys[..., 0]), made)
    return out[:end]
