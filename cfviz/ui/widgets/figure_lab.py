"""The architecture as a board of parts: a click adds an intervention, the colours say what it would do.

Written in the words of links (`interventions.language.to_url`): the browser keeps the list as one string
and sends it back whole, with the fill that a click stands for and a number that grows, so that an answer to
an older list does not undo a newer click.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web

__all__ = ["lab_board", "script", "style"]


def lab_board(data: dict[str, Any], *, name: str, on_commit: Callable[[], None]) -> None:
    """Show the board.

    Args:
        data: From `cfviz.figures.plots.lab.board`.
        name: The widget's key.
        on_commit: Called when the list or the fill changed, before the rerun; `st.session_state[name]` has
            them under "commit": {"do", "how", "seq"}.
    """
    _component()(key=name, data=data, on_commit_change=on_commit)


def script() -> str:
    """The modules joined into one, in the order of their imports."""
    return web.script("lab/board.js")


def style() -> str:
    """The style sheet."""
    return web.text("lab/lab.css")


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_lab", html='<div class="lab-host"></div>', css=style(), js=script()
    )
