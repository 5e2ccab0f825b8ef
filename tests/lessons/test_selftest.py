"""The self-test: its questions against counts made by hand, its answers kept, its results taken away."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import cfviz
from cfviz.lessons import load_lessons, selftest
from cfviz.lessons.selftest import FORMS, TOPICS, UNSURE, Item, Sitting
from cfviz.ui.pages.learn import progress
from cfviz.words import LANGUAGES, lookup, placeholders

NO_MODEL: Any = None  # only the question on a position bias needs one
NAMES = ("1", "spring-2027", "Q")
DRAWN = {(name, form, topic): selftest._item(name, form, topic, NO_MODEL)
         for name in NAMES for form in FORMS for topic in TOPICS if topic != "bias"}  # fmt: skip


def good(item: Item) -> str:
    (code,) = item.question.good
    return code


def expected(item: Item) -> int:
    """The answer to a question on numbers, counted without the app's geometry."""
    f: dict[str, Any] = dict(item.question.fields)
    if item.topic == "order":
        return f["G"] ** 2
    if item.topic == "interval":
        return -(-f["side"] // f["G"])
    if item.topic == "reach":  # the windows of a group that covers the map do not overlap, as I > G
        return f["G"] ** 4
    if item.topic == "cost":
        return f["k"] ** 2
    if item.topic == "squares":
        return f["k"] - 4
    if item.topic == "channels":
        return f["dim"] // {4: 2, 8: 4, 16: 8, 32: 8}[f["k"]]
    return (2 * f["wide"] - 1) ** 2 - (2 * f["G"] - 1) ** 2  # offsets


@pytest.mark.parametrize("key", DRAWN, ids=" ".join)
def test_every_question_has_four_options_and_the_answer_counted_by_hand(key: tuple[str, str, str]) -> None:
    item = DRAWN[key]
    codes = [option.code for option in item.question.options]
    assert len(set(codes)) == len(codes) == 4
    if not item.letters:
        assert int(good(item)) == expected(item)
        return
    f: dict[str, Any] = dict(item.question.fields)
    row, col = item.query

    def shares(token: tuple[int, int]) -> bool:
        if item.topic == "sda":
            return (token[0] // f["G"], token[1] // f["G"]) == (row // f["G"], col // f["G"])
        return (token[0] - row) % f["I"] == 0 and (token[1] - col) % f["I"] == 0

    assert [letter for letter, token in item.letters.items() if shares(token)] == [good(item)]
    assert len({item.query, *item.letters.values()}) == 5
    assert all(0 <= n < item.side for token in item.letters.values() for n in token)


def test_both_forms_ask_the_same_topics_with_other_answers() -> None:
    for name in NAMES:
        for topic in TOPICS:
            if topic == "bias":
                continue
            a, b = (DRAWN[name, form, topic] for form in FORMS)
            assert a.question.fields != b.question.fields
            assert a.letters or good(a) != good(b)


def test_a_name_draws_the_same_questions_everywhere_and_another_name_others() -> None:
    def texts(name: str) -> str:
        drawn = [DRAWN.get((name, "A", topic)) for topic in TOPICS]
        return repr([(item.question.fields, item.letters) for item in drawn if item])

    again = [selftest._item("1", "A", topic, NO_MODEL) for topic in TOPICS if topic != "bias"]
    assert repr([(item.question.fields, item.letters) for item in again]) == texts("1")
    assert len({texts(name) for name in NAMES}) == len(NAMES)


@pytest.mark.slow
def test_the_head_that_looks_nearest_is_read_from_the_bundled_model() -> None:
    model = cfviz.create_model("crossformer_nano", weights="bundled")
    for form in FORMS:
        item = selftest.items("1", form, model)[-1]
        assert len(item.surfaces) == 4
        distance = {}
        for letter, surface in item.surfaces.items():
            last = len(surface) // 2
            down, across = np.mgrid[-last : last + 1, -last : last + 1]
            weights = np.exp(surface - surface.max())
            distance[letter] = float((weights / weights.sum() * np.hypot(down, across)).sum())
        assert min(distance, key=lambda letter: distance[letter]) == good(item)
        assert sorted(distance.values())[1] - min(distance.values()) > 0.3  # tokens: it can be seen


def test_every_topic_has_its_words_and_a_step_that_teaches_it() -> None:
    steps = {(lesson.id, step.id) for lesson in load_lessons().lessons for step in lesson.steps}
    assert set(TOPICS.values()) <= steps
    for topic in TOPICS:
        item = DRAWN.get(("1", "A", topic))
        known = set(item.question.fields) if item else {"stage", "block", "best"}
        for lang in LANGUAGES:
            for part in ("ask", "why"):
                assert placeholders(lookup(lang, f"selftest.{part}_{topic}") or "{}") <= known
            assert lookup(lang, f"selftest.topic_{topic}")


def test_an_answer_is_counted_once_and_not_knowing_is_not_right() -> None:
    questions = [DRAWN["1", "A", topic] for topic in TOPICS if topic != "bias"]
    sitting = Sitting("A", "1.0", 100)
    for item in questions:
        sitting = sitting.answered(good(item) if item.topic != "cost" else UNSURE, 101)
    assert sitting.marks(questions) == [item.topic != "cost" for item in questions]
    full = sitting.answered("A", 102)
    assert full.done
    assert full.answered("B", 103) == full


@pytest.mark.parametrize(("order", "forms"), [("ab", ["A", "B"]), ("ba", ["B", "A"])])
def test_the_order_decides_which_form_comes_first(order: str, forms: list[str]) -> None:
    assert [selftest.form_of(phase, order) for phase in selftest.PHASES] == forms


def test_a_reload_goes_on_at_the_next_question() -> None:
    book = {"1": {"before": Sitting("B", "1.abc", 100, (("A", 105), (UNSURE, 109)))}}
    stored = progress.dump({"windows.tokens": True}, book)
    assert progress.parse_tests(stored) == book
    assert progress.parse(stored, ["windows.tokens"]) == {"windows.tokens": True}
    assert progress.parse_tests(progress.dump({})) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"form": "C"}, {"form": ["A"]}, {"of": 3}, {"of": "<b>"}, {"at": -1}, {"at": True}, {"at": 1e400},
        {"told": "A"}, {"told": [["A"]]}, {"told": [["A", "1"]]}, {"told": [["<b>", 1]]},
        {"told": [["A", 1]] * 11}, {"told": None},
    ],
)  # fmt: skip
def test_a_damaged_record_is_left_out(change: dict[str, Any]) -> None:
    fine = {"form": "A", "of": "1.abc", "at": 100, "told": [["A", 105]]}
    assert list(selftest.from_json({"1": {"before": fine}})) == ["1"]
    assert selftest.from_json({"1": {"before": fine | change}}) == {}
    assert selftest.from_json({"a b": {"before": fine}, "2": fine, "3": None}) == {}
    many = {f"n{n}": {"before": fine} for n in range(20)}
    assert len(selftest.from_json(json.loads(json.dumps(many)))) == selftest.MAX_SETS
