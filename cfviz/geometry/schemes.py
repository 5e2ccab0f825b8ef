"""Who may attend to whom in other vision transformers, counted as in `groups`.

Swin and Swin V2 (window and shifted window), PVT v2 (spatial reduction), Twins (local groups, sub-sampled
global), MaxViT (block and grid) and ViT (global, with class and register tokens). Where padding or a mask
makes a difference, each is as timm implements it; the tests run timm's modules and compare. NumPy only.

All of them fit one form: queries in groups, and for each group the keys that its queries score. A key is made
of one token or, after a spatial reduction, of several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from . import Grouping, Lda, lsda

Side = int | tuple[int, int]  # of a square, else (height, width)

PADDING = -1  # in place of a position; -2, -3, ... are tokens that stand for no place: class, registers
SWIN_MASK = -100.0  # what Swin adds to the logits of pairs that its mask separates


class SizeError(ValueError):
    """Raised where a map, or an input, has a size that a layer cannot take."""


@dataclass(frozen=True, eq=False)
class TokenAttention:
    """What one token attends to, over its map.

    Attributes:
        heads: Attention of every head, (nH, H, W). A key that is made of several tokens is spread evenly over
            them, so that each head's map, `padding` and `extra` together sum to 1.
        padding: What every head gives to padding that takes part in the softmax, (nH,).
        extra: What every head gives to the tokens that stand for no place (class, registers), (nH, prefix).
        sources: The tokens that the query's keys are made of: bool (H, W).
        masked: The tokens in the query's own window that the mask separates from it: bool (H, W).
    """

    heads: np.ndarray
    padding: np.ndarray
    extra: np.ndarray
    sources: np.ndarray
    masked: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The mean over heads, (H, W)."""
        return self.heads.mean(0)


@dataclass(frozen=True, eq=False)
class Scheme:
    """One attention layer over a map of H x W tokens.

    Attributes:
        name: For example "swin_shifted".
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        queries: Flat position of every query, -1 for padding, less for the tokens of `prefix`:
            int64 (nG, Nq).
        keys: Flat positions of the tokens that every key is made of, negative like the queries':
            int64 (nG, Nk, S).
        region: If a mask separates members of a group, the region of each member: int64 (nG, Nq); a query
            scores only keys of its own region. None if nothing is masked.
        pads_attend: Whether padding takes part in the softmax as if it were a token (Swin and Twins in timm);
            CrossFormer masks it.
        reduction: Side, in tokens, of what the reducing convolution joins into a key; 1 without one.
        crop_first: Whether padding is cropped before the output projection rather than after it.
        grid: Height and width in which the keys of a group lie, those of `prefix` left out.
        prefix: Tokens before those of the map that stand for no place: a class token, registers.
    """

    name: str
    H: int
    W: int
    queries: np.ndarray
    keys: np.ndarray
    region: np.ndarray | None = None
    pads_attend: bool = False
    reduction: int = 1
    crop_first: bool = False
    grid: tuple[int, int] = (0, 0)
    prefix: int = 0

    def group_of(self, row: int, col: int) -> tuple[int, int]:
        """The (group, member) of the query at a row and a column of the map.

        Raises:
            ValueError: If the map has no such token.
        """
        if not (0 <= row < self.H and 0 <= col < self.W):
            raise ValueError(f"there is no token ({row}, {col}) in a map of {self.H} x {self.W}")
        group, member = np.argwhere(self.queries == row * self.W + col)[0]
        return int(group), int(member)

    def allowed(self, group: int, member: int) -> np.ndarray:
        """Which keys of its group the mask lets one query score: bool (Nk,)."""
        if self.region is None:
            return np.ones(self.keys.shape[1], bool)
        return self.region[group] == self.region[group, member]

    def scored(self, row: int, col: int) -> np.ndarray:
        """The keys in one query's softmax: int64 (n, S), -1 for padding."""
        group, member = self.group_of(row, col)
        keys = self.keys[group]
        keep = self.allowed(group, member)
        if not self.pads_attend:
            keep = keep & (keys != PADDING).any(-1)
        return keys[keep]

    def sources(self, row: int, col: int) -> np.ndarray:
        """The tokens that one query's attention is computed from: bool (H, W)."""
        flat = self.scored(row, col).reshape(-1)
        out = np.zeros(self.H * self.W, bool)
        out[flat[flat >= 0]] = True
        return out.reshape(self.H, self.W)

    def masked(self, row: int, col: int) -> np.ndarray:
        """The tokens in the query's own window that the mask excludes: bool (H, W)."""
        group, member = self.group_of(row, col)
        out = np.zeros(self.H * self.W, bool)
        keys = self.keys[group][~self.allowed(group, member)]
        out[keys[keys >= 0]] = True
        return out.reshape(self.H, self.W)

    def attention(self, probs: np.ndarray, row: int, col: int) -> TokenAttention:
        """What the token at a row and a column attends to.

        Args:
            probs: Attention of the layer, (nG, nH, Nq, Nk) in the order of `queries` and `keys`.
            row: The token's row, from 0.
            col: The token's column, from 0.

        Raises:
            ValueError: If the map has no such token, or the attention is not of this layer.
        """
        nG, Nq, Nk = *self.queries.shape, self.keys.shape[1]
        if probs.ndim != 4 or (probs.shape[0], *probs.shape[2:]) != (nG, Nq, Nk):
            expected = f"(nG, nH, Nq, Nk) = ({nG}, nH, {Nq}, {Nk})"
            raise ValueError(f"the attention is {probs.shape}; expected {expected}")
        group, member = self.group_of(row, col)
        weights, keys = probs[group, :, member].astype(np.float64), self.keys[group]  # nH, Nk; Nk, S
        share = np.repeat(weights / keys.shape[1], keys.shape[1], axis=1)  # nH, Nk*S
        flat, tokens = keys.reshape(-1), np.zeros((self.H * self.W, len(weights)))
        np.add.at(tokens, flat[flat >= 0], share[:, flat >= 0].T)
        return TokenAttention(
            tokens.T.reshape(-1, self.H, self.W),
            share[:, flat == PADDING].sum(1),
            weights[:, : self.prefix],
            self.sources(row, col),
            self.masked(row, col),
        )


