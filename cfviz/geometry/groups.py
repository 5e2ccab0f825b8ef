"""Where every token of a CrossFormer is: in its map, in its group, in the photo.

It is all counting, in NumPy, so that the model, the figures and the tests share one geometry. A map of H x W
tokens is cut into groups of Gh x Gw tokens, either neighbours (short distance attention, SDA) or tokens I
apart (long distance attention, LDA); CrossFormer, section 3.2. A map that does not divide evenly is padded at
the bottom and on the right.

`grouping` alone decides how large the groups are, `lsda` which kind of attention a block uses. There are two
forms of LDA. Over "regions", as in the paper, groups are G x G, so a map larger than G * I is cut into
several regions first. Over the "whole" map, as in the authors' detectors and segmenters, there are I x I
groups of ceil(H / I) x ceil(W / I) tokens: they grow with the map and need not be square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil
from typing import Literal, get_args

import numpy as np

Kind = Literal["sda", "lda"]
Interval = int | Literal["adaptive"]
Lda = Literal["regions", "whole"]

LDA: tuple[Lda, ...] = get_args(Lda)

CEL_KERNELS: tuple[tuple[int, ...], ...] = ((4, 8, 16, 32), (2, 4), (2, 4), (2, 4))
CEL_STRIDES: tuple[int, ...] = (4, 2, 2, 2)
PATCH = 32  # an input must be a multiple of the product of the strides
MASKED = -1e6  # what the authors add to the logits of padded keys


@dataclass(frozen=True)
class Grouping:
    """How one attention block cuts a map of H x W tokens into groups of Gh x Gw.

    Attributes:
        kind: "sda" (members are neighbours) or "lda" (members are I tokens apart).
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        Gh: Height of a group, in tokens.
        I: Interval between members of a group, in tokens; 1 for SDA.
        Gw: Width of a group, in tokens; if left out, groups are square.
    """

    kind: Kind
    H: int
    W: int
    Gh: int
    I: int = 1  # noqa: E741
    Gw: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("sda", "lda"):
            raise ValueError(f"kind is {self.kind!r}; expected 'sda' or 'lda'")
        if self.Gw == 0:
            object.__setattr__(self, "Gw", self.Gh)
        sides = {"G": self.Gh} if self.Gh == self.Gw else {"Gh": self.Gh, "Gw": self.Gw}
        for name, value in {"H": self.H, "W": self.W, **sides, "I": self.I}.items():
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number from 1")
        if self.kind == "sda" and self.I != 1:
            raise ValueError(f"the interval of SDA is {self.I}; its members are neighbours, so it must be 1")

    @property
    def G(self) -> int:  # noqa: N802
        """Side of a square group, in tokens.

        Raises:
            ValueError: If groups are not square, so that no single number describes them.
        """
        if self.Gh != self.Gw:
            raise ValueError(f"groups are {self.Gh} x {self.Gw}, not square; use `Gh` and `Gw`")
        return self.Gh

    @property
    def step(self) -> int:
        """Side of a region of square groups; a map is padded to a multiple of it: G for SDA, else G * I."""
        return self.G * self.I

    @property
    def size(self) -> str:
        """Height and width of a group, to read: "25 x 38"."""
        return f"{self.Gh} x {self.Gw}"

    @property
    def regions(self) -> tuple[int, int]:
        """Regions down and across; each holds one group of SDA, or I x I interleaved groups of LDA."""
        return ceil(self.H / (self.Gh * self.I)), ceil(self.W / (self.Gw * self.I))

    @property
    def Hp(self) -> int:  # noqa: N802
        """Height of the padded map, in tokens."""
        return self.regions[0] * self.Gh * self.I

    @property
    def Wp(self) -> int:  # noqa: N802
        """Width of the padded map, in tokens."""
        return self.regions[1] * self.Gw * self.I

    @property
    def padded(self) -> bool:
        """Whether the map had to be padded."""
        return (self.Hp, self.Wp) != (self.H, self.W)

    @property
    def N(self) -> int:  # noqa: N802
        """Tokens in a group, padding included."""
        return self.Gh * self.Gw

    @property
    def nG(self) -> int:  # noqa: N802
        """Number of groups."""
        return self.Hp * self.Wp // self.N

    @cached_property
    def index(self) -> np.ndarray:
        """Flat position of every member in the padded Hp x Wp map: int64 (nG, N).

        Groups are in the authors' order: SDA row by row; LDA by row of the region, column of the region, row
        of the offset, column of the offset (r1 r2 i1 i2). Members are row by row (g1 g2).
        """
        (rows, cols), I = self.regions, self.I  # noqa: E741
        flat = np.arange(self.Hp * self.Wp).reshape(rows, self.Gh, I, cols, self.Gw, I)
        return flat.transpose(0, 3, 2, 5, 1, 4).reshape(self.nG, self.N)  # r1 r2 i1 i2, g1 g2

    @cached_property
    def members(self) -> np.ndarray:
        """Flat position of every member in the H x W map, -1 for padding: int64 (nG, N)."""
        row, col = np.divmod(self.index, self.Wp)
        return np.where((row < self.H) & (col < self.W), row * self.W + col, -1)

    @property
    def valid(self) -> np.ndarray:
        """Which members are tokens of the map rather than padding: bool (nG, N)."""
        return self.members >= 0

    def group_of(self, row: int, col: int) -> tuple[int, int]:
        """The (group, member) of the token at a row and a column of the padded map.

        Raises:
            ValueError: If the padded map has no such token.
        """
        if not (0 <= row < self.Hp and 0 <= col < self.Wp):
            raise ValueError(
                f"there is no token ({row}, {col}); rows go to {self.Hp - 1}, columns to {self.Wp - 1}"
            )
        I = self.I  # noqa: E741
        (r1, down), (r2, across) = divmod(row, self.Gh * I), divmod(col, self.Gw * I)
        (g1, i1), (g2, i2) = divmod(down, I), divmod(across, I)
        group = ((r1 * self.regions[1] + r2) * I + i1) * I + i2
        return group, g1 * self.Gw + g2

    @cached_property
    def patterns(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct key masks, and which of them each group has: bool (P, N), int64 (nG,).

        A large padded map has thousands of groups but only a few patterns of which members are tokens, so
        whatever depends on the mask is stored once per pattern.
        """
        distinct, which = np.unique(self.valid, axis=0, return_inverse=True)
        return distinct, which.reshape(-1)

    def gather(self, values: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Cut a map into groups.

        Args:
            values: (H, W, ...).
            fill: Value of padding.

        Returns:
            (nG, N, ...).
        """
        if values.shape[:2] != (self.H, self.W):
            raise ValueError(f"the map is {values.shape[:2]}; expected {(self.H, self.W)}")
        flat = values.reshape(self.H * self.W, *values.shape[2:])
        out = flat[self.members]  # nG, N, ...
        out[~self.valid] = fill
        return out

    def scatter(self, groups: np.ndarray) -> np.ndarray:
        """Put groups back into their map, without the padding.

        Args:
            groups: (nG, N, ...).

        Returns:
            (H, W, ...).
        """
        if groups.shape[:2] != (self.nG, self.N):
            raise ValueError(f"the groups are {groups.shape[:2]}; expected {(self.nG, self.N)}")
        out = np.empty((self.H * self.W, *groups.shape[2:]), groups.dtype)
        out[self.members[self.valid]] = groups[self.valid]
        return out.reshape(self.H, self.W, *groups.shape[2:])


@lru_cache(maxsize=512)
def grouping(kind: Kind, H: int, W: int, G: int, I: Interval = 1, lda: Lda = "regions") -> Grouping:  # noqa: E741
    """The grouping of a map, cached so that its arrays are made once.

    Args:
        kind: "sda" or "lda".
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
        G: Side of a group of SDA and of LDA over regions, in tokens.
        I: Interval of LDA in tokens, or "adaptive" for ceil(max(H, W) / G); not used by SDA.
        lda: "regions" or "whole", the form of LDA: over the whole map, groups are ceil(H / I) x ceil(W / I).

    Raises:
        ValueError: If a name is unknown or a number is not a whole number from 1.
    """
    if lda not in LDA:
        raise ValueError(f"lda is {lda!r}; expected {' or '.join(map(repr, LDA))}")
    if kind == "sda":
        return Grouping("sda", H, W, G)
    cut = Grouping(
        kind, H, W, G, ceil(max(H, W) / G) if I == "adaptive" else I
    )  # raises if a number does not fit
    return cut if lda == "regions" else Grouping(kind, H, W, ceil(H / cut.I), cut.I, ceil(W / cut.I))


def lsda(H: int, W: int, block: int, G: int, I: Interval, lda: Lda = "regions") -> Grouping:  # noqa: E741
    """How block number `block` of a stage cuts a map: the model's rule.

    Even blocks are SDA, odd blocks LDA. If the shorter side of the map is at most G, every block is SDA: with
    LDA over regions, one group holds the whole map (G becomes the longer side); with LDA over the whole map,
    groups are as wide as the shorter side (G becomes the shorter side).
    """
    if min(H, W) <= G:
        return grouping("sda", H, W, max(H, W) if lda == "regions" else min(H, W), lda=lda)
    return grouping("sda" if block % 2 == 0 else "lda", H, W, G, I, lda)


def map_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The token maps (H, W) of the four stages for an input of height x width pixels.

    Raises:
        ValueError: If a side is not a positive multiple of 32.
    """
    if height < PATCH or width < PATCH or height % PATCH or width % PATCH:
        raise ValueError(
            f"the input is {height} x {width} pixels; CrossFormer takes heights and widths that are "
            f"multiples of {PATCH}, for example {_nearest(height)} x {_nearest(width)}"
        )
    sizes, stride = [], 1
    for s in CEL_STRIDES:
        stride *= s
        sizes.append((height // stride, width // stride))
    return tuple(sizes)


def _nearest(side: int) -> int:
    return max(PATCH, round(side / PATCH) * PATCH)


def offsets(Gh: int, Gw: int) -> np.ndarray:
    """Every offset (dh, dw), query minus key, inside a group of Gh x Gw: int64 ((2Gh-1) * (2Gw-1), 2).

    Row by row, from (1-Gh, 1-Gw) to (Gh-1, Gw-1); the inputs of the dynamic position bias (section 3.3).
    """
    dh, dw = np.arange(1 - Gh, Gh), np.arange(1 - Gw, Gw)
    return np.stack(np.meshgrid(dh, dw, indexing="ij"), -1).reshape(-1, 2)


def relative_index(Gh: int, Gw: int) -> np.ndarray:
    """Which row of `offsets` belongs to each (query, key): int64 (Gh*Gw, Gh*Gw)."""
    row, col = np.divmod(np.arange(Gh * Gw), Gw)
    dh = row[:, None] - row[None, :] + Gh - 1
    dw = col[:, None] - col[None, :] + Gw - 1
    return dh * (2 * Gw - 1) + dw


def cel_channels(dim: int, kernels: Sequence[int]) -> tuple[int, ...]:
    """Output channels of each kernel of a cross-scale embedding layer: 1/2, 1/4, ..., the last share twice.

    Args:
        dim: Channels of the whole layer, for example 96.
        kernels: Kernel sides in pixels or tokens, smallest first, for example (4, 8, 16, 32).

    Returns:
        For example (48, 24, 12, 12).
    """
    last = len(kernels) - 1
    return tuple(dim // 2 ** min(i + 1, last) for i in range(len(kernels)))


def token_box(stage: int, row: int, col: int) -> tuple[int, int, int, int]:
    """The square of the photo that a token stands for: (top, left, bottom, right) in input pixels."""
    side = int(np.prod(CEL_STRIDES[: stage + 1]))
    return row * side, col * side, (row + 1) * side, (col + 1) * side


def cel_box(stage: int, kernel: int, row: int, col: int) -> tuple[int, int, int, int]:
    """What one kernel of the embedding layer before a stage covers, for the token at (row, col).

    For stage 0 these are the pixels that the kernel reads. For later stages it is the square of the tokens
    that it reads, in pixels of the photo, not what those tokens have seen themselves.

    Args:
        stage: 0 to 3.
        kernel: Side of the kernel, one of `CEL_KERNELS[stage]`.
        row: Row of the token in the stage's map.
        col: Column of the token in the stage's map.

    Returns:
        (top, left, bottom, right) in input pixels; below 0 or past the photo where the kernel reads padding.
    """
    if kernel not in CEL_KERNELS[stage]:
        raise ValueError(f"stage {stage} has no kernel of {kernel}; it has {CEL_KERNELS[stage]}")
    unit = int(np.prod(CEL_STRIDES[:stage]))  # side in pixels of what the kernel reads
    stride, pad = CEL_STRIDES[stage], (kernel - CEL_STRIDES[stage]) // 2
    top, left = (row * stride - pad) * unit, (col * stride - pad) * unit
    return top, left, top + kernel * unit, left + kernel * unit
