"""The figures of the page on position bias, in the browser: surfaces, how they are made, resized windows.

The message is `cfviz.figures.position_bias.pack`'s; the three share the choice of block, head and offset. A
choice comes back as a dict of block (its number in the message) and head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from cfviz.figures import living

__all__ = ["bias_figure", "script", "style"]

HERE = Path(__file__).resolve().parent
OWN = ("surface_maths", "drawing", "part", "surfaces", "made", "resized", "main")


def bias_figure(data: bytes, *, name: str, on_commit: Callable[[], None]) -> None:
    """Show one of the figures.

    Args:
        data: From `cfviz.figures.position_bias.pack`; the same bytes are not sent again.
        name: The widget's key.
        on_commit: Called when a block or a head was chosen, before the rerun; `st.session_state[name]` has it
            under "commit".
    """
    _component()(key=name, data=data, on_commit_change=on_commit)


def script() -> str:
    """The modules joined into one, in the order of their imports."""
    return living.companion(HERE.name, OWN)


def style() -> str:
    """The living figure's style sheet and what these figures add to it."""
    return living.style() + (HERE / "position_bias.css").read_text("utf-8")


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_position_bias", html='<div class="pb-host"></div>', css=style(), js=script()
    )
