"""The grouping page's figures: one component that counts, draws and answers in the browser.

Python passes it words, colours and a starting state; after that, nothing it does reaches the server. A
browser test checks its own copy of the geometry (`geo.js`) against `cfviz.geometry`. It records its state in
the URL, which `ui/pages/grouping.py` reads.
"""

from __future__ import annotations

from typing import Any

from cfviz.figures import theme
from cfviz.ui.widgets.figure import GROUPING
from cfviz.words import figure_words

LIMITS = {"side": 112, "group": 16, "interval": 16}


def show_grouping(lang: str, *, start: dict[str, Any], bad: bool = False, lesson: str = "") -> None:
    """Show the figures.

    Args:
        lang: The reader's language.
        start: The starting state, from `state_from_link`.
        bad: Whether the link held an invalid value, which the figures then mention in one quiet line.
        lesson: If given, shows the first figure alone, which then follows `start` and leaves the URL alone:
            "ask" hides the counts and costs, "told" shows them.
    """
    palette = {"light": theme.LIGHT.css(), "dark": theme.DARK.css()}
    data = {
        "start": start,
        "bad": bad,
        "limits": LIMITS,
        "palette": palette,
        "strings": figure_words("grouping", lang),
    }
    if lesson:
        data["lesson"] = lesson
    GROUPING.show(data, name="grouping.lesson" if lesson else "grouping")
