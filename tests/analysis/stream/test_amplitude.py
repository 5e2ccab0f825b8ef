"""Amplitudes of maps whose numbers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.attention_measures import distance, even_distance
from cfviz.analysis.stream.amplitude import amplitude
from cfviz.geometry import Grouping


def test_a_map_of_threes_and_fours() -> None:
    x = np.zeros((2, 3, 2), np.float32)
    x[..., 0], x[..., 1] = 3, -4
    found = amplitude(x)
    assert (found.mean, found.largest) == (3.5, 4.0)
    assert found.rms == pytest.approx(12.5**0.5)
    assert found.tokens == pytest.approx(np.full((2, 3), 12.5**0.5))
    assert found.channels == pytest.approx([3, 4])
    assert not found.outliers().any()


def test_one_token_and_one_channel_stand_out_by_place() -> None:
    x = np.ones((3, 5, 4), np.float32)
    x[1, 4] = -7
    x[0, 2] = 2.5
    found = amplitude(x)
    assert found.largest_tokens(2) == [(1, 4, 7.0), (0, 2, 2.5)]
    assert np.argwhere(found.outliers()).tolist() == [[0, 2], [1, 4]]
    y = np.ones((3, 5, 4), np.float32)
    y[..., 2] = 9
    assert amplitude(y).largest_channels(1) == [(2, 9.0)]


def test_the_ratio_to_a_median_of_zero() -> None:
    x = np.zeros((1, 3, 2), np.float32)
    assert amplitude(x).largest_tokens(1) == [(0, 0, 1.0)]
    x[0, 1] = 1
    assert amplitude(x).largest_tokens(1) == [(0, 1, float("inf"))]


@pytest.mark.parametrize("bad", [np.ones((3, 4)), np.full((1, 1, 1), np.inf), np.ones((0, 2, 2))])
def test_what_is_no_map_of_numbers_is_refused(bad) -> None:
    with pytest.raises(ValueError, match="the map"):
        amplitude(bad)


def test_the_distance_of_a_head_that_looks_at_all_alike() -> None:
    """In a group of 1 x 2 tokens a step of 3 apart: half the attention 3 tokens away, half none."""
    assert even_distance(Grouping("lda", 1, 6, 1, 3, 2), stride=4) == pytest.approx(6)
    padded = Grouping("sda", 3, 3, 2)  # 4 x 4 with a padded row and column
    valid = padded.valid / padded.valid.sum(-1, keepdims=True)
    probs = np.repeat(valid[:, None, None, :], padded.N, 2)
    assert even_distance(padded, 8) == pytest.approx(distance(probs, padded, 8)[0])
    # one group of 4 tokens, two of 2, one of 1: 4 x (2 + sqrt 2)/4 + 4 x 1/2 + 0, over 9 tokens, times 8
    assert even_distance(padded, 8) == pytest.approx(8 * (4 * (2 + 2**0.5) / 4 + 4 * 0.5) / 9)
