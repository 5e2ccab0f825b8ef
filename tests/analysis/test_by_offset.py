"""Mean attention by offset, on attention whose mean is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.by_offset import ByOffset
from cfviz.geometry import grouping, relative_index
from cfviz.stats import softmax

FOUR = grouping("sda", 4, 4, 2)  # four groups of 2 x 2


def test_attention_to_oneself_lies_at_the_offset_nought() -> None:
    found = ByOffset(1, 2, 2)
    found.add(np.broadcast_to(np.eye(4), (4, 1, 4, 4)), np.zeros((1, 4, 4)), FOUR)
    assert found.mean[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert (found.alone == 0.25).all()
    assert found.pairs.tolist() == [[4, 8, 4], [8, 16, 8], [4, 8, 4]]
    assert np.isnan(found.agreement).all()


def test_a_key_above_the_query_lies_at_a_positive_offset() -> None:
    """As in `position_bias.surface`: offsets are query minus key."""
    probs = np.zeros((4, 1, 4, 4))
    probs[:, 0, :, :2] = 0.5  # all attend to the two tokens of the upper row
    found = ByOffset(1, 2, 2)
    found.add(probs, np.zeros((1, 4, 4)), FOUR)
    assert found.mean[0].tolist() == [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]]


def test_a_head_without_content_does_what_its_bias_says_and_one_against_it_the_contrary() -> None:
    rng = np.random.default_rng(0)
    g = grouping("sda", 6, 7, 3)  # padded on the right
    table = rng.normal(size=(2, 25))
    bias = table[:, relative_index(3, 3)]
    valid = g.valid[:, None, None, :]
    alone = softmax(np.where(valid[:, 0], bias[0], -np.inf))  # nG, N, N
    probs = np.stack([alone, np.where(valid[:, 0], 1 - alone, 0)], 1)
    found = ByOffset(2, 3, 3)
    found.add(probs, bias[[0, 0]], g)
    assert found.mean[0] == pytest.approx(found.alone[0], abs=1e-12)
    assert found.agreement == pytest.approx([1, -1])


def test_photos_add_up_and_padding_counts_nowhere() -> None:
    rng = np.random.default_rng(1)
    g = grouping("lda", 5, 5, 3, 2)
    bias = rng.normal(size=(1, 25))[:, relative_index(3, 3)]
    two = [rng.random((g.nG, 1, 9, 9)) for _ in range(2)]
    whole, parts = ByOffset(1, 3, 3), [ByOffset(1, 3, 3) for _ in range(2)]
    for probs, part in zip(two, parts, strict=True):
        whole.add(probs, bias, g)
        part.add(probs, bias, g)
    parts[0].join(parts[1])
    assert parts[0].mean == pytest.approx(whole.mean, nan_ok=True)
    offset = relative_index(3, 3)
    pair = g.valid[:, :, None] & g.valid[:, None, :]
    for n in range(25):
        where = pair & (offset == n)
        values = [probs[:, 0][where] for probs in two]
        wanted = np.mean(values) if where.any() else np.nan
        assert whole.mean.reshape(-1)[n] == pytest.approx(wanted, nan_ok=True)
        assert whole.pairs.reshape(-1)[n] == 2 * where.sum()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the attention is \(4, 2, 4, 4\)"):
        ByOffset(1, 2, 2).add(np.ones((4, 2, 4, 4)), np.ones((1, 4, 4)), FOUR)


def test_sums_of_another_form_are_not_joined() -> None:
    for other in (ByOffset(1, 3, 3), ByOffset(3, 2, 3)):  # NumPy would repeat the single head
        with pytest.raises(ValueError, match="expected one form"):
            ByOffset(3, 3, 3).join(other)
