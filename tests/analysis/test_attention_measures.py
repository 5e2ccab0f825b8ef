"""Measures of attention, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.attention_measures import distance, entropy, fidelity, position_share
from cfviz.geometry import grouping
from cfviz.run import inspect
from cfviz.stats import ranks, spearman


def even(n_groups: int, heads: int, n: int) -> np.ndarray:
    return np.full((n_groups, heads, n, n), 1 / n)


def looking_at(key: int, n_groups: int, n: int) -> np.ndarray:
    out = np.zeros((n_groups, 1, n, n))
    out[..., key] = 1
    return out


def test_a_token_that_attends_to_itself_has_distance_zero() -> None:
    probs = np.broadcast_to(np.eye(4), (1, 1, 4, 4))
    assert distance(probs, grouping("sda", 2, 2, 2), 4) == pytest.approx([0])


def test_distance_in_a_window_is_in_pixels() -> None:
    """All attend to the upper left of a 2 x 2 window of 4-pixel tokens: 0, 4, 4 and 4 sqrt 2 pixels away."""
    g = grouping("sda", 2, 2, 2)
    assert distance(looking_at(0, 1, 4), g, 4) == pytest.approx([(0 + 4 + 4 + 4 * 2**0.5) / 4])


def test_distance_in_a_lattice_counts_the_interval() -> None:
    near, far = grouping("sda", 6, 6, 2), grouping("lda", 6, 6, 2, 3)
    probs = even(9, 2, 4)
    assert distance(probs, far, 4) == pytest.approx(3 * distance(probs, near, 4))


def test_padded_queries_are_left_out_of_the_mean() -> None:
    """In a 2 x 2 window with one real token, that token is the only query, and it attends to itself."""
    g = grouping("sda", 1, 1, 2)
    assert distance(looking_at(0, 1, 4), g, 4) == pytest.approx([0])


def test_entropy_is_log2_n_for_even_attention_and_zero_for_one_key() -> None:
    g = grouping("sda", 2, 2, 2)
    assert entropy(even(1, 3, 4), g) == pytest.approx([2, 2, 2])
    assert entropy(looking_at(1, 1, 4), g) == pytest.approx([0])


@pytest.mark.parametrize(
    ("content", "bias", "share"), [(1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.5), (0.0, 0.0, 0.0)]
)
def test_position_share_of_proportional_terms(content: float, bias: float, share: float) -> None:
    g = grouping("sda", 2, 2, 2)
    wave = np.broadcast_to(np.array([0.0, 1, 2, 5]), (1, 4, 4))
    assert position_share(content * wave[None], bias * wave, g) == pytest.approx([share])


def test_position_share_ignores_a_constant_shared_by_all_keys() -> None:
    """A constant added to a row of logits leaves attention as it is, and so the share."""
    g, rng = grouping("sda", 2, 2, 2), np.random.default_rng(0)
    content, bias = rng.normal(size=(1, 2, 4, 4)), rng.normal(size=(2, 4, 4))
    moved = position_share(content + rng.normal(size=(1, 2, 4, 1)), bias + 7, g)
    assert moved == pytest.approx(position_share(content, bias, g))


def test_position_share_ignores_padding() -> None:
    g, rng = grouping("sda", 2, 1, 2), np.random.default_rng(0)
    content, bias = rng.normal(size=(1, 1, 4, 4)), rng.normal(size=(1, 4, 4))
    spoiled = np.where(g.valid[:, None, None, :], content, 1e6)
    assert position_share(spoiled, bias, g) == pytest.approx(position_share(content, bias, g))


def test_ties_share_their_mean_rank() -> None:
    assert ranks(np.array([3.0, 1, 3, 2])).tolist() == [3.5, 1, 3.5, 2]


def test_spearman_correlation_by_hand() -> None:
    a = np.array([[1.0, 2], [3, 4]])
    assert spearman(a, a**3) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert spearman(a, np.ones((2, 2))) == 0
    assert spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="expected one shape"):
        spearman(a, a[0])


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (96, 160)])
def test_fidelity_compares_with_the_layers_own_output(tiny_model, size: tuple[int, int]) -> None:
    model = tiny_model()
    photo = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    trace = inspect(photo, model, size, watch="layers.*.blocks.*.attn.*")
    for s, stage in enumerate(model.layers):
        for b, block in enumerate(stage.blocks):
            at = f"layers.{s}.blocks.{b}.attn."
            weight, bias = (p.detach().numpy() for p in (block.attn.proj.weight, block.attn.proj.bias))
            probs, v, out = (trace[at + name] for name in ("probs", "v", "out"))
            assert fidelity(probs, v, weight, bias, out) < 1e-5
            assert fidelity(probs[..., ::-1], v, weight, bias, out) > 1e-5


def test_fidelity_refuses_arrays_that_do_not_belong_together() -> None:
    v = np.zeros((2, 1, 4, 3))
    with pytest.raises(ValueError, match=r"probs is \(1, 1, 4, 4\).*expected \(2, 1, 4, 4\)"):
        fidelity(np.zeros((1, 1, 4, 4)), v, np.eye(3), np.zeros(3), np.zeros((2, 4, 3)))
