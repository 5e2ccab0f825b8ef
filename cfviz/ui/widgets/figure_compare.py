"""Two models on one photo: a point on either is the same point on both, all in the browser.

The message is `cfviz.figures.live.compare.pack`'s; reading it, colours and controls are the living figure's
modules. A click comes back: row, col (of the stage's map), held, stage and the block of each side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.figures.live.compare import script

__all__ = ["compare_figure", "script", "style"]


def compare_figure(data: bytes, *, name: str, on_commit: Callable[[], None]) -> None:
    """Show the figure.

    Args:
        data: From `cfviz.figures.live.compare.pack`; the same bytes are not sent again.
        name: The widget's key.
        on_commit: Called when the reader's choice changed, before the rerun; `st.session_state[name]` has it
            under "commit".
    """
    _component()(key=name, data=data, on_commit_change=on_commit)


def style() -> str:
    """The living figure's style sheet and what this figure adds to it."""
    return web.style("shared/figure.css", "compare/compare.css")


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_compare", html='<div class="cp-host"></div>', css=style(), js=script()
    )
