"""Reach, counted by composing group memberships, and multiply-adds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfviz.analysis.reach import blocks_to_cover, multiply_adds, one_layer_back, reach, whole_photo
from cfviz.geometry import CEL_KERNELS, Grouping, Lda, cel_box, grouping, lsda, map_sizes, token_box
from cfviz.geometry import schemes as other


def matrix(scheme: other.Scheme) -> np.ndarray:
    """Which tokens reach which, shortcut included, one query at a time: bool (HW, HW)."""
    rows = [scheme.sources(*divmod(q, scheme.W)).reshape(-1) for q in range(scheme.H * scheme.W)]
    return np.array(rows) | np.eye(scheme.H * scheme.W, dtype=bool)


@pytest.mark.slow
@given(H=st.integers(4, 12), W=st.integers(4, 12), G=st.integers(1, 4), I=st.integers(1, 4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_reach_is_the_product_of_the_layers(H: int, W: int, G: int, I: int, data: st.DataObject) -> None:  # noqa: E741
    """True of n blocks of every method: the product of their n matrices."""
    query = data.draw(st.integers(0, H * W - 1))
    for name, schemes in other.families(H, W, G, I, window=max(2, G), ratio=2).items():
        sets = reach(schemes, *divmod(query, W), 3)
        for n in range(4):
            product = np.eye(H * W, dtype=bool)
            for b in range(n):  # the later layer is on the left
                product = matrix(schemes[b % len(schemes)]) @ product
            np.testing.assert_array_equal(sets[n].reshape(-1), product[query], err_msg=f"{name}, {n} blocks")


@given(H=st.integers(4, 20), W=st.integers(4, 20), G=st.integers(2, 6), I=st.integers(1, 5), data=st.data())
@settings(max_examples=40, deadline=None)
def test_reach_never_shrinks_with_more_blocks(H: int, W: int, G: int, I: int, data: st.DataObject) -> None:  # noqa: E741
    row, col = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
    for schemes in other.families(H, W, G, I, window=G, ratio=2).values():
        sets = reach(schemes, row, col, 4)
        assert sets[0].sum() == 1
        for start in range(3):  # two blocks more, so that the same layer is last
            assert (sets[start + 2] >= sets[start]).all()


def test_the_first_stage_at_224() -> None:
    """56 x 56, G = 7, I = 8: a window, then 7 x 7 of the 8 x 8 windows, then everything (for this query).

    The interval is longer than the window, so the seven rows of a query's long distance group meet only
    seven of the eight rows of windows.
    """
    schemes = other.families(56, 56, 7, 8, 7, 8)
    assert reach(schemes["crossformer"], 20, 20, 4).sum((1, 2)).tolist() == [1, 49, 2401, 3136, 3136]
    assert blocks_to_cover(schemes["crossformer"], 20, 20) == 3
    assert reach(schemes["swin"], 20, 20, 2).sum((1, 2)).tolist() == [1, 49, 196]
    assert blocks_to_cover(schemes["swin"], 20, 20, limit=4) is None
    assert {name: blocks_to_cover(schemes[name], 20, 20) for name in ("pvt", "twins", "vit")} == {
        "pvt": 1, "twins": 2, "vit": 1,
    }  # fmt: skip


def test_two_blocks_cover_a_region_if_the_interval_fits() -> None:
    """With G = 4 and I = 4, as in CrossFormer++, two blocks reach the whole 16 x 16 region, and no more."""
    two = reach(other.families(56, 56, 4, 4, 7, 8)["crossformer"], 20, 20, 2)[2]
    expected = np.zeros((56, 56), bool)
    expected[16:32, 16:32] = True
    np.testing.assert_array_equal(two, expected)


def test_rows_dropped_by_the_reduction_never_reach_a_query() -> None:
    schemes = (other.pvt(9, 9, 4),)
    assert blocks_to_cover(schemes, 0, 0) is None
    assert reach(schemes, 0, 0, 3).sum((1, 2)).tolist() == [1, 64, 64, 64]


def embedded(stage: int, size: tuple[int, int], seen: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """What reaches each token of a stage, kernel by kernel: bool (H, W, pixels) of the stage before."""
    unit = token_box(stage - 1, 0, 0)[2] if stage else 1
    before, out = seen.reshape(*shape, -1), np.zeros((*size, seen.shape[-1]), bool)
    for row, col in np.ndindex(*size):
        for k in CEL_KERNELS[stage]:
            top, left, bottom, right = (max(0, side // unit) for side in cel_box(stage, k, row, col))
            out[row, col] |= before[top:bottom, left:right].any((0, 1))
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "side", "interval", "form"),
    [
        (64, 96, 3, 2, "regions"),
        (64, 96, 2, 2, "whole"),
        (96, 64, 2, 2, "regions"),
        (64, 64, 2, 4, "regions"),
    ],
)
def test_the_photo_is_covered_when_every_token_has_seen_every_pixel(
    height: int, width: int, side: int, interval: int, form: Lda
) -> None:
    """Counted token by token, pixel by pixel, in a model with two blocks per stage."""
    sizes, depths = map_sizes(height, width), (2, 2, 2, 1)
    stages = [
        [lsda(*size, b, side, interval, form) for b in range(n)]
        for size, n in zip(sizes, depths, strict=True)
    ]
    shape, seen, wanted = (height, width), np.eye(height * width, dtype=bool), None
    for s, (size, own) in enumerate(zip(sizes, stages, strict=True)):
        seen = embedded(s, size, seen, shape).reshape(size[0] * size[1], -1)
        shape = size
        for b, g in enumerate(own):
            for group in g.members:
                inside = group[group >= 0]
                seen[inside] = seen[inside].any(0)
            if wanted is None and seen.all():
                wanted = (s, b)
    assert whole_photo(stages) == wanted


def test_the_bundled_model_covers_the_photo_in_its_third_block() -> None:
    """At 224 px, in the first block of stage 2; photos far larger than the groups are never covered."""
    depths, intervals = (2, 2, 2, 1), (8, 4, 2, 1)

    def stages(side: int) -> list[list[Grouping]]:
        found = zip(map_sizes(side, side), depths, intervals, strict=True)
        return [[lsda(*size, b, 7, i) for b in range(n)] for size, n, i in found]

    assert whole_photo(stages(224)) == (1, 0)
    assert whole_photo(stages(1536)) is None


@given(
    H=st.integers(1, 60), W=st.integers(1, 60), G=st.integers(1, 9), I=st.integers(1, 8), C=st.integers(1, 96)
)
def test_attention_cost_follows_the_formula(H: int, W: int, G: int, I: int, C: int) -> None:  # noqa: E741
    """2 Hp Wp G^2 C for a grouping, 2 (HW)^2 C for global attention."""
    for g in (grouping("sda", H, W, G), grouping("lda", H, W, G, I)):
        cost = multiply_adds(other.crossformer(g), C)
        assert cost.attention == 2 * g.Hp * g.Wp * G * G * C
        assert cost.projections == 4 * g.Hp * g.Wp * C * C
    assert multiply_adds(other.vit(H, W), C).attention == 2 * (H * W) ** 2 * C


def test_bad_queries_and_sets_are_refused() -> None:
    scheme = other.vit(4, 5)
    with pytest.raises(ValueError, match=r"set is \(5, 4\); expected the map's \(4, 5\)"):
        one_layer_back(scheme, np.zeros((5, 4), bool))
    with pytest.raises(ValueError, match=r"no token \(4, 0\)"):
        reach((scheme,), 4, 0, 1)
