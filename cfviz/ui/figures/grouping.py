"""The grouping page's figures: one component that counts, draws and answers in the browser.

It records its state in the URL, which `ui/pages/grouping.py` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cfviz.figures.live.grouping import pack
from cfviz.ui.widgets.figure import GROUPING
from cfviz.words import figure_words


def show_grouping(
    lang: str,
    *,
    start: dict[str, Any],
    bad: bool = False,
    lesson: str = "",
    stages: Sequence[dict[str, Any]] = (),
    of: str = "",
    covers: str = "",
) -> None:
    """Show the figures.

    Args:
        lang: The reader's language.
        start: The starting state, from `state_from_link`.
        bad: Whether the link held an invalid value.
        lesson: For a lesson's figure, see `pack`.
        stages, of, covers: The chosen model, see `pack`.
    """
    data = pack(
        start, strings=figure_words("grouping", lang), bad=bad, lesson=lesson, stages=stages, of=of,
        covers=covers,
    )  # fmt: skip
    GROUPING.show(data, name="grouping.lesson" if lesson else "grouping")
