"""Nearest tokens, on maps whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.nearest import Place, cosines, nearest


def test_cosines_are_those_of_the_angles_and_zero_for_nothing() -> None:
    features = np.array([[[3.0, 0], [0, 5], [1, 1]], [[-2, 0], [0, 0], [1, 0]]], np.float32)
    found = cosines(np.array([2.0, 0]), features)
    assert found == pytest.approx(np.array([[1, 0, 0.5**0.5], [-1, 0, 1]]))
    assert (cosines(np.zeros(2), features) == 0).all()


def test_each_map_gives_its_best_place_and_the_best_map_comes_first() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(H, W, 8)) for H, W in ((4, 6), (3, 3), (5, 2))]
    token = rng.normal(size=8)
    maps[1][2, 0] = 7 * token  # the same direction, another length
    maps[2][4, 1] = token + 0.1 * rng.normal(size=8)
    found = nearest(token, maps)
    assert found[0] == Place(1, 2, 0, pytest.approx(1))
    assert (found[1].map, found[1].row, found[1].col) == (2, 4, 1)
    assert [place.map for place in found] == [1, 2, 0]
    assert found[2].cosine == cosines(token, maps[0]).max()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the token is \(3,\) and the map \(2, 2, 4\)"):
        cosines(np.ones(3), np.ones((2, 2, 4)))
