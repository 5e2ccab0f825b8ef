"""Living figures on a page: one class shows them all, and `move_to` moves the attention figure to a place.

The attention figure
--------------------
A page packs the figure's content once per photo and model, and mounts it::

    from cfviz.figures.live import attention
    from cfviz.ui.widgets.figure import living_figure, move_to

    units = attention.units(trace.arrays, trace.groupings)    # or Unit(s, b, grouping) for groups alone
    packed = attention.pack(units, size=(224, 224), strides={0: 4, 1: 8, 2: 16, 3: 32},
                            strings=figure_words("attention", lang), photo=trace.crop, name="attention",
                            start={"stage": 0, "block": 0, "head": 0, "row": 12, "col": 30})
    living_figure(packed.data, name="attention", on_commit=callback)
    move_to("attention", stage=2, block=1)       # from a callback: move it without sending its data again

To get the first picture on screen sooner, and to send no stage that nobody looks at, pack twice:
`part="first"` for `living_figure`, then `part="stage"` for `follow_up`. The figure draws the first part and
adds the other blocks when they arrive.

In the callback, `committed(name, forms.ATTENTION)` returns what was clicked: a dict of stage, block, head,
row and col (all from 0), locked and, if the figure lacks the block, need=True: follow up with a part "stage"
that starts there.
Hovering never reaches Python. Pack the same bytes on a rerun (keep them in a cache), and Streamlit sends
nothing.
A unit without content shows groups only: no heads, no scale, the members tinted in the colour of their kind.
Without a photo the tokens are drawn plain. In the browser, `document.querySelector(".cf").figure` is the
figure (inside the component's shadow root): `.set({row, col})`, `.state`, `.frame`.

The message format: `cfviz/figures/live/message.py`; this figure's content: `figures/live/attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.ui.session import forms

__all__ = [
    "AMPLITUDE", "ATTENTION", "BRUSH", "COMPARE", "CROP", "DENSE", "EMBEDDING", "GROUPING", "HOME", "LAB",
    "OPERATIONS", "PARTS", "PICKER", "POSITION_BIAS", "READING", "SIMILAR", "SURVEY", "Component",
    "about_to_appear", "committed", "drive", "follow_later", "follow_up", "living_figure", "move_to",
]  # fmt: skip


def _nothing() -> None:
    """Do nothing; Streamlit requires a callback for every value it keeps."""


class Component:
    """A living figure as a Streamlit component.

    Args:
        figure: The figure's code for the browser.
        name: The component's name in Streamlit.
        keeps: Names of the values the browser sets, the reader's choice first; empty for a figure that sends
            nothing to Python.
    """

    def __init__(self, figure: web.Figure, name: str, keeps: Sequence[str] = ("commit",)) -> None:
        self.figure, self.name, self.keeps = figure, name, tuple(keeps)

    def show(self, data: Any, *, name: str, on_commit: Callable[[], None] | None = None) -> None:
        """Show the figure.

        Args:
            data: The bytes of the figure's message, or a dict; identical data are not sent again.
            name: The widget's key.
            on_commit: Called when the reader chooses something, before the rerun; `committed` returns it.
        """
        heard = {f"on_{kept}_change": _nothing for kept in self.keeps}
        if on_commit is not None:
            heard[f"on_{self.keeps[0]}_change"] = on_commit
        self._registered(key=name, data=data, **heard)

    @cached_property
    def _registered(self) -> Any:
        html = f'<div class="{self.figure.host}"></div>'
        return st.components.v2.component(self.name, html=html, css=self.figure.style, js=self.figure.script)


AMPLITUDE = Component(web.AMPLITUDE, "cfviz_amplitude", keeps=())
ATTENTION = Component(web.ATTENTION, "cfviz_living")
BRUSH = Component(web.BRUSH, "cfviz_brush")
COMPARE = Component(web.COMPARE, "cfviz_compare")
CROP = Component(web.CROP, "cfviz.crop")
DENSE = Component(web.DENSE, "cfviz_dense")
EMBEDDING = Component(web.EMBEDDING, "cfviz_embedding")
GROUPING = Component(web.GROUPING, "cfviz_grouping", keeps=())  # keeps its state in the URL
HOME = Component(web.HOME, "cfviz.whole", keeps=("go",))
LAB = Component(web.LAB, "cfviz_lab")
OPERATIONS = Component(web.OPERATIONS, "cfviz_operations", keeps=())
PARTS = Component(web.PARTS, "cfviz_parts")
PICKER = Component(web.PICKER, "cfviz.picker", keeps=("pick",))
POSITION_BIAS = Component(
    web.POSITION_BIAS, "cfviz_position_bias", keeps=("commit", "more")
)  # more: another run
READING = Component(web.READING, "cfviz_reading", keeps=())
SIMILAR = Component(web.SIMILAR, "cfviz_similar")
SURVEY = Component(web.SURVEY, "cfviz_survey")


def living_figure(
    data: bytes, *, name: str, on_commit: Callable[[], None] | None = None, driver: bool = True
) -> None:
    """Show the figure.

    Args:
        data: `Packed.data`.
        name: The name it was packed with, also the widget's key; must not change from run to run.
        on_commit: Called on a click, before the rerun; `committed` returns what was clicked.
        driver: Whether `move_to` moves the figure; False if the page calls `drive` itself.
    """
    ATTENTION.show(data, name=name, on_commit=on_commit)
    if driver:
        seq, to = st.session_state.get(_orders(name), (0, {}))
        _driver()(key=f"{name}-go", data={"name": name, "seq": seq, "to": to}, height=1)


def follow_up(data: bytes, *, name: str) -> None:
    """Send the figure called `name` blocks that its first message left out.

    Args:
        data: `Packed.data` of a part "stage", packed under the same name.
        name: The figure's name.
    """
    _follower()(key=f"{name}-rest", data=data, height=1, on_asked_change=_nothing)


@st.fragment
def follow_later(source: str, *messages: tuple[str, Callable[[], bytes]]) -> None:
    """Send a figure what takes longer than itself, once the browser has it and asks for more.

    The page's own run ends without it; the browser asks by itself, and then this alone runs. One message is
    asked for after the other: of two questions at once, Streamlit's browser code sends only one.

    Args:
        source: What the figure shows; something else is asked for anew.
        *messages: Each under a name of its own, which the figure knows, and a function that computes it.
    """
    for name, make in messages:
        key = f"cfviz.asked.{name}"
        asked = st.session_state.get(key) == source
        _follower()(
            key=f"{name}-rest", data=make() if asked else {"ask": source}, height=1,
            on_asked_change=partial(st.session_state.update, {key: source}),
        )  # fmt: skip
        if not asked:
            return


def move_to(name: str, **to: Any) -> None:
    """Move the figure called `name` to a stage, block, head, row, col (from 0), from a callback.

    The move happens once, at the next run, without sending the figure's data again.
    """
    seq, _ = st.session_state.get(_orders(name), (0, {}))
    st.session_state[_orders(name)] = (seq + 1, to)


def drive(name: str, seq: str, to: dict[str, Any], quiz: dict[str, Any] | None) -> None:
    """Move a named figure to a place and let it ask a lesson's question.

    Args:
        name: The figure's name.
        seq: Changes with every move; each move is carried out once.
        to: The destination, as the figure's own state.
        quiz: The question, in the form the figure's code expects; None for no question.
    """
    _driver()(key=f"{name}-go", data={"name": name, "seq": seq, "to": to, "quiz": quiz}, height=1)


def about_to_appear(name: str) -> bool:
    """Whether the figure is about to appear: on the first run of its page, or on returning to it."""
    return name not in st.session_state


def committed(name: str, form: forms.Form, what: str = "commit") -> Any:
    """The value a component has just sent, for a callback; None if it does not fit the form.

    Args:
        name: The widget's key.
        form: The form to check the value against.
        what: Which of the component's values to read.
    """
    state = st.session_state.get(name)
    return forms.accepted(name, form, state.get(what) if state else None)


def _orders(name: str) -> str:
    return f"cfviz.go.{name}"


@lru_cache(maxsize=1)
def _driver() -> Any:
    code = web.script("shared/drive.js")
    return st.components.v2.component("cfviz_drive", js=code)


@lru_cache(maxsize=1)
def _follower() -> Any:
    code = web.script("shared/rest.js")
    return st.components.v2.component("cfviz_rest", js=code)
