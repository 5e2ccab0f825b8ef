"""Curves over input sizes."""

from __future__ import annotations

from typing import Any

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
