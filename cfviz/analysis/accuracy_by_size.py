"""What accuracies at other input sizes show: differences photo by photo, and the verdict on DPB.

A difference is tested with McNemar's exact test, and the tests of one results file are corrected together
(Holm), so that among dozens of comparisons none is called significant because there are so many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cfviz.framing import Size, as_pair, as_size
from cfviz.geometry import Lda, lsda, map_sizes
from cfviz.stats import holm, mcnemar, mean_change, share_change, unpack_hits

LEVEL = 0.05  # of significance
Method = tuple[str, str]  # (model, bias)
Tested = dict[tuple[str, Method], list["Difference"]]  # by (window, what is compared with)


@dataclass(frozen=True)
class Difference:
    """How many more photos one row gets right than another, on the same photos, as a share of all.

    Attributes:
        size: Side of the input in pixels, or (height, width).
        window: One of `options.WINDOWS`.
        group_size: G of that window.
        value: The difference, -1 to 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Photos.
        paired: Whether the interval is for paired photos, not for two separate shares.
        interval: I of that window, one per stage, or "adaptive"; None if unknown.
        lda: Form of long distance attention.
        lost: Photos that only the other row gets right; of a change of a gap, photos whose gap fell.
        won: Photos that only this row gets right, or whose gap rose.
        p: Of the exact test; None without recorded photos.
        corrected: The same, corrected for all comparisons that were made together; None before that.
        comparisons: How many those are.
    """

    size: Size
    window: str
    group_size: int
    value: float
    low: float
    high: float
    n: int
    paired: bool = True
    interval: Any = None
    lda: Lda = "regions"
    lost: int = 0
    won: int = 0
    p: float | None = None
    corrected: float | None = None
    comparisons: int = 0

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is significant, else 0.

        Without recorded photos there is no test, and the 95 % interval decides.
        """
        p = self.p if self.corrected is None else self.corrected
        if p is None:
            return int(self.low > 0) - int(self.high < 0)
        return int(np.sign(self.won - self.lost)) if p < LEVEL else 0


def _size(row: Mapping[str, Any]) -> Size:
    """A row's size; JSON knows no tuples."""
    return row["size"] if isinstance(row["size"], int) else as_size(*row["size"])


def _difference(
    row: Mapping[str, Any],
    found: tuple[float, float, float],
    counts: tuple[int, int] | None,
) -> Difference:
    """A difference at a row's place, tested if the numbers of photos lost and won are known."""
    lost, won = counts or (0, 0)
    place = (_size(row), row["window"], row["group_size"])
    more = {"interval": row.get("interval"), "lda": row.get("lda", "regions"), "lost": lost, "won": won}
    p = None if counts is None else mcnemar(lost, won)
    return Difference(*place, *found, row["n"], counts is not None, **more, p=p)


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
    if not ("hits" in one and "hits" in other):
        return _difference(one, unpaired_difference(one, other), None)
    mine, theirs = unpack_hits(one["hits"], one["n"]), unpack_hits(other["hits"], other["n"])
    counts = int((theirs & ~mine).sum()), int((mine & ~theirs).sum())
    return _difference(one, paired_difference(mine, theirs), counts)


def curve(rows: Iterable[Mapping[str, Any]], model: str, bias: str, window: str) -> list[Mapping[str, Any]]:
    """The rows of one line of a figure: those of square inputs, by size."""
    found = [row for row in rows_of(rows, (model, bias), window) if isinstance(row["size"], int)]
    return sorted(found, key=lambda row: row["size"])


def rows_of(rows: Iterable[Mapping[str, Any]], method: Method, window: str) -> list[Mapping[str, Any]]:
    """All rows of a (model, bias) and a window, the smallest inputs first."""
    found = [row for row in rows if (row["model"], row["bias"], row["window"]) == (*method, window)]
    return sorted(found, key=lambda row: (not isinstance(row["size"], int), np.prod(as_pair(_size(row)))))


def differences(
    rows: Iterable[Mapping[str, Any]], one: Method, other: Method, window: str
) -> list[Difference]:
    """One (model, bias) minus another, at every size that has both: squares by size, then rectangles."""
    return [difference(*pair) for pair in _pairs(rows, one, other, window)]


