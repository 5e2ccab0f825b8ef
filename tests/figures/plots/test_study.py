"""Differences of shares are in percentage points, shares in per cent."""

from __future__ import annotations

import math

from cfviz.figures.plots.embedding import ablation_bars
from cfviz.figures.plots.study import forest, scatter
from cfviz.figures.theme import KERNEL_COLOURS, LIGHT

ROWS = [("head 1", -0.7, -0.8, -0.6)]


def test_a_change_of_accuracy_is_in_points() -> None:
    """It was -70 %, which is another number than -70 points."""
    change, share = forest(ROWS, "change", LIGHT, "points"), forest(ROWS, "share", LIGHT, "%")
    assert change.data[0].x[0] == -70
    assert change.data[0].customdata[0] == "−70.0 [−80.0, −60.0]\u00a0points"
    assert not change.layout.xaxis.ticksuffix
    alone = forest([("head 1", 0.7, math.nan, math.nan)], "change", LIGHT, "points")
    assert alone.data[0].customdata[0] == "+70.0\u00a0points", "one photo has no interval"
    assert share.data[0].customdata[0] == "−70.0 [−80.0, −60.0]\u00a0%"
    assert share.layout.xaxis.ticksuffix == "\u00a0%"
    rows = [{"name": "head 1", "stage": 0, "x": 3.0, "y": -0.7}]
    points = scatter(rows, ("x", "y"), ["1"], LIGHT, "points")
    assert points.data[0].y[0] == -70
    assert points.data[0].customdata[0] == "3, −70.0\u00a0points"
    assert not points.layout.yaxis.ticksuffix


def test_a_kernel_has_one_colour_in_every_layer() -> None:
    """The second colour was 8 x 8 in the first layer and 4 x 4 in the others, in one chart."""
    rows = [
        ("CEL 1 4x4", 4, -1.0, -0.1, ""),
        ("CEL 2 2x2", 2, -1.0, -0.1, ""),
        ("CEL 2 4x4", 4, -1.0, -0.1, ""),
    ]
    fig = ablation_bars(rows, LIGHT, {"logit": "logit", "points": "points"})
    first, second, third = fig.data[0].marker.color
    assert first == third == KERNEL_COLOURS[4]
    assert second == KERNEL_COLOURS[2] != first
