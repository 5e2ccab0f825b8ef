"""The self-test as data of the site: the app's questions in one language, marked in the browser.

What a set's name draws needs Python, so a site has the sets that it was made with. `selftest-<lang>.bin` is
JSON (`cfviz/web/site/selftest.js` reads it):

    sets        name -> {"guess": right answers by guessing, "A", "B": ten questions each}
                a question: topic, ask (a text), why (HTML), options [{"code", "text"}], good, and its
                picture, "map" {"light", "dark": SVG, "said"} or "biases" (HTML), or none
    topics      topic -> its name
    taught      topic -> [lesson, step, title of the step]
    columns     of the files of results
    told        {"model", "weights_sha256", "cfviz"}: what the questions were computed with
    edition, phases, orders, unsure, most, seconds, store
                as in `cfviz/lessons/selftest.py`
    words       HTML with the fields open
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import cfviz
from cfviz.figures.theme import DARK, LIGHT
from cfviz.lessons import load_lessons, selftest
from cfviz.lessons.course import STORE
from cfviz.lessons.drawing import bias_html, map_svg
from cfviz.lessons.selftest import COLUMNS, FORMS, MAX_SECONDS, MAX_SETS, NAME, ORDERS, PHASES, UNSURE, Item
from cfviz.lessons.selftest_texts import bias_said, by_guessing, map_said, option_name, taught_at, text
from cfviz.models.crossformer import CrossFormer, recorded
from cfviz.models.variants import BUNDLED
from cfviz.words import Translator, marked, translator

USUAL = "1"  # the set of a link that names none
WORDS = (
    "about", "before", "after", "before_is", "after_is", "missed", "begin", "score", "taken", "number",
    "answer", "final", "unsure", "stale", "full", "forget", "change", "topic", "mark_right", "mark_wrong",
    "mark_unsure", "review", "answers", "where", "csv", "json", "inside", "honest", "honest_is", "bias_scale",
)  # fmt: skip
HERE = ("lesson_unkept", "test_elsewhere", "test_here", "open")


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """The sets of a site, the usual one first.

    Raises:
        ValueError: If a name is none that a set can have.
    """
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot name a self-test; expected 1 to 24 letters, digits and hyphens, "
                "such as class-1"
            )
    return tuple(dict.fromkeys((USUAL, *names)))


def questions(model: CrossFormer, lang: str, names: Iterable[str]) -> bytes:
    """All questions of some sets.

    Args:
        model: The bundled model.
        lang: Language of the texts.
        names: The sets.
    """
    t, course, told = translator(lang), load_lessons(), recorded(model)
    sets: dict[str, dict[str, Any]] = {}
    for name in names:
        drawn = {form: selftest.items(name, form, model) for form in FORMS}
        sets[name] = {"guess": by_guessing(drawn[FORMS[0]])}
        sets[name] |= {form: [_question(t, item) for item in items] for form, items in drawn.items()}
    words = {name: _html(t(f"selftest.{name}")) for name in WORDS}
    found = {
        "sets": sets,
        "topics": {topic: t(f"selftest.topic_{topic}") for topic in selftest.TOPICS},
        "taught": {
            topic: [i, j, course.text(lang, f"{course.lessons[i - 1].id}.{course.step(i, j).id}.title")]
            for topic, (i, j) in taught_at(course).items()
        },
        "columns": COLUMNS,
        "told": {"model": BUNDLED, "weights_sha256": told.sha256 or "", "cfviz": cfviz.__version__},
        "edition": selftest.edition(model),
        "phases": PHASES,
        "orders": ORDERS,
        "unsure": UNSURE,
        "most": MAX_SETS,
        "seconds": MAX_SECONDS,
        "store": STORE,
        "words": words | {name: marked(t(f"site.{name}")) for name in HERE},
    }
    return json.dumps(found, ensure_ascii=False).encode()


def _question(t: Translator, item: Item) -> dict[str, Any]:
    (good,) = item.question.good
    codes = [option.code for option in item.question.options]
    found: dict[str, Any] = {
        "topic": item.topic,
        "ask": text(t, "ask", item),
        "why": marked(text(t, "why", item)),
        "options": [{"code": code, "text": option_name(t, item, code)} for code in codes],
        "good": good,
    }
    if item.side:
        shown = {
            theme.name: map_svg(theme, item.side, item.query, item.letters.items()) for theme in (LIGHT, DARK)
        }
        found["map"] = {**shown, "said": map_said(t, item)}
    if item.surfaces:
        said = {letter: bias_said(t, letter, one) for letter, one in item.surfaces.items()}
        found["biases"] = {theme.name: bias_html(theme, item.surfaces, said) for theme in (LIGHT, DARK)}
    return found


def _html(said: str) -> str:
    """A text as HTML; one whose lines begin with hyphens is a list."""
    if not said.startswith("- "):
        return marked(said)
    items = "".join(f"<li>{marked(line.removeprefix('- '))}</li>" for line in said.splitlines())
    return f"<ul>{items}</ul>"
