"""Accuracy at other sizes: paired intervals, the verdict, where extrapolation breaks; worked out by hand."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfviz.analysis import accuracy_by_size as accuracy


def row(hits: np.ndarray, bias: str = "own", size: int = 256, **more) -> dict:
    packed = base64.b64encode(np.packbits(hits).tobytes()).decode()
    n, right = len(hits), int(hits.sum())
    place = {"model": "dpb", "bias": bias, "window": "scaled", "size": size, "group_size": 8}
    return {
        **place,
        "correct": right,
        "n": n,
        "value": right / n,
        "low": 0.4,
        "high": 0.8,
        "hits": packed,
        **more,
    }


def test_the_paired_interval_of_a_textbook_case() -> None:
    """Agresti's approval ratings: of 1600 people asked twice, 150 went from yes to no, 86 from no to yes."""
    before = np.r_[np.ones(944, bool), np.zeros(656, bool)]
    after = np.r_[np.ones(794, bool), np.zeros(150, bool), np.ones(86, bool), np.zeros(570, bool)]
    value, low, high = accuracy.paired_difference(after, before)
    assert value == pytest.approx(-0.04)
    assert (round(low, 3), round(high, 3)) == (-0.059, -0.021)
    with pytest.raises(ValueError, match="two of the same photos"):
        accuracy.paired_difference(after, before[1:])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_swapping_the_sides_mirrors_the_paired_interval(hits: list[tuple[bool, bool]]) -> None:
    one, other = np.array(hits).T
    value, low, high = accuracy.paired_difference(one, other)
    back = accuracy.paired_difference(other, one)
    assert back == pytest.approx((-value, -high, -low))
    assert low < high
    assert low <= value + 1 / len(hits)


def test_the_paired_interval_is_narrower_than_the_unpaired_one() -> None:
    rng = np.random.default_rng(0)
    one = rng.random(400) < 0.6
    other = one.copy()
    other[:8] = ~other[:8]
    rows = row(one), row(other, "bicubic")
    same = accuracy.difference(*rows)
    apart = accuracy.difference(_without(rows[0]), _without(rows[1]))
    assert same.paired
    assert not apart.paired
    assert same.value == pytest.approx(apart.value)
    assert same.high - same.low < (apart.high - apart.low) / 3
    with pytest.raises(ValueError, match="same size, window and n"):
        accuracy.difference(rows[0], {**rows[1], "size": 288})


def _without(whole: dict) -> dict:
    return {name: value for name, value in whole.items() if name != "hits"}


def test_the_verdict_counts_significant_sizes() -> None:
    good, bad = np.arange(100) < 80, np.arange(100) < 40
    rows = [row(good, size=256), row(bad, "bicubic", 256), row(bad, size=448), row(good, "bicubic", 448)]
    rows += [row(good, size=320), row(good, "bicubic", 320), row(good, size=224), row(bad, "bicubic", 224)]
    found = accuracy.differences(rows, ("dpb", "own"), ("dpb", "bicubic"), "scaled")
    assert [d.size for d in found] == [224, 256, 320, 448]
    verdict = accuracy.verdict(found)
    assert (verdict.wins, verdict.losses, verdict.open) == ((256,), (448,), (320,))
    assert verdict.code == "mixed"
    assert (verdict.best.size, verdict.worst.size) == (256, 448)
    assert accuracy.verdict([d for d in found if d.size == 224]) is None
    assert accuracy.verdict([d for d in found if d.size == 320]).code == "open"
    assert [r["size"] for r in accuracy.curve(rows, "dpb", "own", "scaled")] == [224, 256, 320, 448]


SEVEN = (7, 7, 7, 7)


def test_extrapolation_breaks_at_the_smallest_significant_loss() -> None:
    good, bad, worse = (np.arange(100) < n for n in (80, 60, 40))
    rows = [row(good, size=size) for size in (160, 224, 256)] + [row(worse, size=320), row(worse, size=384)]
    for bias, hits in (("bicubic", bad), ("none", good)):
        rows += [row(hits, bias, size) for size in (160, 224, 256, 320, 384)]

    def breaks(rows, window, ways, trained):
        return accuracy.extrapolation_break(accuracy.extrapolation_gains(rows, window, ways, trained))

    found, way = breaks(rows, "scaled", ("bicubic", "none"), SEVEN)
    assert (found.size, way) == (320, "none")
    assert found.value == pytest.approx(-0.4)
    assert breaks(rows, "scaled", ("bicubic",), SEVEN)[1] == "bicubic"
    assert accuracy.extrapolation_gains(rows, "scaled", ("clamp",), SEVEN) == []  # not measured
    assert breaks(rows[:3] + rows[5:8], "scaled", ("bicubic",), SEVEN) is None
    assert breaks(rows, "fixed", ("bicubic", "none"), SEVEN) is None
    assert breaks(rows, "scaled", ("none",), (8, 8, 8, 8)) is None  # G = 8 has no new offsets


def test_a_window_has_new_offsets_if_any_stage_has() -> None:
    nano = (8, 8, 8, 7)  # trained at 128 px with G = 8 and at 224 px with G = 7
    assert not accuracy.has_new_offsets(224, 8, nano)  # the last map is 7 x 7
    assert accuracy.has_new_offsets(256, 8, nano)  # and here 8 x 8
    assert not accuracy.has_new_offsets(256, 8, (8, 8, 8, 8))
    assert not accuracy.has_new_offsets(448, 7, nano)
    assert accuracy.has_new_offsets(256, 8, SEVEN)


def test_a_gap_already_present_at_the_trained_size_is_not_drift() -> None:
    rng = np.random.default_rng(1)
    twin, dpb = rng.random(300) < 0.7, rng.random(300) < 0.5
    later = dpb & (rng.random(300) < 0.6)
    rows = [row(dpb, size=224), row(dpb, size=256), row(later, size=320)]
    rows += [row(twin, size=size, model="rpb") for size in (224, 256, 320, 448)]
    still, moved = accuracy.drift(rows, ("dpb", "own"), ("rpb", "own"), "scaled")
    assert (still.size, still.value, still.sign) == (256, 0, 0)
    assert moved.size == 320
    assert moved.value == pytest.approx(later.mean() - dpb.mean())
    assert moved.sign == -1
    assert accuracy.drift(rows[1:], ("dpb", "own"), ("rpb", "own"), "scaled") == []
    assert accuracy.verdict([still], trained_size=None).code == "open"
