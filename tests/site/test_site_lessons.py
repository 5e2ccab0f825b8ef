"""The lessons of the site: answers are judged as in the app, and every step has its figure and sentences."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from html import unescape
from itertools import combinations
from typing import Any

import pytest

from cfviz import point_names, web
from cfviz.data.samples import sample
from cfviz.lessons import Question, Scene, grade, load_lessons
from cfviz.lessons.course import QUESTION_KINDS
from cfviz.lessons.figures import order
from cfviz.lessons.question import accepted, place
from cfviz.models.variants import BUNDLED
from cfviz.run import inspect, load
from cfviz.site.lessons import DRAWN, course_words, maps, questions
from cfviz.trace import Trace
from cfviz.words import LANGUAGES, marked, translator

COURSE = load_lessons()
STEPS = [
    (f"{lesson.id}.{step.id}", step)
    for lesson in COURSE.lessons
    for step in lesson.steps
    if step.figure in DRAWN
]
JUDGE = """([asked, languages, answers]) => answers.map(([step, answer]) => {
  const question = asked[step];
  const kept = grading.accepted(question, answer);
  if (!kept.length) return [kept];
  const found = grading.grade(question, kept);
  return [kept, found.right, ...languages.map(({ texts, words }) =>
    new grading.Sentences(texts, words).verdict(step, question, found))];
})"""


@pytest.fixture(scope="module")
def trace() -> Trace:
    watch = [f"layers.*.blocks.*.attn.{name}" for name in ("q", "k", "bias", "probs")]
    return inspect(sample("cat").typed, load(BUNDLED), watch=[*watch, *point_names.embeddings()])


@pytest.fixture(scope="module")
def asked(trace: Trace) -> dict[str, Any]:
    return json.loads(questions(trace, load(BUNDLED)))


@pytest.fixture(scope="module")
def scene(trace: Trace) -> Scene:
    return Scene(load(BUNDLED), trace.size, lambda *watch: trace)


def told(name: str, question: Question, answer: tuple[str, ...], lang: str) -> str:
    """The verdict as the app puts it together, as HTML."""
    found = grade(question, answer)
    said = COURSE.text(lang, f"{name}.{'right' if found.right else 'wrong'}", **found.fields)
    if found.reason:
        why = COURSE.text(lang, found.reason[0], **found.reason[1])
        said = why if question.kind == "token" else translator(lang)("learn.and_why", said=said, why=why)
    return unescape(marked(said))


def tried(question: Question, rng: random.Random) -> Iterator[list[str]]:
    """Every option and every set of options; right, wrong, unfinished and meaningless picks of tokens."""
    codes = [option.code for option in question.options]
    if codes:
        sizes = (1,) if question.kind == "one" else range(1, len(codes) + 1)
        yield from (list(some) for n in sizes for some in combinations(codes, n))
        yield [codes[0], codes[0], "none"]
        return
    good = sorted(question.good, key=place)
    tokens = sorted({*good, *question.why, *question.said, *question.free}, key=place)
    if question.kind == "token":
        yield from ([token] for token in rng.sample(tokens, 24))
        yield tokens[:2]
    else:
        yield good
        yield [*good, *question.free]
        yield good[1:]
        yield from (rng.sample(tokens, rng.randrange(1, 6)) for _ in range(24))
    yield ["x", ""]


@pytest.mark.slow
@pytest.mark.browser
def test_the_browser_judges_every_question_as_the_app_does(
    browser: Any, asked: dict[str, Any], scene: Scene
) -> None:
    rng, page, answers = random.Random(5), browser.new_page(), []
    made = {name: QUESTION_KINDS[step.ask].make(scene, step.state, step.after) for name, step in STEPS}
    for name, question in made.items():
        answers += [(name, answer) for answer in tried(question, rng)]
    code = web.program("site/grade.js", "window.grading = { accepted, grade, Sentences };")
    page.add_script_tag(content=code)
    languages = [course_words(lang) for lang in LANGUAGES]
    found = page.evaluate(JUDGE, [asked, languages, answers])
    page.close()
    rights = set()
    for (name, answer), (kept, *rest) in zip(answers, found, strict=True):
        wanted = accepted(made[name], answer)
        assert tuple(kept) == wanted, (name, answer)
        if not wanted:
            continue
        right, *texts = rest
        rights.add((name, right))
        assert right == grade(made[name], wanted).right, (name, answer)
        for lang, text in zip(LANGUAGES, texts, strict=True):
            assert unescape(text) == told(name, made[name], wanted, lang), (name, answer)
            assert "{" not in text
    assert rights == {(name, right) for name in made for right in (True, False)}


@pytest.mark.slow
def test_each_step_is_there_with_its_figure_and_sentences(asked: dict[str, Any], scene: Scene) -> None:
    assert list(asked) == [name for name, _ in STEPS]
    for lang in LANGUAGES:
        words = course_words(lang)
        assert len(words["steps"]) == len(words["places"]) == len(COURSE.places())
        for one in words["steps"]:
            parts = ("title", "say", "ask", "right", "wrong") if one["id"] in asked else ("title",)
            assert {f"{one['id']}.{part}" for part in parts} <= words["texts"].keys()
            assert (one["figure"] is None) == (one["id"] not in asked)
    for name, step in STEPS:
        question = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
        for state in ("open", "told"):
            wanted = order(step, scene, question, state == "open")
            assert asked[name][state]["to"] == json.loads(json.dumps(wanted.to))
            assert asked[name][state]["quiz"] == json.loads(json.dumps(wanted.quiz))


@pytest.mark.slow
def test_the_made_up_maps_are_those_of_the_steps(asked: dict[str, Any]) -> None:
    message = maps(224)
    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    for name, step in STEPS:
        if step.figure == "map":
            stage = next(one for one in header["stages"] if one["s"] == asked[name]["from"]["map"])
            assert (stage["H"], stage["W"]) == (step.state["side"],) * 2
            shown = [header["groupings"][block["grouping"]] for block in stage["blocks"]]
            assert [g["kind"] for g in shown] == ["sda", "lda"]
            assert [(g["Gh"], g["I"]) for g in shown] == [
                (step.state["G"], 1),
                (step.state["G"], step.state["I"]),
            ]
