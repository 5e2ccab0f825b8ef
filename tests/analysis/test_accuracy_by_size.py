"""Accuracy at other sizes: paired intervals, the verdict, where extrapolation breaks; worked out by hand."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfviz.analysis import accuracy_by_size as accuracy
from cfviz.analysis.accuracy_by_size import Difference


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
        return accuracy.extrapolation_break(gains(rows, window, ways, trained))

    def gains(rows, window, ways, trained):
        methods = [("dpb", way) for way in ways]
        tests = accuracy.tested(rows, ("dpb", "own"), methods)
        return accuracy.extrapolation_gains(tests, window, methods, trained)

    found, way = breaks(rows, "scaled", ("bicubic", "none"), SEVEN)
    assert (found.size, way) == (320, "none")
    assert found.value == pytest.approx(-0.4)
    assert breaks(rows, "scaled", ("bicubic",), SEVEN)[1] == "bicubic"
    assert gains(rows, "scaled", ("clamp",), SEVEN) == []  # not measured
    assert breaks(rows[:3] + rows[5:8], "scaled", ("bicubic",), SEVEN) is None
    assert breaks(rows, "fixed", ("bicubic", "none"), SEVEN) is None
    assert breaks(rows, "scaled", ("none",), (8, 8, 8, 8)) is None  # G = 8 has no new offsets


def test_a_window_has_new_offsets_if_any_stage_has() -> None:
    nano = (8, 8, 8, 7)  # trained at 128 px with G = 8 and at 224 px with G = 7

    def new(size, G, trained, lda="regions", depths=(2, 2, 2, 1)):
        place = {"interval": [8, 4, 2, 1], "lda": lda}
        return accuracy.has_new_offsets(Difference(size, "x", G, 0, 0, 0, 9, **place), trained, depths)

    assert not new(224, 8, nano)  # the last map is 7 x 7
    assert new(256, 8, nano)  # and here 8 x 8
    assert not new(256, 8, (8, 8, 8, 8))
    assert not new(448, 7, nano)
    assert new(256, 8, SEVEN)
    assert not new(256, 7, nano, "whole")  # groups of LDA are 8 x 8, and the last stage has no LDA
    assert new(256, 7, nano, "whole", (2, 2, 2, 2))
    assert new(288, 7, nano, "whole")
    assert new((192, 640), 7, nano)  # the last map, 6 x 20, is one group of 20 x 20
    assert new((192, 640), 7, nano, "whole")  # groups of 6 x 20


def test_tests_are_exact_and_corrected_together() -> None:
    """20 photos won and 5 lost; the smallest p counts as often as there are comparisons."""
    one = np.arange(100) < 60
    other = one.copy()
    other[:20] = False
    other[60:65] = True
    p = 2 * sum(math.comb(25, k) for k in range(6)) / 2**25
    (d,) = accuracy.differences(
        [row(one), row(other, "bicubic")], ("dpb", "own"), ("dpb", "bicubic"), "scaled"
    )
    assert (d.lost, d.won, d.p, d.corrected, d.sign) == (5, 20, pytest.approx(p), None, 1)
    slight = one.copy()
    slight[0] = False
    rows = [row(one), row(other, "bicubic"), row(slight, "clamp"), row(one, "cut")]
    rows += [{**r, "window": "fixed", "size": 224} for r in rows[:2]]
    rows += [{**r, "window": "scaled", "size": 224} for r in rows[4:6]]  # the same comparison again
    methods = [("dpb", way) for way in ("bicubic", "clamp", "cut", "none")]
    tests = accuracy.tested(rows, ("dpb", "own"), methods)
    assert accuracy.comparisons(tests) == 3
    (at_224, d), (clamp,), (cut,) = (tests["scaled", method] for method in methods[:3])
    assert d.corrected == pytest.approx(3 * p)
    assert at_224.corrected == pytest.approx(3 * p)
    assert (clamp.corrected, clamp.sign) == (1, 0)
    assert (cut.corrected, cut.p, cut.sign) == (None, 1, 0)
    assert tests["scaled", ("dpb", "none")] == []


def test_other_photos_in_equal_numbers_are_another_comparison() -> None:
    """Two windows that lose and win as many photos, but not the same ones, are two comparisons."""
    one, other, third = (np.arange(100) < 60 for _ in range(3))
    other[:9], third[9:18] = False, False
    rows = [row(one), row(other, "bicubic"), row(one, window="fixed"), row(third, "bicubic", window="fixed")]
    tests = accuracy.tested(rows, ("dpb", "own"), [("dpb", "bicubic")])
    assert accuracy.comparisons(tests) == 2
    assert {d.corrected for several in tests.values() for d in several} == {2 * 2 / 2**9}


def test_many_comparisons_need_a_smaller_p() -> None:
    """Alone p = 0.04 is significant, among twelve comparisons it is not."""
    one = np.arange(100) < 60
    other = one.copy()
    other[:9] = False
    other[60:62] = True  # 9 won, 2 lost: p = 0.065; 10 and 2: 0.039
    other[9] = False
    rows = [r for size in range(256, 640, 32) for r in (row(one, size=size), row(other, "bicubic", size))]
    few = accuracy.tested(rows[:2], ("dpb", "own"), [("dpb", "bicubic")])["scaled", ("dpb", "bicubic")]
    many = accuracy.tested(rows, ("dpb", "own"), [("dpb", "bicubic")])["scaled", ("dpb", "bicubic")]
    assert [d.sign for d in few] == [1]
    assert {d.sign for d in many} == {0}
    assert all(d.low > 0 for d in many)  # each interval alone excludes 0


def test_rectangles_are_compared_but_are_no_point_of_a_curve() -> None:
    one = np.arange(100) < 90
    rows = [row(one, size=[192, 640]), row(one, size=320), row(~one, "bicubic", [192, 640])]
    (d,) = accuracy.differences(rows, ("dpb", "own"), ("dpb", "bicubic"), "scaled")
    assert (d.size, d.sign) == ((192, 640), 1)
    assert [r["size"] for r in accuracy.curve(rows, "dpb", "own", "scaled")] == [320]


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
