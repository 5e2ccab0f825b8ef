"""A lesson on paper: its tasks with space for answers, and the key to them, as one HTML file to print.

Tasks and answers come from the same questions as on the screen, for the chosen model and photo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

from cfviz import web
from cfviz.figures.plots.formula import formula_svg
from cfviz.figures.theme import theme
from cfviz.figures.uris import data_uri
from cfviz.framing import size_text
from cfviz.lessons.course import QUESTION_KINDS, Course, Step
from cfviz.lessons.drawing import map_svg
from cfviz.lessons.question import Question, RefusedError, Scene, grade, parse_token, place, token_at
from cfviz.models.crossformer import recorded
from cfviz.run import class_names
from cfviz.words import marked, translator

STYLE = "desk/worksheet.css"


@dataclass(frozen=True)
class Sheet:
    """What a worksheet is made for.

    Attributes:
        course: All lessons.
        lesson: The lesson, from 1.
        lang: The language of the sheet.
        scene: The model on the photo.
        photo: The photo's name.
        credit: Whom to name for the photo.
        model: The model's title.
        links: The link to each step of the lesson.
    """

    course: Course
    lesson: int
    lang: str
    scene: Scene
    photo: str
    credit: str
    model: str
    links: tuple[str, ...]


def worksheet(sheet: Sheet, key: bool = False) -> bytes:
    """A lesson as an HTML page to print: the tasks, or with `key` the same tasks answered."""
    t, lesson = translator(sheet.lang), sheet.course.lessons[sheet.lesson - 1]
    labels = class_names(sheet.scene.model, sheet.lang, recorded(sheet.scene.model))
    sheet = replace(sheet, scene=replace(sheet.scene, labels=labels))
    title = f"{sheet.lesson} {sheet.course.text(sheet.lang, f'{lesson.id}.title')}"
    kind = t("teacher.key" if key else "teacher.sheet")
    crop = sheet.scene.trace().crop
    assert crop is not None  # traces of photos have one
    about = t("teacher.made_with", photo=sheet.photo, model=sheet.model, size=size_text(sheet.scene.size))
    who = (
        ""
        if key
        else f'<div class="who">{t("teacher.name")}<span></span>{t("teacher.date")}<span></span></div>'
    )
    steps = "".join(_step(sheet, n, step, key) for n, step in enumerate(lesson.steps, 1))
    page = f"""<!doctype html>
<html lang="{sheet.lang}"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>
<title>{escape(kind)}: {escape(title)}</title><style>{web.text(STYLE)}</style></head><body>
<header><figure><img alt="{escape(sheet.photo)}" src="{data_uri(crop, "JPEG", quality=85)}"/>
<figcaption>{escape(sheet.photo)}<br>{escape(sheet.credit)}</figcaption></figure>
<p class="quiet">cfviz · {escape(kind)}</p><h1>{escape(title)}</h1>
<p>{marked(sheet.course.text(sheet.lang, f"{lesson.id}.goal"))}</p>
<p class="quiet">{escape(about)}</p>{who}</header>{steps}</body></html>
"""
    return page.encode()


def _step(sheet: Sheet, n: int, step: Step, key: bool) -> str:
    """One step: its text and task, then lines to write on or the answer."""
    course, t, lang = sheet.course, translator(sheet.lang), sheet.lang
    name = f"{course.lessons[sheet.lesson - 1].id}.{step.id}"
    head = f"<h2>{sheet.lesson}.{n} {escape(course.text(lang, f'{name}.title'))}</h2>"
    address = escape(sheet.links[n - 1])
    link = f'<p class="quiet">{t("teacher.on_screen")} <a href="{address}">{address}</a></p>'
    try:
        question = QUESTION_KINDS[step.ask].make(sheet.scene, step.state, step.after)
    except RefusedError as error:
        return f"<section>{head}<p>{escape(course.text(lang, str(error)))}</p></section>"
    said = f"<p>{marked(course.text(lang, f'{name}.say', **question.fields))}</p>"
    formula = f'<p class="formula">{formula_svg(step.formula)}</p>' if step.formula else ""
    ask = f'<p class="ask">{marked(course.text(lang, f"{name}.ask", **question.fields))}</p>'
    drawn = _map(step, question, key) if step.figure == "map" else ""
    below = _answer(sheet, name, question) if key else _room(sheet, step, question)
    return f"<section>{head}{said}{formula}{ask}{drawn}{below}{'' if key else link}</section>"


def _map(step: Step, question: Question, key: bool) -> str:
    side = step.state["side"]
    good = question.good if question.kind == "tokens" else question.marks
    tokens = sorted(map(parse_token, good)) if key else []
    letters = [("×", token) for token in tokens if token != token_at(step.state, side, side)]
    return (
        f'<div class="map">{map_svg(theme("light"), side, token_at(step.state, side, side), letters)}</div>'
    )


def _room(sheet: Sheet, step: Step, question: Question) -> str:
    """Boxes to tick, or a place for a token, and lines for the reason."""
    t = translator(sheet.lang)
    names = [_option(sheet, question, option.code) for option in question.options]
    boxes = "".join(f"<li>☐ {escape(name)}</li>" for name in names)
    if boxes:
        first = f'<ul class="options">{boxes}</ul>'
    else:
        first = f"<p>{t('teacher.on_map' if step.figure == 'map' else 'teacher.my_token')}</p>"
    return f'{first}<p>{t("teacher.because")}</p><div class="line"></div><div class="line"></div>'


def _answer(sheet: Sheet, name: str, question: Question) -> str:
    """The right answer, and the sentence that the screen shows for it."""
    good = sorted(question.good, key=place)
    given = good if question.kind in ("many", "tokens") else good[:1]
    said = sheet.course.text(sheet.lang, f"{name}.right", **grade(question, given).fields)
    comma = sheet.course.text(sheet.lang, "list.comma")
    if question.options:
        right = comma.join(_option(sheet, question, code) for code in good)
    else:
        right = comma.join("({}, {})".format(*parse_token(code)) for code in good)
    return f'<div class="key"><p><b>{escape(right)}</b></p><p>{marked(said)}</p></div>'


def _option(sheet: Sheet, question: Question, code: str) -> str:
    option = next(one for one in question.options if one.code == code)
    text = sheet.course.text(sheet.lang, option.key, **option.fields) if option.key else option.fields["text"]
    return str(text)
