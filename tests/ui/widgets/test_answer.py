"""An answer as bars."""

from __future__ import annotations

import re

from cfviz.ui.widgets.answer import bars_html
from cfviz.words import quantity


def test_bars_are_as_long_as_their_probabilities() -> None:
    told = bars_html(["church, church building", "castle"], [0.9, 0.0512], "Two classes")
    assert re.findall(r"width:([0-9.]+)%", told) == ["90.00", "5.12"]  # of a track that stands for 100 %
    assert re.findall('class="name">([^<]*)<', told) == ["church", "castle"]
    assert re.findall('title="([^"]*)">([^<]*)<', told) == [
        (quantity("90.00", "%"), quantity("90.0", "%")),
        (quantity("5.12", "%"), quantity("5.1", "%")),
    ]


def test_names_of_a_file_are_text() -> None:
    told = bars_html(["<b>&"], [1.0], 'so "long"')
    assert "&lt;b&gt;&amp;" in told
    assert 'aria-label="so &quot;long&quot;"' in told
