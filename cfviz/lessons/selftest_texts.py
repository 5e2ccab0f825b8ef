"""What the self-test says: a question, its options and its pictures in words, and where a topic is taught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfviz.words import Translator, signed, together

from .course import Course
from .selftest import TOPICS, Item


def text(t: Translator, part: str, item: Item) -> str:
    """A sentence on a question.

    Args:
        t: Texts of one language.
        part: "ask", the question itself, or "why", the reason for its answer.
        item: The question.
    """
    said = t(f"selftest.{part}_{item.topic}", **item.question.fields)
    return said.replace(" × ", "\u00a0×\u00a0")


def option_name(t: Translator, item: Item, code: str) -> str:
    """What an option says; any code that is none of them says that one does not know."""
    texts = {option.code: str(option.fields["text"]) for option in item.question.options}
    return texts.get(code, t("selftest.unsure"))


def map_said(t: Translator, item: Item) -> str:
    """The picture of a map, for those who cannot see it."""
    said = t("selftest.map", side=item.side, row=item.query[0], col=item.query[1])
    for letter, (row, col) in item.letters.items():
        said = together(said, t("selftest.map_letter", letter=letter, row=row, col=col))
    return said


def bias_said(t: Translator, letter: str, surface: np.ndarray) -> str:
    """A bias in two numbers, for those who cannot see it: beside the query, and at the greatest distance."""
    last = len(surface) // 2
    down, across = np.mgrid[-last : last + 1, -last : last + 1]
    ring = np.maximum(abs(down), abs(across))
    near, far = float(surface[ring == 1].mean()), float(surface[ring == last].mean())
    return t("selftest.bias_said", letter=letter, near=signed(near), far=signed(far), last=last)


def by_guessing(asked: Sequence[Item]) -> str:
    """How many answers guessing gets right on average."""
    return f"{sum(1 / len(item.question.options) for item in asked):.1f}"


def taught_at(course: Course) -> dict[str, tuple[int, int]]:
    """Topic -> lesson and step, from 1, that teach it; a topic that no step teaches is left out."""
    places = {
        (lesson.id, step.id): (i, j)
        for i, lesson in enumerate(course.lessons, 1)
        for j, step in enumerate(lesson.steps, 1)
    }
    return {topic: places[step] for topic, step in TOPICS.items() if step in places}