def _pairs(
    rows: Iterable[Mapping[str, Any]], one: Method, other: Method, window: str
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    rows = list(rows)
    there = {_size(row): row for row in rows_of(rows, other, window)}
    return [(row, there[_size(row)]) for row in rows_of(rows, one, window) if _size(row) in there]


def tested(rows: Iterable[Mapping[str, Any]], one: Method, others: Iterable[Method]) -> Tested:
    """One (model, bias) minus each of others, at every size and window, corrected for all these comparisons.

    A comparison counts once, even if two windows are the same groups at that size; where no photo differs,
    both rows are mostly one and the same computation, so nothing is compared.
    """
    rows = list(rows)
    pairs = {
        (window, two): _pairs(rows, one, two, window)
        for two in others
        for window in dict.fromkeys(row["window"] for row in rows)
    }
    p: dict[Any, float] = {}  # of each comparison, by the photos that both rows got right
    keys: dict[tuple[str, Method], list[Any]] = {}
    found: Tested = {}
    for place, several in pairs.items():
        found[place] = [difference(*pair) for pair in several]
        keys[place] = [
            (place[1], d.size, a.get("hits"), b.get("hits"))
            for d, (a, b) in zip(found[place], several, strict=True)
        ]
        for key, d in zip(keys[place], found[place], strict=True):
            if d.p is not None and d.lost + d.won:
                p[key] = d.p
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    return {
        place: [
            replace(d, corrected=corrected[key], comparisons=len(p)) if key in corrected else d
            for key, d in zip(keys[place], several, strict=True)
        ]
        for place, several in found.items()
    }


def comparisons(found: Tested) -> int:
    """For how many comparisons the tests were corrected."""
    return max((d.comparisons for several in found.values() for d in several), default=0)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one comparison, over all sizes but the trained one.

    Attributes:
        wins: Sizes at which the first is significantly better.
        losses: Sizes at which it is significantly worse.
        open: Sizes without a significant difference.
        best: The largest difference.
        worst: The smallest.
    """

    wins: tuple[Size, ...]
    losses: tuple[Size, ...]
    open: tuple[Size, ...]
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
    the trained size too, and cancels out here. Tested by the signs of the changes, corrected for the sizes.
    """
    rows = list(rows)
    there = {_size(row): row for row in rows_of(rows, other, window) if "hits" in row}
    each = {
        _size(row): (
            row,
            unpack_hits(row["hits"], row["n"]).astype(int) - unpack_hits(two["hits"], two["n"]),
        )
        for row in rows_of(rows, one, window)
        if "hits" in row and (two := there.get(_size(row))) and two["n"] == row["n"]
    }
    if trained_size not in each:
        return []
    start, base = each.pop(trained_size)
    found = [
        _difference(row, _mean(gap - base), (int((gap < base).sum()), int((gap > base).sum())))
        for row, gap in each.values()
        if row["n"] == start["n"]
    ]
    corrected = holm([d.p or 0.0 for d in found])
    return [replace(d, corrected=p) for d, p in zip(found, corrected, strict=True)]


def has_new_offsets(d: Difference, trained: Sequence[int], depths: Sequence[int] = (1, 1, 1, 1)) -> bool:
    """Whether the groups of a window have offsets, in any block, that training never showed.

    Args:
        d: At any size and window; no group is wider than its map needs.
        trained: Side of the largest groups of training, one per stage.
        depths: Blocks per stage.
    """
    for s, (H, W) in enumerate(map_sizes(*as_pair(d.size))):
        I: Any = d.interval or (1,) * len(depths)  # noqa: E741
        I = I if isinstance(I, str) else I[s]  # noqa: E741
        for block in range(min(depths[s], 2)):
            groups = lsda(H, W, block, d.group_size, I, d.lda)
            if max(groups.Gh, groups.Gw) > trained[s]:
                return True
    return False


def extrapolation_gains(
    found: Tested,
    window: str,
    methods: Iterable[Method],
    trained: Sequence[int],
    trained_size: int = 224,
    depths: Sequence[int] = (1, 1, 1, 1),
) -> list[tuple[Difference, str]]:
    """What a DPB evaluated at new offsets gains over a method that evaluates it at none.

    Args:
        found: From `tested`.
        window: One of `options.WINDOWS`.
        methods: What it is compared with: methods of resizing a table, or "none", of the same model.
        trained: Side of the largest groups of training, one per stage.
        trained_size: In pixels.
        depths: Blocks per stage.

    Returns:
        The difference and the bias compared with, for every square above the trained one with new offsets.
    """
    return [
        (d, method[1])
        for method in methods
        for d in found.get((window, method), ())
        if isinstance(d.size, int) and d.size > trained_size and has_new_offsets(d, trained, depths)
    ]


def extrapolation_break(found: Iterable[tuple[Difference, str]]) -> tuple[Difference, str] | None:
    """Where extrapolation breaks: the smallest input size at which it is significantly worse.

    Args:
        found: As `extrapolation_gains` gives it.

    Returns:
        The largest loss at that size and the method compared with; None where no loss is significant, which
        does not prove that there is none.
    """
    lost = [(as_pair(d.size), d.value, method, d) for d, method in found if d.sign < 0]
    if not lost:
        return None
    _, _, method, worst = min(lost, key=lambda one: one[:3])
    return worst, method
