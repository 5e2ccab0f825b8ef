"""The bars of changes: each number beside its bar, its unit where there is room for one."""

from __future__ import annotations

from cfviz.figures.plots.lab import change_bars
from cfviz.figures.theme import LIGHT


def test_a_unit_of_words_is_read_under_the_pointer_and_not_beside_the_bar() -> None:
    """On a phone "−62.4 points" once lay over the name of its part."""
    (bars,) = change_bars(["4 kernel 4×4", "4.1 MLP"], [-62.4, 31.8], LIGHT, "change", "points").data
    assert list(bars.text) == ["−62.4", "+31.8"]
    assert list(bars.customdata) == ["4 kernel 4×4: −62.4\u00a0points", "4.1 MLP: +31.8\u00a0points"]


def test_a_share_keeps_its_sign() -> None:
    (bars,) = change_bars(["1.1 MLP"], [0.25], LIGHT, "share", "%").data
    assert list(bars.text) == ["+25\u00a0%"]
