"""The figures of measures of attention show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cfviz.figures.plots.attention_measures import curves, head_dots, offset_maps, over_photo
from cfviz.figures.theme import DARK, LDA, LIGHT, SDA

WORDS = {
    "axis": "block", "value": "px", "head": "head", "block": "block", "deletion": "out", "insertion": "in",
    "cells": "squares", "probability": "p", "chance": "chance",
}  # fmt: skip


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_head_has_a_dot_in_the_colour_of_its_kind(theme) -> None:
    fig = head_dots(["1.1", "1.2"], ["sda", "lda"], [[1.0, 2.0], [30.0, 40.0]], theme, WORDS)
    short, long = fig.data
    assert (short.marker.color, long.marker.color) == (SDA, LDA)
    assert list(short.y) == [1, 2]
    assert list(long.y) == [30, 40]
    assert all(-0.5 < x < 0.5 for x in short.x)
    assert all(0.5 < x < 1.5 for x in long.x)


def test_a_map_covers_the_photo_without_stretching() -> None:
    values = np.arange(12.0).reshape(3, 4)
    fig = over_photo(Image.new("RGB", (64, 48)), values, LIGHT, mark=(8, 24))
    heat = fig.data[0]
    assert heat.z.sum() == pytest.approx(100)
    assert (heat.dx, heat.dy, heat.x0) == (16, 16, 8)
    assert fig.layout.yaxis.scaleanchor == "x"
    assert list(fig.layout.yaxis.range) == [48, 0]
    assert [(s.x[0], s.y[0]) for s in fig.data[1:]] == [(8, 24), (8, 24)]


def test_an_empty_map_is_drawn_without_error() -> None:
    fig = over_photo(Image.new("RGB", (32, 32)), np.zeros((2, 2)), LIGHT)
    assert np.isfinite(fig.data[0].zmax)


def test_curves_end_at_the_empty_or_the_whole_photo() -> None:
    falling, rising = np.linspace(0.8, 0.1, 5), np.linspace(0.1, 0.8, 5)
    fig = curves({"map": (falling, rising)}, (np.stack([falling] * 2), np.stack([rising] * 2)), LIGHT, WORDS)
    lines = [trace for trace in fig.data if trace.name == "map"]
    assert [line.y[-1] for line in lines] == pytest.approx([10, 80])
    assert [line.x[-1] for line in lines] == [100, 100]
    assert len(fig.data) == 2 * (2 + 1)
    assert fig.layout.yaxis.range[1] == pytest.approx(84)


def test_a_key_above_the_query_is_drawn_above_the_middle() -> None:
    above = np.zeros((3, 5))
    above[2, 2] = 1  # offsets are query minus key: 1 row
    fig = offset_maps([above, -above], ["a", "b"], [False, True], LIGHT, "{down} {right}")
    first, second = fig.data
    assert first.y[int(np.argwhere(np.asarray(first.z))[0][0])] == -1
    assert first.x[int(np.argwhere(np.asarray(first.z))[0][1])] == 0
    assert (first.zmin, first.zmax, second.zmin, second.zmax) == (0, 1, -1, 1)
    assert fig.layout.yaxis.autorange == fig.layout.yaxis2.autorange == "reversed"
    assert "%{y} %{x}" in first.hovertemplate
