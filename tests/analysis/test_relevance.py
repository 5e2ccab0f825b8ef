"""Relevance, masks and the comparison with chance, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.receptive_field import agreement, as_shares, smallest_area, summed_over_squares
from cfviz.analysis.relevance import (
    area_under,
    beats_chance,
    ranking_masks,
    relevance,
    relevance_order,
    weighted_attention,
)
from cfviz.analysis.rollout import Kernels, Layer
from cfviz.geometry import grouping


def test_weighted_attention_keeps_only_what_supports_the_class() -> None:
    probs = np.full((1, 2, 1, 2), 0.5)
    gradient = np.array([[[[2.0, -8.0]], [[4.0, -8.0]]]])
    assert weighted_attention(probs, gradient) == pytest.approx(np.array([[[1.5, 0.0]]]))
    with pytest.raises(ValueError, match="expected one shape"):
        weighted_attention(probs, gradient[0])


def test_relevance_without_attention_is_even() -> None:
    g = grouping("sda", 2, 2, 2)
    stages = [[Layer(grouping("sda", 4, 4, 2), np.zeros((4, 4, 4)))], [Layer(g, np.zeros((1, 4, 4)))]]
    even = relevance(stages, [Kernels((np.ones((2, 2)),), 2)])
    assert even == pytest.approx(np.full((4, 4), 1 / 16))


def test_relevance_follows_attention() -> None:
    """Four tokens, one block, and all attend to token 2: that is all attention adds to the even mean."""
    pointing = np.zeros((1, 4, 4))
    pointing[..., 2] = 1
    got = relevance([[Layer(grouping("sda", 2, 2, 2), pointing)]], [])
    assert got == pytest.approx(np.array([[0.0, 0], [1, 0]]))


def test_relevance_adds_up_over_two_blocks() -> None:
    """Tokens 0..3: in the last block all attend to 2, in the first 2 attends to 1, both with weight 1.

    From the mean back: the last block adds 1 to token 2; the first adds the 1/4 and the 1 that token 2 then
    has to token 1. Added: 0, 5/4, 1, 0.
    """
    g = grouping("sda", 2, 2, 2)
    first, last = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    last[..., 2] = 1
    first[0, 2, 1] = 1
    got = relevance([[Layer(g, first), Layer(g, last)]], [])
    assert got == pytest.approx(np.array([[0, 5 / 9], [4 / 9, 0]]))


def test_masks_follow_the_ranking() -> None:
    ranking = relevance_order(np.array([[0.1, 0.4], [0.3, 0.2]]))
    assert ranking.tolist() == [1, 2, 3, 0]
    grown = ranking_masks(ranking, (2, 2), 2, 4)
    assert grown.shape == (5, 4, 4)
    assert grown.sum((1, 2)).tolist() == [0, 4, 8, 12, 16]
    assert grown[1, :2, 2:].all()
    with pytest.raises(ValueError, match="each of the 4 cells once"):
        ranking_masks(np.array([0, 0, 1, 2]), (2, 2), 1, 2)


def test_the_area_under_a_curve_uses_trapezoids() -> None:
    assert area_under(np.array([1.0, 1, 1])) == 1
    assert area_under(np.linspace(0, 1, 11)) == pytest.approx(0.5)


def test_beating_chance_requires_both_curves() -> None:
    fast, slow, soon = np.array([1.0, 0.1, 0]), np.array([1.0, 0.9, 0]), np.array([0, 0.9, 1.0])
    random = np.array([[1.0, 0.5, 0], [1.0, 0.6, 0]])
    assert beats_chance(fast, soon, random, random[:, ::-1])
    assert not beats_chance(slow, soon, random, random[:, ::-1])
    assert not beats_chance(fast, fast[::-1], random, random[:, ::-1])


def test_pooling_shares_and_the_smallest_area() -> None:
    pixels = np.arange(16.0).reshape(4, 4)
    assert summed_over_squares(pixels, 2).tolist() == [[10, 18], [42, 50]]
    assert as_shares(np.array([-1.0, 3.0])).tolist() == [0.25, 0.75]
    assert as_shares(np.zeros(4)).tolist() == [0.25] * 4
    assert smallest_area(np.array([0.5, 0.5, 0, 0])) == pytest.approx(0.5 / 2)
    assert smallest_area(np.array([0.5, 0.5, 0, 0]), 1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="multiples of 3"):
        summed_over_squares(pixels, 3)
    with pytest.raises(ValueError, match="part is 0"):
        smallest_area(pixels, 0)


def test_agreement_compares_on_the_first_stages_tokens() -> None:
    rollout = np.array([[1.0, 2], [3, 4]])
    assert agreement(rollout, rollout.repeat(4, 0).repeat(4, 1), 4) == pytest.approx(1)
