"""Regions, overlaps and shares of contributions, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.dense import head_totals, mean_iou, overlaps, partners, regions, stage_maps
from cfviz.geometry import grouping


def test_contributions_are_summed_by_head_and_put_back_into_the_map() -> None:
    g = grouping("lda", 4, 4, 2, 2)
    by_key = np.arange(g.nG * 3 * g.N, dtype=float).reshape(g.nG, 3, g.N)
    (found,) = stage_maps({(0, 0): by_key, (0, 1): by_key}, [[g, g]])
    assert found.shape == (4, 4)
    assert found.sum() == pytest.approx(2 * by_key.sum())
    group, member = g.group_of(3, 2)
    assert found[3, 2] == pytest.approx(2 * by_key[group, :, member].sum())
    assert head_totals(by_key) == pytest.approx(by_key.sum((0, 2)))


def test_regions_are_connected_by_sides_and_ordered_by_size() -> None:
    labels = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [2, 0, 1, 1]])
    found = regions(labels)
    assert found.labels == [0, 1, 1, 1, 2]
    assert found.cells == [8, 3, 2, 2, 1]
    assert found.which[0, 0] == found.which[1, 1] == 1
    assert found.which[0, 3] != found.which[3, 3]
    small = regions(labels, least=3)
    assert small.labels == [0, 1]
    assert small.which[3, 0] == -1
    assert len(regions(labels, most=2).labels) == 2


def test_regions_follow_a_snake() -> None:
    """Numbers must travel along the whole length of a winding region."""
    labels = np.zeros((9, 9), int)
    labels[1::4, :8] = labels[3::4, 1:] = 1
    found = regions(labels)
    assert sum(found.cells) == 81
    assert len(found.cells) == 5
    winding = np.ones((9, 9), int)
    winding[1::4, :8] = winding[3::4, 1:] = 0
    assert regions(winding).labels.count(1) == 1


def test_overlaps_and_partners() -> None:
    a = np.array([[0.0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 5, 5]])
    b = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2]])
    assert overlaps(a, b) == pytest.approx(np.array([[1, 1 / 3], [0.5, 0.2], [0, 0]]))
    same = np.zeros(3, int)
    assert partners(a, same, b, same[:2]).tolist() == [0, -1, -1], "each is taken once"
    assert partners(a, same, b, np.array([1, 0])).tolist() == [-1, -1, -1]
    assert partners(a, same, b[:0], same[:0]).tolist() == [-1, -1, -1]


def test_mean_iou_is_over_the_classes_of_the_truth() -> None:
    truth = np.array([[0, 0], [1, 1]])
    assert mean_iou(truth, truth) == 1
    assert mean_iou(np.array([[0, 0], [1, 2]]), truth) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="expected one shape"):
        mean_iou(truth, truth[:1])
