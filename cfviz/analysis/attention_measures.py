"""Measures of attention: distance, entropy, the share of position, and whether it is the model's own.

Letters as in the model: nG groups, nH heads, N members of a group, d channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfviz.geometry import Grouping
from cfviz.geometry.schemes import PADDING, Scheme

CHUNK = 500_000  # probabilities at once: as many as a processor's cache holds


def fidelity(
    probs: np.ndarray, v: np.ndarray, proj_w: np.ndarray, proj_b: np.ndarray, out: np.ndarray
) -> float:
    """How far the attention shown is from the attention that made the prediction.

    The probabilities shown are pushed through the rest of the layer, and the result is compared with
    what the layer really returned: if they agree, the picture explains the output, not a look-alike.

    Args:
        probs: (nG, nH, N, N).
        v: (nG, nH, N, d).
        proj_w: Weight of the output projection, (C, C) with C = nH * d.
        proj_b: Bias of the output projection, (C,).
        out: What the layer returned, (nG, N, C).

    Returns:
        The largest absolute difference over the largest absolute output.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    n_groups, heads, n, d = v.shape
    expected = {"probs": (n_groups, heads, n, n), "out": (n_groups, n, heads * d)}
    for name, array in (("probs", probs), ("out", out)):
        if array.shape != expected[name]:
            raise ValueError(f"{name} is {array.shape}; with v {v.shape} expected {expected[name]}")
    weight, apart = proj_w.T.astype(np.float64), 0.0
    some = max(1, CHUNK // (heads * n * n))
    for at in (slice(i, i + some) for i in range(0, n_groups, some)):
        mixed = (probs[at].astype(np.float64) @ v[at]).transpose(0, 2, 1, 3).reshape(-1, n, heads * d)
        apart = max(apart, float(np.abs(mixed @ weight + proj_b - out[at]).max()))
    return apart / max(float(np.abs(out).max()), 1e-30)


def distance(probs: np.ndarray, grouping: Grouping, stride: int) -> np.ndarray:
    """Mean attention distance of each head, in pixels: how far a token looks, on average.

    Args:
        probs: (nG, nH, N, N).
        grouping: How the block cut its map.
        stride: Side of a token in pixels.

    Returns:
        (nH,), averaged over the tokens of the map.
    """
    row, col = np.divmod(grouping.index[0], grouping.Wp)  # offsets inside every group are the same
    apart = np.hypot(row[:, None] - row, col[:, None] - col) * stride  # N, N
    per_query = np.einsum("ghqk,qk->ghq", probs.astype(np.float64), apart)
    return _over_tokens(per_query, grouping)


def even_distance(grouping: Grouping, stride: int) -> float:
    """Mean attention distance in pixels of a head that looks at all tokens of its group alike.

    What `distance` is to be compared with: a head below it looks nearer than its group would let it.

    Args:
        grouping: How the block cut its map.
        stride: Side of a token in pixels.
    """
    valid = grouping.valid  # nG, N
    keys = valid / np.maximum(valid.sum(-1, keepdims=True), 1)
    probs = np.broadcast_to(keys[:, None, None, :], (len(valid), 1, grouping.N, grouping.N))
    return float(distance(probs, grouping, stride)[0])


def entropy(probs: np.ndarray, grouping: Grouping) -> np.ndarray:
    """Entropy of each head's attention in bits: 0 for one token, log2(49) = 5.6 for 49 equally.

    Args:
        probs: (nG, nH, N, N).
        grouping: How the block cut its map.

    Returns:
        (nH,), averaged over the tokens of the map.
    """
    p = probs.astype(np.float64)
    per_query = -np.where(p > 0, p * np.log2(np.where(p > 0, p, 1)), 0).sum(-1)
    return _over_tokens(per_query, grouping)


def position_share(content: np.ndarray, bias: np.ndarray, grouping: Grouping) -> np.ndarray:
    """How much of the variance of each head's logits comes from the position bias.

    For every query, the variance of the logits over its keys splits exactly into their covariance with the
    content and their covariance with the bias. The share is that of the bias, summed over queries before
    dividing. It can lie outside 0..1 where content and bias pull in opposite directions.

    Args:
        content: q.k / sqrt(d), (nG, nH, N, N).
        bias: Position bias, (nH, N, N).
        grouping: How the block cut its map; padded keys and queries do not count.

    Returns:
        (nH,); 0 where nothing varies.
    """
    valid = grouping.valid
    return _position_share(content, bias, valid[:, :, None] & valid[:, None, :])


def _position_share(content: np.ndarray, bias: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """See `position_share`; `pair`, (nG, Nq, Nk), says which queries and keys count."""
    pair = pair[:, None]  # nG, 1, Nq, Nk
    keys = np.maximum(pair.sum(-1, keepdims=True), 1)

    def centred(x: np.ndarray) -> np.ndarray:
        x = np.where(pair, x, 0.0).astype(np.float64)
        return np.where(pair, x - x.sum(-1, keepdims=True) / keys, 0.0)

    c, b = centred(content), centred(np.broadcast_to(bias[None], content.shape))
    whole = ((c + b) ** 2).sum((0, 2, 3))
    part = (b * (c + b)).sum((0, 2, 3))
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _over_tokens(per_query: np.ndarray, grouping: Grouping) -> np.ndarray:
    """Mean over the queries that are tokens, not padding: (nG, nH, N) -> (nH,)."""
    return per_query.transpose(1, 0, 2)[:, grouping.valid].mean(-1)


@dataclass(frozen=True, eq=False)
class HeadMeasures:
    """What the heads of one layer do, (nH,) each, over the queries that are tokens of the map.

    Attributes:
        distance: Mean distance in pixels to what is attended to, of the attention that falls on the map; nan
            for a head that gives the map nothing. A key made of several tokens is as far as their mean.
        entropy: In bits, over all keys of the softmax, padding that takes part and class tokens too.
        padding: The share of the attention that goes to padding.
        extra: The share that goes to tokens without a place: class and register tokens.
        position: The share of the logits' variance that the position bias has, as in `position_share`, over
            the keys that the mask leaves; None without a bias.
    """

    distance: np.ndarray
    entropy: np.ndarray
    padding: np.ndarray
    extra: np.ndarray
    position: np.ndarray | None = None


def head_measures(
    probs: np.ndarray,
    scheme: Scheme,
    stride: int,
    content: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> HeadMeasures:
    """Measure the heads of any layer that a scheme describes: shifted windows, keys of several tokens.

    Args:
        probs: (nG, nH, Nq, Nk), in the order of the scheme.
        scheme: Which query attends to which keys.
        stride: Side of a token in pixels.
        content: Logits without bias and mask, (nG, nH, Nq, Nk).
        bias: Position bias, (nH, Nq, Nk).

    Raises:
        ValueError: If the attention is not of this layer.
    """
    (nG, Nq), Nk = scheme.queries.shape, scheme.keys.shape[1]
    if probs.ndim != 4 or (probs.shape[0], *probs.shape[2:]) != (nG, Nq, Nk):
        expected = f"(nG, nH, Nq, Nk) = ({nG}, nH, {Nq}, {Nk})"
        raise ValueError(f"the attention is {probs.shape}; expected {expected}")
    far, on_map, bits, padding, extra = np.zeros((5, probs.shape[1]))
    for group in range(nG):
        mine = np.flatnonzero(scheme.queries[group] >= 0)
        keys = scheme.keys[group]
        placed, pads = (keys >= 0).all(-1), (keys == PADDING).any(-1)
        some = max(1, CHUNK // keys.size)
        for at in (mine[i : i + some] for i in range(0, len(mine), some)):
            p = probs[group][:, at].astype(np.float64)  # nH, n, Nk
            bits -= np.where(p > 0, p * np.log2(np.where(p > 0, p, 1)), 0).sum((1, 2))
            padding += p[..., pads].sum((1, 2))
            extra += p[..., ~placed & ~pads].sum((1, 2))
            on_map += p[..., placed].sum((1, 2))
            apart = stride * _apart(scheme.queries[group, at], keys[placed], scheme.W)
            far += np.einsum("hqk,qk->h", p[..., placed], apart)
    tokens = scheme.H * scheme.W
    with np.errstate(invalid="ignore"):
        distance = np.where(on_map > 0, far / on_map, np.nan)
    shared = None
    if content is not None and bias is not None:
        shared = _position_share(content, bias, _pairs(scheme))
    return HeadMeasures(distance, bits / tokens, padding / tokens, extra / tokens, shared)


def _apart(queries: np.ndarray, keys: np.ndarray, width: int) -> np.ndarray:
    """Distance in tokens from each query, (n,), to each key, (Nk, S), the mean over its tokens: (n, Nk)."""
    row, col = np.divmod(queries, width)
    key_row, key_col = np.divmod(keys, width)
    apart: np.ndarray = np.hypot(row[:, None, None] - key_row, col[:, None, None] - key_col).mean(-1)
    return apart


def _pairs(scheme: Scheme) -> np.ndarray:
    """Which queries that are tokens score which keys: bool (nG, Nq, Nk)."""
    pair = np.repeat((scheme.queries >= 0)[:, :, None], scheme.keys.shape[1], 2)
    if scheme.region is not None:
        pair &= scheme.region[:, :, None] == scheme.region[:, None, :]
    if not scheme.pads_attend:
        pair &= (scheme.keys != PADDING).any(-1)[:, None, :]
    return pair
