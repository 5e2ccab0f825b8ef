"""Curves over input sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cfviz.figures.plots.position_bias import Line, size_curves
from cfviz.figures.theme import LIGHT


@pytest.mark.parametrize("sizes", [(160, 224, 320), (160, 192, 224, 256, 288, 320, 384, 448)])
def test_a_point_stands_nearer_to_its_size_than_the_eye_can_mistake(sizes: tuple[int, ...]) -> None:
    """With three sizes 64 px apart, points measured at 224 px were drawn from 205 to 243."""
    values = [50.0] * len(sizes)
    methods = ("own", "bicubic", "clamp", "cut", "none")
    lines = [Line(name, name, sizes, values, values, values) for name in methods]
    fig: Any = size_curves(lines, LIGHT, {"x": "px", "y": "%", "trained": "trained"})
    places = sorted(tuple(trace.x) for trace in fig.data)
    low, high = fig.layout.xaxis.range
    for one in places:
        for x, size in zip(one, sizes, strict=True):
            assert abs(x - size) < 0.03 * (high - low)
    assert len(set(places)) == len(methods), "side by side"


def test_a_line_is_broken_where_it_was_not_measured() -> None:
    """From 160 to 320 px a line ran through 224 px, two points below what the method gives there."""
    values = [50.0] * 3
    whole = Line("own", "own", (160, 224, 320), values, values, values)
    skips = Line("clamp", "clamp", (160, 320), values[:2], values[:2], values[:2])
    first, second = size_curves([whole, skips], LIGHT, {"x": "px", "y": "%", "trained": "trained"}).data
    assert not np.isnan(first.y).any()
    assert np.isnan(second.y).tolist() == [False, True, False]
    assert [bool(text) for text in second.customdata] == [True, False, True]
