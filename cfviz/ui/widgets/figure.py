"""The living figure and how to use it: one canvas component for every page, notebook and offline file.

Use
---
A page packs what it shows once a photo and model, and mounts it::

    from cfviz.figures.live import attention as living
    from cfviz.ui.widgets.figure import go, living_figure

    units = living.units(trace.arrays, trace.groupings)       # or Unit(s, b, grouping) for groups alone
    packed = living.pack(units, size=(224, 224), strides={0: 4, 1: 8, 2: 16, 3: 32},
                         strings=living.words(lang), photo=trace.crop, name="attention",
                         start={"stage": 0, "block": 0, "head": 0, "row": 12, "col": 30})
    chosen = living_figure(packed.data, name="attention", on_commit=callback)
    go("attention", stage=2, block=1)       # from a callback: send it somewhere without its data again

Where the first picture should come soon, pack twice: `part="first"` for `living_figure`, then `part="rest"`
for `follow_up`. The figure draws the first and takes the rest in when it comes.

`living_figure` returns what was last clicked, a dict of stage, block, head, row, col (all from 0), locked
and, where the block was left out of the message, need=True: pack again with that block as the start.
Hovering never reaches Python. Pack the same bytes on a rerun (keep them in a cache): Streamlit then sends
nothing.
A unit without content shows groups only: no heads, no scale, the members tinted in the colour of their kind.
Without a photo the tokens are drawn plain. In the browser, `document.querySelector(".cf").figure` is the
figure (inside the component's shadow root): `.set({row, col})`, `.state`, `.frame`.

The message's bytes: `cfviz/figures/live/message.py`; what this figure's says: `figures/live/attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.figures.live import attention as living

__all__ = ["committed", "drive", "follow_up", "fresh", "go", "living_figure"]


def living_figure(
    data: bytes, *, name: str, on_commit: Callable[[], None] | None = None, driver: bool = True
) -> dict[str, Any] | None:
    """Show the figure.

    Args:
        data: `Packed.data`.
        name: The name it was packed with, also the widget's key; must not change from run to run.
        on_commit: Called at a click, before the rerun; `committed(name)` tells what was clicked.
        driver: Whether `go` sends it places; False where the page calls `drive` itself.

    Returns:
        What was last clicked: stage, block, head, row, col (from 0), locked; None before the first click.
    """
    result = _component()(key=name, data=data, on_commit_change=on_commit or _nothing)
    if driver:
        seq, to = st.session_state.get(_orders(name), (0, {}))
        _driver()(key=f"{name}-go", data={"name": name, "seq": seq, "to": to}, height=1)
    return result.get("commit")


def follow_up(data: bytes, *, name: str) -> None:
    """Send the figure called `name` the blocks that its first message left for later.

    Args:
        data: `Packed.data` of the part "rest", packed with that name.
        name: The figure's name.
    """
    _follower()(key=f"{name}-rest", data=data, height=1)


def go(name: str, **to: Any) -> None:
    """Send the figure called `name` to a stage, block, head, row, col (from 0), from a callback.

    The order is carried out once, at the next run, and leaves the figure's data where it is.
    """
    seq, _ = st.session_state.get(_orders(name), (0, {}))
    st.session_state[_orders(name)] = (seq + 1, to)


def drive(name: str, seq: str, to: dict[str, Any], quiz: dict[str, Any] | None) -> None:
    """Send a figure somewhere and let it ask a lesson's question; of any figure that has a name.

    Args:
        name: The figure's.
        seq: Changes with every order; an order is carried out once.
        to: The figure's own state.
        quiz: What it asks, see the figure's own code; None: nothing.
    """
    _driver()(key=f"{name}-go", data={"name": name, "seq": seq, "to": to, "quiz": quiz}, height=1)


def fresh(name: str) -> bool:
    """Whether the figure is about to appear: the first run of its page, also after another page."""
    return name not in st.session_state


def committed(name: str) -> dict[str, Any] | None:
    """What was just clicked, for an `on_commit` callback."""
    state = st.session_state.get(name)
    return state.get("commit") if state else None


def _orders(name: str) -> str:
    return f"cfviz.go.{name}"


def _nothing() -> None:
    """Streamlit wants a callback for every value it keeps."""


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_living", html='<div class="cf-host"></div>', css=living.style(), js=living.script()
    )


@lru_cache(maxsize=1)
def _driver() -> Any:
    code = web.script("shared/drive.js")
    return st.components.v2.component("cfviz_drive", js=code)


@lru_cache(maxsize=1)
def _follower() -> Any:
    code = web.script("shared/rest.js")
    return st.components.v2.component("cfviz_rest", js=code)
