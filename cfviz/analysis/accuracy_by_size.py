"""What accuracies at other input sizes show: differences photo by photo, and the verdict on DPB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfviz.geometry import map_sizes
from cfviz.stats import mean_change, share_change, unpack_hits


@dataclass(frozen=True)
class Difference:
    """How many more photos one row gets right than another, on the same photos, as a share of all.

    Attributes:
        size: Input side in pixels.
        window: "fixed", "adaptive" or "scaled".
        group_size: G of that window.
        value: The difference, -1 to 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Photos.
        paired: Whether the interval is for paired photos, not for two separate shares.
    """

    size: int
    window: str
    group_size: int
    value: float
    low: float
    high: float
    n: int
    paired: bool = True

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def paired_difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The difference of two shares measured on the same photos, and its 95 % interval.

    Args:
        one: Which photos were right, bool (n,).
        other: Which of the same photos were right otherwise, bool (n,).

    Returns:
        Difference, low, high, as from `stats.share_change`.

    Raises:
        ValueError: If the two are not of the same photos.
    """
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise ValueError(f"got hits {one.shape} and {other.shape}; expected two of the same photos")
    return share_change(int((other & ~one).sum()), int((one & ~other).sum()), len(one))


def _mean(each: np.ndarray) -> tuple[float, float, float]:
    """Mean of one whole number per photo, and its 95 % interval."""
    return mean_change(int(each.sum()), int((each**2).sum()), len(each))


def unpaired_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float, float]:
    """As `paired_difference`, for rows without recorded photos: wider, Newcombe's hybrid of two intervals."""
    value = one["value"] - other["value"]
    low = value - np.hypot(one["value"] - one["low"], other["high"] - other["value"])
    high = value + np.hypot(one["high"] - one["value"], other["value"] - other["low"])
    return value, float(low), float(high)


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    """One row minus another of the same size, window and photos."""
    if (one["size"], one["window"], one["n"]) != (other["size"], other["window"], other["n"]):
        raise ValueError("the rows are of different places or photos; expected the same size, window and n")
    known = "hits" in one and "hits" in other
    if known:
        found = paired_difference(unpack_hits(one["hits"], one["n"]), unpack_hits(other["hits"], other["n"]))
    else:
        found = unpaired_difference(one, other)
    return Difference(one["size"], one["window"], one["group_size"], *found, one["n"], known)


def curve(rows: Iterable[Mapping[str, Any]], model: str, bias: str, window: str) -> list[Mapping[str, Any]]:
    """The rows of one line of a figure, by size."""
    found = [row for row in rows if (row["model"], row["bias"], row["window"]) == (model, bias, window)]
    return sorted(found, key=lambda row: row["size"])


def differences(
    rows: Iterable[Mapping[str, Any]], one: tuple[str, str], other: tuple[str, str], window: str
) -> list[Difference]:
    """One (model, bias) minus another, at every size that has both."""
    rows = list(rows)
    there = {row["size"]: row for row in curve(rows, *other, window)}
    return [difference(row, there[row["size"]]) for row in curve(rows, *one, window) if row["size"] in there]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one comparison, over all sizes but the trained one.

    Attributes:
        wins: Sizes at which the first is significantly better (95 %).
        losses: Sizes at which it is significantly worse.
        open: Sizes without a significant difference.
        best: The largest difference.
        worst: The smallest.
    """

    wins: tuple[int, ...]
    losses: tuple[int, ...]
    open: tuple[int, ...]
    best: Difference
    worst: Difference

    @property
    def code(self) -> str:
        """ "better", "worse", "mixed" or "open"."""
        if self.wins and self.losses:
            return "mixed"
        return "better" if self.wins else "worse" if self.losses else "open"


def verdict(found: Iterable[Difference], trained_size: int | None = 224) -> Verdict | None:
    """The outcome of a comparison; None without another size; all sizes count if `trained_size` is None."""
    found = [d for d in found if d.size != trained_size]
    if not found:
        return None
    by_sign = {sign: tuple(d.size for d in found if d.sign == sign) for sign in (1, -1, 0)}
    best, worst = max(found, key=lambda d: d.value), min(found, key=lambda d: d.value)
    return Verdict(by_sign[1], by_sign[-1], by_sign[0], best, worst)


def drift(
    rows: Iterable[Mapping[str, Any]],
    one: tuple[str, str],
    other: tuple[str, str],
    window: str,
    trained_size: int = 224,
) -> list[Difference]:
    """How the difference of two (model, bias) changes from the trained size to every other, photo by photo.

    Two models differ by more than their bias: each is one training run. What is due to the run is there at
    the trained size too, and cancels out here.
    """
    rows = list(rows)
    there = {row["size"]: row for row in curve(rows, *other, window) if "hits" in row}
    each = {
        row["size"]: (
            row,
            unpack_hits(row["hits"], row["n"]).astype(int) - unpack_hits(two["hits"], two["n"]),
        )
        for row in curve(rows, *one, window)
        if "hits" in row and (two := there.get(row["size"])) and two["n"] == row["n"]
    }
    if trained_size not in each:
        return []
    start, base = each.pop(trained_size)
    return [
        Difference(size, window, row["group_size"], *_mean(gap - base), row["n"])
        for size, (row, gap) in each.items()
        if row["n"] == start["n"]
    ]


def has_new_offsets(size: int, group_size: int, trained: Sequence[int]) -> bool:
    """Whether groups of G x G at an input size have offsets, at any stage, that training never showed.

    Args:
        size: In pixels; no group is wider than its map.
        group_size: G.
        trained: Side of the largest groups of training, one per stage.
    """
    sides = [height for height, _ in map_sizes(size, size)]
    return any(min(group_size, side) > G for side, G in zip(sides, trained, strict=True))


def extrapolation_gains(
    rows: Iterable[Mapping[str, Any]],
    window: str,
    methods: Iterable[str],
    trained: Sequence[int],
    trained_size: int = 224,
) -> list[tuple[Difference, str]]:
    """What a DPB evaluated at new offsets gains over a method that evaluates it at none.

    Args:
        rows: Of a results file.
        window: "fixed", "adaptive" or "scaled".
        methods: What it is compared with: methods of resizing a table, or "none".
        trained: Side of the largest groups of training, one per stage.
        trained_size: In pixels.

    Returns:
        The difference and the method compared with, for every size above the trained one with new offsets.
    """
    rows = list(rows)
    return [
        (d, method)
        for method in methods
        for d in differences(rows, ("dpb", "own"), ("dpb", method), window)
        if d.size > trained_size and has_new_offsets(d.size, d.group_size, trained)
    ]


def extrapolation_break(found: Iterable[tuple[Difference, str]]) -> tuple[Difference, str] | None:
    """Where extrapolation breaks: the smallest input size at which it is significantly worse.

    Args:
        found: As `extrapolation_gains` gives it.

    Returns:
        The largest loss at that size and the method compared with; None where no loss is significant, which
        does not prove that there is none.
    """
    lost = [(d.size, d.value, method, d) for d, method in found if d.sign < 0]
    if not lost:
        return None
    _, _, method, worst = min(lost, key=lambda one: one[:3])
    return worst, method
