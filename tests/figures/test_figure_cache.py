"""Cached figures: always what would be drawn now, and drawn anew if anything differs."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from cfviz.figures import figure_cache
from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import DARK, LIGHT


@pytest.fixture
def drawn() -> list[object]:
    return []


def test_a_figure_is_drawn_once_per_set_of_arguments(drawn: list[object]) -> None:
    @cached_figure
    def draw(*args: object, **kwargs: object) -> object:
        drawn.append((args, kwargs))
        return go.Figure()

    picture = Image.radial_gradient("L")
    given = ({"a": [1, 2]}, np.arange(4.0), picture, LIGHT)
    first = draw(*given, unit="%")
    assert draw({"a": [1, 2]}, np.arange(4.0), picture.copy(), LIGHT, unit="%") is first
    others = [
        ({"a": [1, 3]}, *given[1:]),
        ({"a": (1, 2)}, *given[1:]),
        (given[0], np.arange(4.0)[::-1], *given[2:]),
        (given[0], np.arange(4.0, dtype=np.float32), *given[2:]),
        (given[0], np.arange(4.0).reshape(2, 2), *given[2:]),
        (*given[:2], picture.rotate(90), LIGHT),
        (*given[:3], DARK),
    ]
    made = [draw(*other, unit="%") for other in others] + [draw(*given), draw(*given, unit="px")]
    assert len({id(figure) for figure in [first, *made]}) == len(others) + 3 == len(drawn)


def test_a_figure_of_incomparable_arguments_is_drawn_every_time(drawn: list[object]) -> None:
    @cached_figure
    def draw(thing: object) -> object:
        drawn.append(thing)
        return go.Figure()

    thing = object()
    assert draw(thing) is not draw(thing)
    assert len(drawn) == 2


def test_functions_do_not_share_figures_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_cache, "MOST", 3)

    @cached_figure
    def one(n: int) -> object:
        return object()

    @cached_figure
    def two(n: int) -> object:
        return object()

    assert one(1) is not two(1)
    oldest = one(1)
    for n in range(2, 5):
        one(n)
    assert len(figure_cache._kept) == 3
    assert one(1) is not oldest


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_lay_out_equals_update_layout(theme) -> None:
    def figure() -> go.Figure:
        fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
        fig.add_hline(y=3, line={"color": theme.ink})
        fig.add_annotation(x=1, y=3, text="here")
        return fig

    changes = {"height": 300, "xaxis": {"title": {"text": "x"}, "range": [0, 3]}, "margin": {"t": 40}}
    by_keys, laid_out = figure(), figure()
    by_keys.update_layout(**theme.layout(**changes))
    theme.lay_out(laid_out, **changes)
    assert laid_out.to_dict() == by_keys.to_dict()
    assert laid_out.layout.annotations[0].text == "here"
