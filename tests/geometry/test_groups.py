"""Groups, padding, kernels and offsets, checked by hand and by properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfviz import geometry as g

small = st.integers(1, 24)
groups = st.builds(
    g.grouping,
    st.sampled_from(["sda", "lda"]),
    small,
    small,
    st.integers(1, 8),
    st.one_of(st.integers(1, 6), st.just("adaptive")),
    st.sampled_from(g.LDA),
)


@given(groups)
def test_gather_then_scatter_is_the_identity(grouping):
    values = np.random.default_rng(0).random((grouping.H, grouping.W, 2))
    assert np.array_equal(grouping.scatter(grouping.gather(values, fill=np.nan)), values)


@given(groups)
def test_each_token_is_in_exactly_one_group(grouping):
    members = grouping.members
    assert members.shape == (grouping.nG, grouping.Gh * grouping.Gw)
    assert sorted(members[members >= 0]) == list(range(grouping.H * grouping.W))
    assert sorted(grouping.index.reshape(-1)) == list(range(grouping.Hp * grouping.Wp))


@given(groups, st.data())
def test_group_of_finds_the_token(grouping, data):
    row = data.draw(st.integers(0, grouping.Hp - 1))
    col = data.draw(st.integers(0, grouping.Wp - 1))
    assert grouping.index[grouping.group_of(row, col)] == row * grouping.Wp + col


@given(groups)
def test_members_are_neighbours_in_sda_and_an_interval_apart_in_lda(grouping):
    rows, cols = np.divmod(grouping.index, grouping.Wp)
    shape = (grouping.nG, grouping.Gh, grouping.Gw)
    assert np.all(np.diff(rows.reshape(shape), axis=1) == grouping.I)
    assert np.all(np.diff(cols.reshape(shape), axis=2) == grouping.I)


@given(groups)
def test_padding_is_the_smallest_that_divides(grouping):
    down, across = grouping.Gh * grouping.I, grouping.Gw * grouping.I
    assert grouping.Hp % down == grouping.Wp % across == 0
    assert 0 <= grouping.Hp - grouping.H < down
    assert 0 <= grouping.Wp - grouping.W < across


@given(groups)
def test_patterns_restore_the_mask_and_are_distinct(grouping):
    distinct, which = grouping.patterns
    assert np.array_equal(distinct[which], grouping.valid)
    assert len(np.unique(distinct, axis=0)) == len(distinct)


def test_the_articles_example_of_two_reshapes():
    values = np.outer(np.arange(1, 5), np.arange(1, 5))
    sda = g.grouping("sda", 4, 4, 2).gather(values).reshape(4, 2, 2)
    lda = g.grouping("lda", 4, 4, 2, 2).gather(values).reshape(4, 2, 2)
    assert sda.tolist() == [[[1, 2], [2, 4]], [[3, 4], [6, 8]], [[3, 6], [4, 8]], [[9, 12], [12, 16]]]
    assert lda.tolist() == [[[1, 3], [3, 9]], [[2, 4], [6, 12]], [[2, 6], [4, 12]], [[4, 8], [8, 16]]]


def test_blocks_alternate_and_small_maps_are_one_sda_group():
    assert g.lsda(56, 56, 0, 7, 8) == g.Grouping("sda", 56, 56, 7)
    assert g.lsda(56, 56, 1, 7, 8) == g.Grouping("lda", 56, 56, 7, 8)
    assert g.lsda(7, 7, 1, 7, 1) == g.Grouping("sda", 7, 7, 7)
    assert g.lsda(5, 7, 1, 7, 1) == g.Grouping("sda", 5, 7, 7)
    assert g.lsda(112, 112, 1, 7, "adaptive").I == 16
    assert g.lsda(64, 64, 1, 7, 8).Hp == 112
    large = g.lsda(256, 256, 1, 7, 8)
    assert len(large.patterns[0]) == 4
    assert large.nG == 1600


@given(small, small, st.integers(1, 8), st.integers(1, 6))
def test_over_the_whole_map_a_group_has_all_tokens_at_whole_intervals(H, W, G, I):  # noqa: E741
    cut = g.grouping("lda", H, W, G, I, "whole")
    assert (cut.nG, cut.Gh, cut.Gw) == (I * I, -(-H // I), -(-W // I))
    assert (cut.Hp, cut.Wp) == (cut.Gh * I, cut.Gw * I)  # the least multiples of I
    token = np.arange(H * W)
    row, col = np.divmod(token, W)
    together = (row[:, None] % I == row % I) & (col[:, None] % I == col % I)
    group = cut.scatter(np.broadcast_to(np.arange(cut.nG)[:, None], cut.members.shape)).reshape(-1)
    assert np.array_equal(group[:, None] == group, together)
    assert cut == g.grouping("lda", H, W, G + 3, I, "whole")  # whatever G is


def test_blocks_alternate_over_the_whole_map_too():
    assert g.lsda(56, 56, 1, 7, 8, "whole") == g.lsda(56, 56, 1, 7, 8)  # at 224 px, all is as in the paper
    assert g.lsda(200, 304, 0, 7, 8, "whole") == g.Grouping("sda", 200, 304, 7)
    assert g.lsda(200, 304, 1, 7, 8, "whole") == g.Grouping("lda", 200, 304, 25, 8, 38)
    assert g.lsda(25, 38, 1, 7, 1, "whole") == g.Grouping("lda", 25, 38, 25, 1, 38)  # full attention
    assert g.lsda(20, 28, 1, 14, 8, "whole") == g.Grouping("lda", 20, 28, 3, 8, 4)
    small = g.lsda(6, 20, 1, 7, 1, "whole")
    assert small == g.Grouping("sda", 6, 20, 6)
    assert (small.Hp, small.Wp, small.nG) == (6, 24, 4)
    assert g.lsda(20, 6, 1, 7, 1, "whole") == g.Grouping("sda", 20, 6, 6)
    adaptive = g.lsda(112, 160, 1, 7, "adaptive", "whole")
    assert (adaptive.I, adaptive.size) == (23, "5 x 7")


def test_groups_that_are_not_square_have_no_single_side():
    cut = g.grouping("lda", 52, 76, 7, 4, "whole")
    assert cut.size == "13 x 19"
    with pytest.raises(ValueError, match="13 x 19, not square"):
        cut.G  # noqa: B018
    with pytest.raises(ValueError, match="not square"):
        cut.step  # noqa: B018
    with pytest.raises(ValueError, match="lda is 'map'; expected 'regions' or 'whole'"):
        g.grouping("lda", 4, 4, 2, 2, "map")
    with pytest.raises(ValueError, match="I is 0"):
        g.grouping("lda", 4, 4, 2, 0, "whole")
    with pytest.raises(ValueError, match="Gw is -1"):
        g.Grouping("sda", 4, 4, 2, 1, -1)


@pytest.mark.parametrize(("height", "width"), [(224, 225), (0, 224), (-32, 224), (223, 224)])
def test_an_input_that_32_does_not_divide_is_refused(height, width):
    with pytest.raises(ValueError, match=rf"{height} x {width}.*multiples of 32.*for example"):
        g.map_sizes(height, width)


def test_map_sizes_of_the_four_stages():
    assert g.map_sizes(224, 160) == ((56, 40), (28, 20), (14, 10), (7, 5))


def test_bad_groupings_are_refused_by_name():
    with pytest.raises(ValueError, match="kind is 'swin'"):
        g.Grouping("swin", 4, 4, 2)
    with pytest.raises(ValueError, match="G is 0"):
        g.Grouping("sda", 4, 4, 0)
    with pytest.raises(ValueError, match="interval of SDA"):
        g.Grouping("sda", 4, 4, 2, 2)
    with pytest.raises(ValueError, match="no token"):
        g.grouping("sda", 4, 4, 2).group_of(4, 0)
    with pytest.raises(ValueError, match="expected \\(4, 4\\)"):
        g.grouping("sda", 4, 4, 2).gather(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="expected \\(4, 4\\)"):
        g.grouping("sda", 4, 4, 2).scatter(np.zeros((3, 4)))


def test_offsets_and_index_matrix_for_groups_of_seven():
    offset, index = g.offsets(7, 7), g.relative_index(7, 7)
    assert offset.shape == (169, 2)
    assert offset[0].tolist() == [-6, -6]
    assert offset[-1].tolist() == [6, 6]
    assert index[0, :3].tolist() == [84, 83, 82]
    assert index[0, -3:].tolist() == [2, 1, 0]
    assert index[-1, :3].tolist() == [168, 167, 166]
    assert index[-1, -3:].tolist() == [86, 85, 84]


@given(st.integers(1, 9), st.integers(1, 9))
def test_index_points_at_the_offset_of_query_minus_key(Gh, Gw):
    row, col = np.divmod(np.arange(Gh * Gw), Gw)
    picked = g.offsets(Gh, Gw)[g.relative_index(Gh, Gw)]
    assert np.array_equal(picked[..., 0], row[:, None] - row[None])
    assert np.array_equal(picked[..., 1], col[:, None] - col[None])


def test_channels_and_boxes_of_the_embedding_kernels():
    assert g.cel_channels(96, (4, 8, 16, 32)) == (48, 24, 12, 12)
    assert g.cel_channels(192, (2, 4)) == (96, 96)
    assert g.cel_box(0, 4, 3, 5) == g.token_box(0, 3, 5) == (12, 20, 16, 24)
    assert g.cel_box(0, 32, 0, 0) == (-14, -14, 18, 18)
    assert g.cel_box(1, 2, 3, 5) == g.token_box(1, 3, 5) == (24, 40, 32, 48)
    assert g.cel_box(1, 4, 0, 0) == (-4, -4, 12, 12)
    with pytest.raises(ValueError, match="no kernel of 8"):
        g.cel_box(1, 8, 0, 0)
