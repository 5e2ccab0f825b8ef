"""The teacher's room: links that open a step with the class's photo, and worksheets whose key is computed."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.figures.plots.formula import formula_svg
from cfviz.lessons import Question, Scene, grade, load_lessons
from cfviz.lessons.course import QUESTION_KINDS
from cfviz.run import inspect
from cfviz.ui.pages.learn import teacher
from cfviz.ui.pages.learn.scenes import labelled
from cfviz.ui.pages.learn.worksheet import Sheet, worksheet
from cfviz.ui.session import state
from cfviz.words import LANGUAGES, marked

COURSE = load_lessons()


def link(
    monkeypatch: pytest.MonkeyPatch, settings: state.Settings, **more: Any
) -> tuple[str, dict[str, str]]:
    """The page that a link opens, and its parameters."""
    monkeypatch.setattr(
        teacher.st, "context", SimpleNamespace(url="http://class.example/learn?room=teacher&q=1")
    )
    ctx: Any = SimpleNamespace(settings=settings, lang="en")
    split = urlsplit(teacher.address(ctx, **more))
    return split.netloc + split.path, {name: value for name, (value,) in parse_qs(split.query).items()}


def test_a_link_opens_a_step_with_a_photo_of_the_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = state.Settings(photo="cat", size=(192, 640))
    page, query = link(monkeypatch, settings, lang="zh-Hant", lesson=2, step=3)
    assert page == "class.example/learn"
    assert query == settings.query() | {"lang": "zh-Hant", "lesson": "2", "step": "3"}
    assert state.read(query, state.Settings(), ["crossformer_nano"], ["cat"])[1] == []


def test_a_link_names_ones_own_photo_and_weights_without_pretending_to_carry_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = state.Settings(photo="own-0123456789", model="own-abc", centre=(0.2, 0.3))
    _, query = link(monkeypatch, settings, lesson=1)
    assert (query["photo"], query[teacher.BRING]) == (state.DEFAULT_PHOTO, "own-0123456789")
    assert not {"model", "centre"} & query.keys()
    assert state.read(query, state.Settings(), ["crossformer_nano"], [state.DEFAULT_PHOTO])[1] == []


def test_the_little_markdown_of_the_lessons_becomes_html() -> None:
    said = "**LDA**: $I$ < 4, $C_{in}$"
    assert marked(said) == "<b>LDA</b>: <i>I</i> &lt; 4, <i>C<sub>in</sub></i>"


@pytest.mark.slow
def test_every_formula_can_be_printed() -> None:
    for i, j in COURSE.places():
        formula = COURSE.step(i, j).formula
        if formula:
            assert formula_svg(formula).startswith("<svg")


@pytest.fixture(scope="module")
def scene() -> Scene:
    model, photo = cfviz.create_model("crossformer_nano", weights="bundled"), load_image(sample("cat").path)
    image = prepare(photo, 160).tensor
    kept: dict[Any, Any] = {}

    def keep(key: Any, make: Any) -> Any:
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def trace(*watch: str) -> Any:
        return keep(watch, lambda: inspect(photo, model, 160, watch))

    return Scene(model, 160, trace, [], lambda: image, keep, labelled)


def plain(page: bytes) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.decode())).replace("\u00a0", " ")


def fields_of(question: Question) -> Any:
    good = sorted(question.good, key=lambda code: [int(n) if n.isdigit() else 0 for n in code.split(".")])
    return grade(question, good if question.kind in ("many", "tokens") else good[:1]).fields


@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("lesson", range(1, 6))
def test_the_sheet_asks_and_the_key_answers(scene: Scene, lesson: int, lang: str) -> None:
    links = tuple(f"http://class.example/learn?step={n}" for n in range(1, 6))
    sheet = Sheet(COURSE, lesson, lang, scene, "Cat & <Co>", "", "CrossFormer nano", links)
    asked, answered = plain(worksheet(sheet)), plain(worksheet(sheet, key=True))
    named = replace(scene, labels=cfviz.run.class_names(scene.model, lang))
    id = COURSE.lessons[lesson - 1].id
    for n, step in enumerate(COURSE.lessons[lesson - 1].steps):
        question = QUESTION_KINDS[step.ask].make(named, step.state, step.after)
        ask = COURSE.text(lang, f"{id}.{step.id}.ask", **question.fields).replace("\u00a0", " ")
        assert ask in asked
        assert ask in answered
        assert links[n] in asked
        if question.kind in ("one", "many"):
            for option in question.options:
                if not option.key:
                    assert str(option.fields["text"]) in asked
        right = COURSE.text(lang, f"{id}.{step.id}.right", **fields_of(question)).replace("\u00a0", " ")
        assert right in answered
        assert right not in asked
