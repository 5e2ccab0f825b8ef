"""How far a student is: kept in the student's own browser, a copy in the session, a table to take away.

The server stores nothing. The browser's store is read once when the page opens and written at every answer,
by the small component in `desk.js`, which also holds the button for the full screen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.ui.session import forms
from cfviz.ui.widgets.figure import committed
from cfviz.ui.widgets.takeaway import to_csv

from .course import Course

STORE = "cfviz.lessons"  # in the browser
DESK = "learn.desk"
MAX_TEXT = 20_000  # of what a browser gives back
_FIRST, _KNOWN = "cfviz.learn.first", "cfviz.learn.known"

Answers = dict[str, bool]  # "lesson.step" ids -> whether the first answer was right


def ids(course: Course) -> list[str]:
    """The steps' names, in order: "windows.tokens"."""
    return [f"{lesson.id}.{step.id}" for lesson in course.lessons for step in lesson.steps]


def dump(answers: Mapping[str, bool]) -> str:
    """As the browser keeps it."""
    return json.dumps({"v": 1, "first": {key: int(right) for key, right in answers.items()}})


def parse(text: Any, known: list[str]) -> Answers:
    """What a browser kept; what makes no sense is left out.

    Args:
        text: From the browser, so anything.
        known: The steps there are.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return {}
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    first = read.get("first") if isinstance(read, dict) else None
    if not isinstance(first, dict):
        return {}
    return {key: bool(first[key]) for key in known if type(first.get(key)) is int}


def answers() -> Answers:
    """The first answers of this session's student."""
    return st.session_state.setdefault(_FIRST, {})


def record(step: str, right: bool) -> None:
    """Keep an answer; of several to one step the first counts."""
    answers().setdefault(step, right)


def reset() -> None:
    """Forget all answers, in the browser too."""
    st.session_state[_FIRST] = {}
    st.session_state[_KNOWN] = True


def desk(
    course: Course, at: str, open: bool, present: bool, words: dict[str, str], on: Callable[[], None]
) -> None:
    """Mount the component: it reads and writes the browser's store and can fill the screen.

    Args:
        course: All lessons.
        at: Which step is shown; another one is scrolled into view.
        open: Whether its question is open; once it is closed, the focus goes on to the next button.
        present: Whether the page is being presented.
        words: Its labels: "full", "leave".
        on: Called when the student asks for the full screen, leaves it, or a presenter's key was pressed;
            `asked()` tells which.
    """

    def adopt() -> None:
        stored = committed(DESK, forms.STORED, "stored")
        if stored is not None:
            st.session_state[_FIRST] = answers() | parse(stored, ids(course))
            st.session_state[_KNOWN] = True

    save = dump(answers()) if st.session_state.get(_KNOWN) else None
    data = {"store": STORE, "save": save, "at": at, "open": open, "present": present, "words": words}
    _component()(
        key=DESK, data=data, on_stored_change=adopt, on_asked_change=on, height="content", width="content"
    )


def asked() -> str | None:
    """What was asked of the desk: "full", "leave", "next" or "back"."""
    return committed(DESK, forms.DESK_ASKED, "asked")


def table(course: Course, lang: str) -> bytes:
    """The progress as a CSV file: one row a step."""
    mine, rows = answers(), []
    for (i, j), key in zip(course.places(), ids(course), strict=True):
        lesson, step = course.lessons[i - 1], course.step(i, j)
        titles = [course.text(lang, f"{lesson.id}.title"), course.text(lang, f"{lesson.id}.{step.id}.title")]
        rows.append((i, j, *titles, {True: "right", False: "wrong", None: ""}[mine.get(key)]))
    return to_csv(("lesson", "step", "lesson_title", "step_title", "first_answer"), rows)


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component(
        "cfviz_desk",
        html='<div class="desk"></div>',
        css=web.text("desk/desk.css"),
        js=web.script("desk/main.js"),
    )
