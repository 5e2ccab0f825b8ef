"""Linear CKA, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.analysis.similarity import Place, cka_table, cosines, linear_cka, nearest, on_grid

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "p"), [(200, 8), (20, 64)])
def test_cka_ignores_shifts_rotations_and_scale(n: int, p: int) -> None:
    x = RNG.normal(size=(n, p))
    q, _ = np.linalg.qr(RNG.normal(size=(p, p)))
    for y in (x, x @ q, -3 * x, x + 100):
        assert linear_cka(x, y) == pytest.approx(1, abs=1e-9)


def test_independent_features_are_near_zero() -> None:
    assert linear_cka(RNG.normal(size=(20000, 4)), RNG.normal(size=(20000, 6))) < 1e-3


def test_cka_of_one_shared_channel_by_hand() -> None:
    """x has two uncorrelated channels of equal variance, y has only the first: 1 / (sqrt(2) * 1)."""
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1.0]])
    assert linear_cka(x, x[:, :1]) == pytest.approx(2**-0.5)
    assert linear_cka(x[:, :1], x[:, 1:]) == pytest.approx(0)


def test_both_formulas_agree() -> None:
    x, y = RNG.normal(size=(10, 30)), RNG.normal(size=(10, 40))
    xc, yc = x - x.mean(0), y - y.mean(0)
    plain = np.linalg.norm(xc.T @ yc) ** 2 / np.linalg.norm(xc.T @ xc) / np.linalg.norm(yc.T @ yc)
    assert linear_cka(x, y) == pytest.approx(plain)
    assert linear_cka(y, x) == pytest.approx(plain)


def test_constant_huge_and_tiny_features() -> None:
    x = RNG.normal(size=(9, 3))
    assert linear_cka(np.ones((9, 2)), x) == 0
    assert linear_cka(1e200 * x, 1e-200 * x) == pytest.approx(1)
    for bad in (x[:5], x[None], x[:, 0]):
        with pytest.raises(ValueError, match="expected"):
            linear_cka(x, bad)
    with pytest.raises(ValueError, match="from 2 up"):
        linear_cka(x[:1], x[:1])


def test_maps_on_one_grid_and_the_table_of_layers() -> None:
    a = np.arange(32, dtype=float).reshape(4, 4, 2)
    np.testing.assert_allclose(on_grid(a, 2, 2)[0], a[:2, :2].mean((0, 1)))
    np.testing.assert_allclose(on_grid(a, 2, 2)[1], a[:2, 2:].mean((0, 1)))
    with pytest.raises(ValueError, match="multiples of 2 and 3"):
        on_grid(a, 2, 3)
    x = [RNG.normal(size=(50, k)) for k in (2, 3)]
    found = cka_table(x, x[:1])
    assert found.shape == (2, 1)
    assert found[0, 0] == pytest.approx(1)


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