def crossformer(g: Grouping) -> Scheme:
    """CrossFormer's short or long distance attention: groups of Gh x Gw, padding masked."""
    return Scheme(g.kind, g.H, g.W, g.members, g.members[..., None], grid=(g.Gh, g.Gw))


def swin(H: int, W: int, window: int = 7, shift: int = 0) -> Scheme:
    """Swin's window attention, or shifted window attention where `shift` is not 0.

    As in timm: a side at most as long as the window becomes the window and is not shifted; the map is rolled
    by the shift, then padded at the bottom and on the right; padding is a key like any other; the mask
    separates what the roll brought together. The mask is laid over the padded map, so with padding it does
    not separate the rolled rows and columns exactly where they begin.

    Args:
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        window: Side of a window, in tokens.
        shift: Tokens to shift by, usually window // 2.

    Raises:
        ValueError: If the shift is not smaller than the window.
    """
    if not 0 <= shift < window:
        raise ValueError(f"the shift is {shift}; expected 0 to {window - 1}, less than the window")
    (wh, sh), (ww, sw) = (_fit(side, window, shift) for side in (H, W))
    return swin_windows(H, W, (wh, ww), (sh, sw))


def swin_windows(H: int, W: int, window: tuple[int, int], shift: tuple[int, int]) -> Scheme:
    """Swin's attention in exactly these windows, shifted by exactly so much, as a block of timm records them.

    Args:
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        window: Height and width of a window, in tokens.
        shift: Rows and columns to shift by.
    """
    (wh, ww), (sh, sw) = window, shift
    rows, cols = _rolled(H, wh, sh), _rolled(W, ww, sw)
    queries = _windows(_join(rows, cols, W), wh, ww)
    if not (sh or sw):
        return Scheme("swin", H, W, queries, queries[..., None], pads_attend=True, grid=window)
    apart = _regions(len(rows), wh, sh)[:, None] * 3 + _regions(len(cols), ww, sw)[None, :]
    region = _windows(apart, wh, ww)
    return Scheme("swin_shifted", H, W, queries, queries[..., None], region, pads_attend=True, grid=window)


def pvt(H: int, W: int, ratio: int) -> Scheme:
    """PVT's spatial reduction attention: every token scores one key per ratio x ratio tokens.

    The convolution has no padding, so rows and columns beyond the last whole block are in no key.

    Raises:
        ValueError: If the ratio is longer than a side of the map.
    """
    return _reduced("pvt", H, W, ratio)


def twins_local(H: int, W: int, window: int = 7) -> Scheme:
    """Twins' locally grouped attention: windows, padded at the bottom and on the right, without a mask."""
    rows, cols = _rolled(H, window, 0), _rolled(W, window, 0)
    queries = _windows(_join(rows, cols, W), window, window)
    return Scheme(
        "twins_local", H, W, queries, queries[..., None],
        pads_attend=True, crop_first=True, grid=(window, window),
    )  # fmt: skip


def twins_global(H: int, W: int, ratio: int) -> Scheme:
    """Twins' globally sub-sampled attention: one key per ratio x ratio tokens, as in PVT.

    Raises:
        ValueError: If the ratio is longer than a side of the map.
    """
    return _reduced("twins_global", H, W, ratio)


