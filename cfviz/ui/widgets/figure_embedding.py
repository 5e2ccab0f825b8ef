"""The figure of the page on cross-scale embedding: everything that follows the pointer, in the browser.

The message is `figures.live.embedding.pack`'s; photo canvas, colours, hatching and controls are the living
figure's modules. Its state comes back after a click or a key: cel, measure, row, col.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.figures.live.embedding import script

__all__ = ["embedding_figure", "script", "style"]


def embedding_figure(data: bytes, *, name: str, on_commit: Callable[[], None]) -> None:
    """Show the figure.

    Args:
        data: From `cfviz.figures.live.embedding.pack`; the same bytes are not sent again.
        name: The widget's key.
        on_commit: Called when the reader's choice changed, before the rerun; `st.session_state[name]` has it
            under "commit".
    """
    _component()(key=name, data=data, on_commit_change=on_commit)


def style() -> str:
    """The living figure's style sheet and what this figure adds to it."""
    return web.style("shared/figure.css", "embedding/embedding.css")


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_embedding", html='<div class="em-host"></div>', css=style(), js=script()
    )
