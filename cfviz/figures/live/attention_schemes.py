"""Attention of other models than CrossFormer for the attention figure, in the form of `attention.Unit`.

Who attends to whom comes from a `Scheme` in place of a `Grouping`. In the header of the message
(`cfviz/figures/live/attention.py`) it is an entry of `groupings` like any other, with

    kind      the scheme's name
    short     what the block is called in the figure, such as "SW-MSA"
    H, W      of the map, in tokens
    Gh, Gw    the grid in which the keys of a group lie
    nG        groups
    side      side of a key, in tokens
    prefix    keys without a place (class, registers), which come last
    masked    what is added to the logits of pairs that a mask separates
    keys      uint32 (nG, N): the first token of each key, flat; 2^32 - 1 for padding, 2^32 - 2 for `prefix`
    region    null or uint8 (nG, N): members of different regions are separated
    bias      whether the block has a position bias; without one, its entry has no "bias"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cfviz import point_names
from cfviz.geometry.schemes import PADDING, SWIN_MASK, Scheme
from cfviz.stats import softmax
from cfviz.trace import Trace
from cfviz.words import figure_words, section_words

from .compare import by_token
from .logits import Encoded, bias_by_offset, quantise, restore
from .message import Arrays

NOWHERE, PREFIX = 2**32 - 1, 2**32 - 2
SHORT = {
    "swin": "W-MSA",
    "swin_shifted": "SW-MSA",
    "twins_local": "LSA",
    "twins_global": "GSA",
    "pvt": "SRA",
    "maxvit_block": "Window",
    "maxvit_grid": "Grid",
    "vit": "MSA",
}  # as in the papers
FAR = frozenset({"swin_shifted", "twins_global", "maxvit_grid"})  # the second of two kinds of block
EVERYTHING = 1 << 40  # bytes


@dataclass(frozen=True, eq=False)
class SchemeUnit:
    """The attention of one block of one stage.

    Attributes:
        stage: From 0.
        block: From 0.
        grouping: Which query attends to which keys.
        content: Logits without bias and mask, float32 (nG, nH, Nq, Nk); None shows the keys alone.
        bias: Position bias, float32 (nH, Nq, Nk); None if there is none.
        probs: The model's own attention (nG, nH, Nq, Nk), to measure the error against.
    """

    stage: int
    block: int
    grouping: Scheme
    content: np.ndarray | None = None
    bias: np.ndarray | None = None
    probs: np.ndarray | None = None

    @property
    def heads(self) -> int:
        """The number of heads; 0 without attention."""
        return 0 if self.content is None else self.content.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that this unit takes in a message, groups left out."""
        s, (gh, gw) = self.grouping, self.grouping.grid
        return (
            s.H * s.W * self.heads * (2 * s.keys.shape[1] + 8) + self.heads * (2 * gh - 1) * (2 * gw - 1) * 4
        )

    def encoded(self) -> Encoded:
        """The block as it is sent."""
        s = self.grouping
        assert self.content is not None  # only blocks with attention are encoded
        assert self.probs is not None
        content = _rows(self.content, s)  # H*W, nH, N
        codes, high, span = quantise(content)
        logits = restore(codes, high, span)
        if self.bias is not None:
            logits += _rows(np.broadcast_to(self.bias, self.content.shape), s)
        if s.region is not None:
            apart = s.region[:, None, :, None] != s.region[:, None, None, :]
            logits += _rows(np.where(apart, np.float32(SWIN_MASK), np.float32(0)), s)
        shown, truth = softmax(logits), _rows(self.probs, s)
        table = None if self.bias is None else bias_by_offset(self.bias, *s.grid)
        error = float(np.abs(shown - truth).max())
        return Encoded({"codes": codes, "high": high, "span": span}, table, float(shown.max()), error)


def scheme_entry(s: Scheme, arrays: Arrays, bias: bool) -> dict[str, Any]:
    """The header's entry for a scheme, with its arrays added to `arrays`."""
    first = _last(s.keys[:, :, 0], s.prefix)
    places = np.where(first == PADDING, NOWHERE, np.where(first < PADDING, PREFIX, first)).astype(np.uint32)
    return {
        "kind": s.name,
        "short": SHORT[s.name],
        "H": s.H,
        "W": s.W,
        "Gh": s.grid[0],
        "Gw": s.grid[1],
        "nG": len(s.keys),
        "side": s.reduction,
        "prefix": s.prefix,
        "masked": SWIN_MASK,
        "keys": arrays.array(places),
        "region": None if s.region is None else arrays.array(s.region.astype(np.uint8)),
        "bias": bias,
    }


def units(trace: Trace) -> list[SchemeUnit]:
    """The blocks of a trace of timm's model; those whose `content` was not watched show their keys alone."""
    found = []
    for s, stage in enumerate(trace.schemes):
        for b, scheme in enumerate(stage):
            names = (point_names.attention(s, b, point) for point in ("content", "bias", "probs"))
            content, bias, probs = (trace.arrays.get(name) for name in names)
            whole = content is not None and probs is not None
            found.append(SchemeUnit(s, b, scheme, *((content, bias, probs) if whole else ())))
    return found


def words(family: str, lang: str = "en") -> dict[str, str]:
    """The figure's words for a family: those of all other models in place of CrossFormer's, then its own."""
    told = figure_words("attention", lang)
    for whose in ("other", family.lower().replace(" ", "")):
        start = f"family.{whose}."
        found = section_words("attention", lang).items()
        told |= {name.removeprefix(start): text for name, text in found if name.startswith(start)}
    return told


def _rows(x: np.ndarray, s: Scheme) -> np.ndarray:
    """(nG, n, Nq, Nk) in the order of the map, without padding's queries, `prefix` last: (H*W, n, N)."""
    return _last(by_token(x, s, EVERYTHING), s.prefix)


def _last(x: np.ndarray, prefix: int) -> np.ndarray:
    """The first `prefix` entries of the last axis moved to its end."""
    return np.concatenate([x[..., prefix:], x[..., :prefix]], axis=-1)