def maxvit_block(H: int, W: int, window: Side) -> Scheme:
    """MaxViT's block attention: windows of neighbours, without padding.

    Raises:
        ValueError: If the windows do not divide the map.
    """
    wh, ww = _divided(H, W, window, "windows")
    queries = _windows(np.arange(H * W).reshape(H, W), wh, ww)
    return Scheme("maxvit_block", H, W, queries, queries[..., None], grid=(wh, ww))


def maxvit_grid(H: int, W: int, grid: Side) -> Scheme:
    """MaxViT's grid attention: groups of a fixed number of tokens, spread evenly over the whole map.

    Raises:
        ValueError: If the grid does not divide the map.
    """
    gh, gw = _divided(H, W, grid, "a grid")
    flat = np.arange(H * W).reshape(gh, H // gh, gw, W // gw)
    queries = flat.transpose(1, 3, 0, 2).reshape(-1, gh * gw)
    return Scheme("maxvit_grid", H, W, queries, queries[..., None], grid=(gh, gw))


def vit(H: int, W: int, prefix: int = 0) -> Scheme:
    """ViT's global attention: every token scores every token.

    Args:
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        prefix: Tokens before those of the map: a class token, registers.
    """
    every = np.concatenate([PADDING - 1 - np.arange(prefix), np.arange(H * W)])[None]
    return Scheme("vit", H, W, every, every[..., None], grid=(H, W), prefix=prefix)


def families(
    H: int, W: int, G: int, I: int, window: int, ratio: int, lda: Lda = "regions"  # noqa: E741
) -> dict[str, tuple[Scheme, ...]]:  # fmt: skip
    """The layers each method alternates between, on the same map.

    Args:
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        G: CrossFormer's group size.
        I: CrossFormer's interval.
        window: Window of Swin and Twins; Swin shifts by half of it.
        ratio: Spatial reduction of PVT and Twins.
        lda: Form of CrossFormer's LDA, "regions" or "whole".
    """
    make: dict[str, Callable[[], tuple[Scheme, ...]]] = {
        "crossformer": lambda: tuple(crossformer(lsda(H, W, block, G, I, lda)) for block in range(2)),
        "swin": lambda: (swin(H, W, window), swin(H, W, window, window // 2)),
        "pvt": lambda: (pvt(H, W, ratio),),
        "twins": lambda: (twins_local(H, W, window), twins_global(H, W, ratio)),
        "vit": lambda: (vit(H, W),),
    }
    return {name: build() for name, build in make.items()}


def _divided(H: int, W: int, side: Side, what: str) -> tuple[int, int]:
    """Height and width of what must divide a map evenly."""
    h, w = (side, side) if isinstance(side, int) else side
    if H % h or W % w:
        raise SizeError(f"the map is {H} x {W} tokens; {what} of {h} x {w} must divide it evenly")
    return h, w


def _fit(side: int, window: int, shift: int) -> tuple[int, int]:
    """Window and shift along one side: a side that fits into the window is one window, not shifted."""
    return (side, 0) if side <= window else (window, shift)


def _rolled(side: int, window: int, shift: int) -> np.ndarray:
    """Where each position of a rolled and then padded side comes from, -1 for padding."""
    from_ = np.full(ceil(side / window) * window, -1)
    from_[:side] = (np.arange(side) + shift) % side
    return from_


def _regions(padded: int, window: int, shift: int) -> np.ndarray:
    """Swin's three bands along a padded side: all but the last window, its unrolled part, its rolled part."""
    place = np.arange(padded)
    return (place >= padded - window).astype(int) + (place >= padded - shift) if shift else 0 * place


def _join(rows: np.ndarray, cols: np.ndarray, W: int) -> np.ndarray:
    """Flat positions in a map from positions along its sides, -1 where either is padding."""
    return np.where((rows[:, None] >= 0) & (cols[None, :] >= 0), rows[:, None] * W + cols[None, :], -1)


def _windows(values: np.ndarray, h: int, w: int) -> np.ndarray:
    """A padded map cut into windows of h x w: (nG, h * w)."""
    H, W = values.shape
    return values.reshape(H // h, h, W // w, w).transpose(0, 2, 1, 3).reshape(-1, h * w)


def _reduced(name: str, H: int, W: int, ratio: int) -> Scheme:
    if not 1 <= ratio <= min(H, W):
        raise SizeError(f"the reduction is {ratio}; a map of {H} x {W} takes 1 to {min(H, W)}")
    flat = np.arange(H * W)
    whole = flat.reshape(H, W)[: H // ratio * ratio, : W // ratio * ratio]
    keys = _windows(whole, ratio, ratio)[None]
    return Scheme(name, H, W, flat[None], keys, reduction=ratio, grid=(H // ratio, W // ratio))
