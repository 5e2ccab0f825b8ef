"""The lessons and the self-test of the site: judged as in the app, and every step has its figure."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from html import unescape
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest

from cfviz import point_names, web
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.figures.live import dense, message
from cfviz.lessons import Question, Scene, grade, load_lessons, selftest
from cfviz.lessons.course import QUESTION_KINDS
from cfviz.lessons.figures import order
from cfviz.lessons.question import accepted, place
from cfviz.lessons.selftest import COLUMNS, UNSURE, Sitting
from cfviz.models.variants import BUNDLED
from cfviz.run import inspect, load
from cfviz.site import selftest as site_selftest
from cfviz.site.lessons import course_words, maps, questions, scene_of, scenes
from cfviz.trace import Trace
from cfviz.ui.pages.learn import progress, selftest_room
from cfviz.ui.widgets.takeaway import to_csv
from cfviz.words import LANGUAGES, figure_words, marked, translator

COURSE = load_lessons()
STEPS = [(f"{lesson.id}.{step.id}", step) for lesson in COURSE.lessons for step in lesson.steps]
JUDGE = """([asked, { texts, words }, answers]) => answers.map(([step, answer]) => {
  const question = asked[step];
  const kept = grading.accepted(question, answer);
  if (!kept.length) return [kept];
  const found = grading.grade(question, kept);
  return [kept, found.right, new grading.Sentences(texts, words).verdict(step, question, found)];
})"""


@pytest.fixture(scope="module")
def trace() -> Trace:
    watch = [f"layers.*.blocks.*.attn.{name}" for name in ("q", "k", "bias", "probs")]
    return inspect(sample("cat").typed, load(BUNDLED), watch=[*watch, *point_names.embeddings()])


@pytest.fixture(scope="module")
def image(trace: Trace) -> Any:
    return prepare(load_image(sample("cat").path), trace.size).tensor


@pytest.fixture(scope="module")
def asked(trace: Trace, image: Any) -> dict[str, dict[str, Any]]:
    """By language."""
    return {lang: json.loads(data) for lang, data in questions(trace, load(BUNDLED), image).items()}


@pytest.fixture(scope="module")
def subjects(trace: Trace, image: Any) -> dict[str, Scene]:
    kept: dict[Any, Any] = {}
    return {lang: scene_of(trace, load(BUNDLED), image, lang, kept) for lang in LANGUAGES}


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
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_browser_judges_every_question_as_the_app_does(
    browser: Any, asked: dict[str, Any], subjects: dict[str, Scene], lang: str
) -> None:
    rng, page, answers = random.Random(5), browser.new_page(), []
    made = {
        name: QUESTION_KINDS[step.ask].make(subjects[lang], step.state, step.after) for name, step in STEPS
    }
    for name, question in made.items():
        answers += [(name, answer) for answer in tried(question, rng)]
    code = web.program("site/grade.js", "window.grading = { accepted, grade, Sentences };")
    page.add_script_tag(content=code)
    found = page.evaluate(JUDGE, [asked[lang], course_words(lang), answers])
    page.close()
    rights = set()
    for (name, answer), (kept, *rest) in zip(answers, found, strict=True):
        wanted = accepted(made[name], answer)
        assert tuple(kept) == wanted, (name, answer)
        if not wanted:
            continue
        right, text = rest
        rights.add((name, right))
        assert right == grade(made[name], wanted).right, (name, answer)
        assert unescape(text) == told(name, made[name], wanted, lang), (name, answer)
        assert "{" not in text
    assert rights == {(name, right) for name in made for right in (True, False)}


@pytest.mark.slow
def test_each_step_is_there_with_its_figure_and_sentences(
    asked: dict[str, Any], subjects: dict[str, Scene]
) -> None:
    for lang in LANGUAGES:
        assert list(asked[lang]) == [name for name, _ in STEPS]
        words = course_words(lang)
        assert len(words["steps"]) == len(words["places"]) == len(COURSE.places())
        for one in words["steps"]:
            assert {f"{one['id']}.{part}" for part in ("title", "say", "ask", "right", "wrong")} <= words[
                "texts"
            ].keys()
        for name, step in STEPS:
            question = QUESTION_KINDS[step.ask].make(subjects[lang], step.state, step.after)
            for state in ("open", "told"):
                wanted = order(step, subjects[lang], question, state == "open")
                found = asked[lang][name][state]
                quiz = {part: value for part, value in found["quiz"].items() if part != "classes"}
                assert found["to"] == json.loads(json.dumps(wanted.to))
                assert quiz == json.loads(json.dumps(wanted.quiz))
    boards = [name for name, step in STEPS if step.figure == "board"]
    assert all(asked["en"][name]["told"]["to"]["effects"] for name in boards)


@pytest.mark.slow
def test_the_scene_is_the_apps(asked: dict[str, Any], subjects: dict[str, Scene]) -> None:
    """Before and after the answer: the classes, their colours and the answers on show."""
    files = scenes()
    for name, step in STEPS:
        if step.figure != "scene":
            continue
        for lang in LANGUAGES:
            subject, seen = subjects[lang].segmented(step.state["scene"])
            sent = message.opened(files[asked[lang][name]["from"]["shared"]]).header
            for state in ("open", "told"):
                quiz = asked[lang][name][state]["quiz"]
                answer = dataclasses.replace(
                    seen.answer, views=seen.answer.views[: quiz["views"]], names=subject.names
                )
                wanted = dense.pack(answer, strings=figure_words("dense", lang), explained=False).header
                assert [view["without"] for view in sent["views"][: quiz["views"]]] == [
                    view["without"] for view in wanted["views"]
                ]
                assert quiz["classes"] == wanted["classes"]


# ---------------------------------------------------------------- the self-test


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_files_of_results_are_the_apps(browser: Any, lang: str) -> None:
    """Byte for byte, in the middle of the test and at its end."""
    model, page = load(BUNDLED), browser.new_page()
    about = json.loads(site_selftest.questions(model, lang, ["1"]))
    assert about["edition"] == selftest.edition(model)
    page.goto("about:blank")
    page.add_script_tag(content=web.program("site/results.js", "window.results = { records, csv };"))
    ctx: Any = SimpleNamespace(t=translator(lang), lang=lang)
    asked = {
        phase: selftest.items("1", form, model)
        for phase, form in zip(selftest.PHASES, selftest.FORMS, strict=True)
    }
    codes = [[o.code for o in item.question.options] for item in asked["before"]]
    answers = [(UNSURE if n == 3 else some[n % 4], 150 + 7 * n) for n, some in enumerate(codes)]
    first = Sitting("A", about["edition"], 100, tuple(answers))
    last = Sitting("B", about["edition"], 900, tuple((c, at + 800) for c, at in answers))
    for book in ({"before": first}, {"before": first, "after": last}):
        rows = selftest_room.records(ctx, model, "1", book, asked)
        table = [[" / ".join(x) if isinstance(x, list) else x for x in row.values()] for row in rows]
        stored = json.loads(progress.dump({}, {"1": book}))["tests"]["1"]
        found, text = page.evaluate(
            """([about, lang, sittings]) => {
              const rows = results.records(about, lang, "1", sittings, about.sets["1"]);
              return [JSON.stringify(rows, null, 1), results.csv(about.columns, rows)];
            }""",
            [about, lang, stored],
        )
        assert found == json.dumps(rows, ensure_ascii=False, indent=1)
        assert text.encode() == to_csv(COLUMNS, table)
    page.close()


def test_a_self_test_has_a_name_that_a_link_can_carry() -> None:
    assert site_selftest.checked(["class-1", "1", "class-1"]) == ("1", "class-1")
    with pytest.raises(ValueError, match="'class 1' cannot name a self-test"):
        site_selftest.checked(["class 1"])


@pytest.mark.slow
def test_the_made_up_maps_are_those_of_the_steps(asked: dict[str, Any]) -> None:
    message = maps(224)
    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    for name, step in STEPS:
        if step.figure == "map":
            stage = next(one for one in header["stages"] if one["s"] == asked["en"][name]["from"]["map"])
            assert (stage["H"], stage["W"]) == (step.state["side"],) * 2
            shown = [header["groupings"][block["grouping"]] for block in stage["blocks"]]
            assert [g["kind"] for g in shown] == ["sda", "lda"]
            assert [(g["Gh"], g["I"]) for g in shown] == [
                (step.state["G"], 1),
                (step.state["G"], step.state["I"]),
            ]
