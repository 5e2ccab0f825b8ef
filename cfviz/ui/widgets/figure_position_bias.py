"""The page on position bias, in the browser: surfaces, how they are made, resized windows, and answers.

The message of the first three is `figures.live.position_bias.pack`'s; they share the choice of block, head
and offset. That of the last is `figures.live.position_bias_answer.pack`'s. What was chosen comes back as a
dict; where ways of an answer are still missing, the figure asks for another run by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.figures.live.position_bias import script

__all__ = ["bias_figure", "script", "style"]


def bias_figure(data: bytes, *, name: str, on_commit: Callable[[], None]) -> None:
    """Show one of the figures.

    Args:
        data: From one of the two `pack`s; the same bytes are not sent again.
        name: The widget's key.
        on_commit: Called when something was chosen, before the rerun; `st.session_state[name]` has it under
            "commit".
    """
    _component()(key=name, data=data, on_commit_change=on_commit, on_more_change=_nothing)


def _nothing() -> None:
    """Streamlit wants a callback for every value it keeps."""


def style() -> str:
    """The living figure's style sheet and what these figures add to it."""
    return web.style("shared/figure.css", "position_bias/position_bias.css")


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_position_bias", html='<div class="pb-host"></div>', css=style(), js=script()
    )
