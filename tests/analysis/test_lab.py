"""Effects of a change: attention received, movement towards another photo's answer, the ranking of parts."""

import numpy as np
import pytest

from cfviz.analysis.lab import answer_changes, attention_received, by_magnitude, moved_towards
from cfviz.geometry import grouping


@pytest.mark.parametrize(
    "g", [grouping("sda", 8, 8, 4), grouping("lda", 8, 8, 4, 2), grouping("sda", 6, 7, 4)]
)
def test_attention_received_is_a_direct_sum_with_mean_one(g):
    rng = np.random.default_rng(0)
    probs = rng.random((g.nG, 3, g.N, g.N)) * g.valid[:, None, None, :]
    probs /= probs.sum(-1, keepdims=True)
    found = attention_received(probs, g)
    assert found.shape == (g.H, g.W)
    assert found.mean() == pytest.approx(1)
    direct = np.zeros(g.H * g.W)
    for n in range(g.nG):
        for q in np.flatnonzero(g.valid[n]):
            for k in np.flatnonzero(g.valid[n]):
                direct[g.members[n, k]] += probs[n, :, q, k].mean()
    np.testing.assert_allclose(found.ravel(), direct, rtol=1e-9)


def test_movement_is_zero_at_the_own_answer_and_one_at_the_others():
    own, other = np.array([3.0, 0.0, 1.0]), np.array([0.0, 2.0, 1.0])
    found = moved_towards(np.stack([own, other, (own + other) / 2, own + 7]), own, other)
    assert found == pytest.approx([0, 1, 0.5, 0])
    with pytest.raises(ValueError, match="nothing between equal answers"):
        moved_towards(own[None], own, own)


def test_answer_changes_and_the_ranking_by_magnitude():
    before = np.array([2.0, 1.0], np.float32)
    moved, probs, winners = answer_changes(np.array([[1.0, 1.0], [0.0, 4.0]], np.float32), before)
    assert moved == pytest.approx([-1, -2])
    assert probs == pytest.approx([0.5, 1 / (1 + np.exp(4))])
    assert winners.tolist() == [0, 1]
    assert by_magnitude(np.array([0.5, -2.0, 1.0, -1.0])).tolist() == [1, 2, 3, 0]
