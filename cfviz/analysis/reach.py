"""How far attention carries a token in n blocks, and what it costs: exact counts from group memberships.

A token reaches a query after n blocks if some path of n steps joins them; each step goes from a query to a
key that it scores, or along the shortcut around the attention. Only attention is counted: convolutions
between or inside the blocks (PVT v2's and Twins' depthwise ones, the cooling layer of CrossFormer++) carry
tokens further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfviz.geometry import CEL_KERNELS, PATCH, Grouping, cel_box, token_box
from cfviz.geometry.schemes import Scheme


def one_layer_back(scheme: Scheme, reached: np.ndarray) -> np.ndarray:
    """The tokens that the tokens in `reached` are computed from, one layer earlier.

    Args:
        scheme: The layer.
        reached: bool (H, W).

    Returns:
        bool (H, W); includes `reached`, because of the shortcut.
    """
    if reached.shape != (scheme.H, scheme.W):
        raise ValueError(f"the set is {reached.shape}; expected the map's {(scheme.H, scheme.W)}")
    out = np.append(reached.reshape(-1), False)  # the last place is no token's: never reached
    queries, keys = (np.maximum(places, -1) for places in (scheme.queries, scheme.keys))
    asks = out[queries]  # nG, Nq
    if scheme.region is None:
        out[keys[asks.any(1)]] = True
    else:
        asking = scheme.region[:, :, None] == scheme.region[:, None, :]  # nG, Nq, Nk
        out[keys[(asks[:, :, None] & asking).any(1)]] = True
    return out[:-1].reshape(scheme.H, scheme.W)


def reach(schemes: Sequence[Scheme], row: int, col: int, blocks: int) -> np.ndarray:
    """The tokens that can reach one query after 0, 1, … blocks.

    Block b is `schemes[b % len(schemes)]`; the set after n blocks is found by going back from block n - 1.

    Args:
        schemes: The layers a method alternates between, first block first, on one map.
        row: The query's row, from 0.
        col: The query's column, from 0.
        blocks: How many blocks to follow.

    Returns:
        bool (blocks + 1, H, W).
    """
    first = schemes[0]
    if not (0 <= row < first.H and 0 <= col < first.W):
        raise ValueError(f"there is no token ({row}, {col}) in a map of {first.H} x {first.W}")
    out = np.zeros((blocks + 1, first.H, first.W), bool)
    for n in range(blocks + 1):
        reached = np.zeros((first.H, first.W), bool)
        reached[row, col] = True
        for b in reversed(range(n)):
            reached = one_layer_back(schemes[b % len(schemes)], reached)
        out[n] = reached
    return out


def blocks_to_cover(schemes: Sequence[Scheme], row: int, col: int, limit: int = 8) -> int | None:
    """After how many blocks every token of the map reaches the query; None if not within `limit`."""
    full = reach(schemes, row, col, limit).all((1, 2))
    return int(np.argmax(full)) if full.any() else None


def whole_photo(stages: Sequence[Sequence[Grouping]]) -> tuple[int, int] | None:
    """The first block after which every token of the map has information from every pixel of the photo.

    Counted are the embedding layers' largest kernels, attention and the shortcuts around it. Rows and columns
    of groups and kernels are independent: what reaches a token is the product of what reaches its row and of
    what reaches its column, so each side of the photo is followed alone.

    Args:
        stages: How every block of every stage partitions its map, as in `CrossFormer.groupings`.

    Returns:
        Stage and block, from 0; None if there is no such block.
    """
    sides = tuple(side * PATCH for side in (stages[-1][0].H, stages[-1][0].W))
    seen = [np.eye(side, dtype=bool) for side in sides]  # row or column of a token, of a pixel
    for s, blocks in enumerate(stages):
        seen = [_embedded(s, one) for one in seen]
        for b, g in enumerate(blocks):
            seen = [_after(_meeting(g, axis), one) for axis, one in enumerate(seen)]
            if all(one.all() for one in seen):
                return s, b
    return None


def _after(layer: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What reaches a token after a layer: bool (n, m) of bool (n, k) and (k, m)."""
    return layer.astype(np.float32) @ seen.astype(np.float32) > 0


def _embedded(stage: int, seen: np.ndarray) -> np.ndarray:
    """What reaches the tokens of a stage along one side: bool (n, pixels), from those that it embeds."""
    unit = token_box(stage - 1, 0, 0)[2] if stage else 1
    count = seen.shape[0] * unit // token_box(stage, 0, 0)[2]
    reads = np.zeros((count, seen.shape[0]), bool)
    for n in range(count):
        start, _, end, _ = cel_box(stage, max(CEL_KERNELS[stage]), n, 0)
        reads[n, max(0, start // unit) : end // unit] = True
    return _after(reads, seen)


def _meeting(g: Grouping, axis: int) -> np.ndarray:
    """Which rows (axis 0) or columns (1) of a map share a group: bool (H, H) or (W, W)."""
    side, length = ((g.H, g.Gh), (g.W, g.Gw))[axis]
    line = Grouping(g.kind, side, 1, length, g.I, 1)  # a map of one column
    held = np.zeros((line.nG, side), bool)
    group, member = np.nonzero(line.valid)
    held[group, line.members[group, member]] = True
    return _after(held.T, held)


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one attention layer.

    Attributes:
        attention: Scores and weighted sums, 2 * queries * keys * C: the part that grows with the group.
        projections: Queries, keys, values and output.
        reduction: The convolution that makes the keys, where there is one.
    """

    attention: int
    projections: int
    reduction: int = 0

    @property
    def total(self) -> int:
        """All multiply-adds."""
        return self.attention + self.projections + self.reduction


def multiply_adds(scheme: Scheme, C: int) -> Cost:
    """The multiply-adds of a layer for one image, padding included, biases and softmax left out.

    Args:
        scheme: The layer.
        C: Channels.
    """
    groups, asked = scheme.queries.shape
    keys = scheme.keys.shape[1]
    asking, answering = groups * asked, groups * keys
    leaving = scheme.H * scheme.W if scheme.crop_first else asking
    return Cost(
        attention=2 * asking * keys * C,
        projections=(asking + 2 * answering + leaving) * C * C,
        reduction=answering * scheme.reduction**2 * C * C if scheme.reduction > 1 else 0,
    )
