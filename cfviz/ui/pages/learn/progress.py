"""A student's progress: kept in the student's own browser, copied to the session, downloadable as a table.

The server stores nothing. The browser's storage is read once when the page opens and written at every answer,
by the small component in `web/desk`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.lessons import selftest
from cfviz.lessons.course import STORE, Course
from cfviz.ui.session import forms
from cfviz.ui.widgets.figure import committed
from cfviz.ui.widgets.takeaway import to_csv

DESK = "learn.desk"
MAX_TEXT = 20_000  # characters accepted from a browser
_FIRST, _KNOWN, _TESTS = "cfviz.learn.first", "cfviz.learn.known", "cfviz.learn.tests"

Answers = dict[str, bool]  # "lesson.step" ids -> whether the first answer was right


def ids(course: Course) -> list[str]:
    """The steps' names, in order: "windows.tokens"."""
    return [f"{lesson.id}.{step.id}" for lesson in course.lessons for step in lesson.steps]


def dump(answers: Mapping[str, bool], tests: selftest.Book | None = None) -> str:
    """The answers to the lessons and the self-tests as the browser stores them."""
    first = {key: int(right) for key, right in answers.items()}
    return json.dumps({"v": 1, "first": first, "tests": selftest.to_json(tests or {})})


def parse(text: Any, known: list[str]) -> Answers:
    """The answers a browser stored; invalid entries are left out.

    Args:
        text: The stored text; it comes from the browser, so it can be anything.
        known: Ids of the existing steps.
    """
    first = _stored(text, "first")
    if not isinstance(first, dict):
        return {}
    return {key: bool(first[key]) for key in known if type(first.get(key)) is int}


def parse_tests(text: Any) -> selftest.Book:
    """The self-tests a browser stored; invalid entries are left out."""
    return selftest.from_json(_stored(text, "tests"))


def _stored(text: Any, part: str) -> Any:
    """A part of what a browser stored; None if there is none or the text cannot be read."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return None
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return read.get(part) if isinstance(read, dict) else None


def answers() -> Answers:
    """The first answers of this session's student."""
    return st.session_state.setdefault(_FIRST, {})


def tests() -> selftest.Book:
    """The self-tests of this session's student."""
    return st.session_state.setdefault(_TESTS, {})


def forget_test(name: str) -> None:
    """Delete a self-test, in the browser too."""
    tests().pop(name, None)


def known() -> bool:
    """Whether the browser has told what it stores; before that, nothing new may begin."""
    return bool(st.session_state.get(_KNOWN))


def record(step: str, right: bool) -> None:
    """Record an answer; only the first answer to a step counts."""
    answers().setdefault(step, right)


def reset() -> None:
    """Delete the answers to the lessons, in the browser too; self-tests stay."""
    st.session_state[_FIRST] = {}
    st.session_state[_KNOWN] = True


def desk(course: Course, at: str, open: bool) -> None:
    """Mount the component, which reads and writes the browser's storage.

    Args:
        course: All lessons.
        at: The step on show; a new one is scrolled into view.
        open: Whether the step's question is open; once it closes, the focus moves to the next button.
    """

    def adopt() -> None:
        stored = committed(DESK, forms.STORED, "stored")
        if stored is not None:
            st.session_state[_FIRST] = answers() | parse(stored, ids(course))
            st.session_state[_TESTS] = tests() | parse_tests(stored)
            st.session_state[_KNOWN] = True

    save = dump(answers(), tests()) if known() else None
    data = {"store": STORE, "save": save, "at": at, "open": open}
    _component()(key=DESK, data=data, on_stored_change=adopt, height=1)


def table(course: Course, lang: str) -> bytes:
    """The progress as a CSV file, one row per step."""
    mine, rows = answers(), []
    for (i, j), key in zip(course.places(), ids(course), strict=True):
        lesson, step = course.lessons[i - 1], course.step(i, j)
        titles = [course.text(lang, f"{lesson.id}.title"), course.text(lang, f"{lesson.id}.{step.id}.title")]
        rows.append((i, j, *titles, {True: "right", False: "wrong", None: ""}[mine.get(key)]))
    return to_csv(("lesson", "step", "lesson_title", "step_title", "first_answer"), rows)


@lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component("cfviz_desk", js=web.script("desk/main.js"))
