"""Figures of predictions, percentages and short names."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.figures.plots.predictions import size_lines
from cfviz.figures.theme import DARK
from cfviz.words import percent, quantity, short_name, unbroken


def test_every_size_but_the_trained_one_is_hatched() -> None:
    probs = np.array([[0.2, 0.1], [0.8, 0.1], [0.5, 0.3]])
    words = {"size": "Size", "probability": "Probability", "outside": "outside"}
    fig = size_lines((160, 224, 288), ["church", "castle"], probs, 224, DARK, words)
    hatch, church, castle = fig.data
    assert list(hatch.x) == [quantity(side, "px") for side in (160, 288)]
    assert hatch.marker.pattern.shape == "/"
    assert list(church.y) == [20, 80, 50]
    assert church.line.dash != castle.line.dash, "lines must be told apart without colour"


def test_rectangles_follow_the_squares_and_are_not_connected() -> None:
    probs = np.array([[0.2, 0.1], [0.8, 0.1], [0.5, 0.3], [0.4, 0.2]])
    words = {"size": "Size", "probability": "Probability", "outside": "outside"}
    fig = size_lines((160, 224, (224, 288), (192, 640)), ["church", "castle"], probs, 224, DARK, words)
    hatch, church, others, castle, _ = fig.data
    rectangles = [unbroken("224 × 288 px"), unbroken("192 × 640 px")]
    assert list(hatch.x) == [quantity(160, "px"), *rectangles]
    assert (list(church.x), list(church.y), church.mode) == (
        [quantity(160, "px"), quantity(224, "px")],
        [20, 80],
        "lines+markers",
    )
    assert (list(others.x), list(others.y)) == (rectangles, [50, 40])
    assert (others.mode, others.showlegend, others.marker.symbol) == ("markers", False, church.marker.symbol)
    assert others.legendgroup == church.legendgroup != castle.legendgroup


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "100.0 %"), (0.9412, "94.1 %"), (0.0006, "0.1 %"), (0.0004, "< 0.1 %"), (0.0, "0.0 %")],
)
def test_percentages_have_one_decimal(p: float, text: str) -> None:
    assert percent(p) == unbroken(text).replace("< ", "<\u00a0")


def test_only_the_first_name_is_shown_and_a_long_one_is_cut() -> None:
    assert short_name("German shepherd, German shepherd dog, alsatian") == "German shepherd"
    assert short_name("a" * 40, 10) == "a" * 9 + "…"
