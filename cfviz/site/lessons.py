"""The lessons as data of the site: their sentences, and each question as it is asked of a photo.

The questions are the app's, made at build time from the same tensors and by the same changes to the model;
the browser judges answers by them (`cfviz/web/site/grade.js`). A photo's `lessons-<lang>.bin` is JSON:
"lesson.step" ->

    kind, good, fields, options [{"code", "key", "fields"}], said, why {code: [key, fields]}, free, marks
            the question, see `cfviz/lessons/question.py`
    from    where the figure's data are: a file of the photo ("file"), the stage in it ("s"), blocks ("b"),
            and the file of the block whose attention is shown ("block"); of a made-up map, its number
            ("map"); or a file that all photos share ("shared")
    open, told
            {"to", "quiz", "by"}: what the figure shows before and after the answer, see
            `cfviz/lessons/figures.py`, and "go": [page, parameters], the same figure on a page of its own;
            `quiz` of a scene also has the "classes" of its message
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from html import escape
from string import Formatter
from typing import Any

from cfviz.data.scenes import EXAMPLES
from cfviz.figures.live import attention, dense, message
from cfviz.figures.plots.formula import formula_svg
from cfviz.lessons import Course, Question, Scene, Step, load_lessons
from cfviz.lessons.course import PARTS, QUESTION_KINDS, STORE
from cfviz.lessons.figures import IN_FIGURE, made_up, order, sandbox
from cfviz.lessons.pixels import SEGMENTER
from cfviz.lessons.tensors import attention_block
from cfviz.measured.dense import DenseSubject, Seen, answer_of
from cfviz.measured.scenes import subject_of
from cfviz.models.crossformer import CrossFormer, settled
from cfviz.models.dense.model import DenseModel
from cfviz.models.factory import create_model
from cfviz.models.variants import PAPERS
from cfviz.run import class_names
from cfviz.trace import Trace
from cfviz.words import LANGUAGES, marked, translator

# A step's figure -> the figure that draws it.
DRAWN = {
    "map": "attention", "groups": "attention", "attention": "attention", "explorer": "grouping",
    "embedding": "embedding", "bias": "position_bias", "board": "lab", "scene": "dense",
}  # fmt: skip
SHARED = ("list.", "option.", "reason.")  # keys of the sentences that all steps share
WORDS = (
    "again", "and_why", "back", "check", "done", "given", "kept", "link", "map_label", "map_off", "map_on",
    "next", "next_lesson", "or_click", "pick_many", "pick_one", "picked", "progress", "reset", "sandbox",
    "score",
)  # fmt: skip
HERE = ("lesson_unkept", "lesson_gallery", "sandbox_app")  # the same, of the site alone
# Questions that the browser makes of a photo of the reader's own; see `cfviz/web/site/own/questions.js`.
COMPUTED = ("farthest_head", "strongest_token", "carries_most")


def scene_of(
    trace: Trace, model: CrossFormer, image: Any, lang: str, kept: dict[Any, Any] | None = None
) -> Scene:
    """The subject of the questions on one photo.

    Args:
        trace: With the attention of every block and the embedding layers.
        model: The model of the trace.
        image: The model's input, (3, H, W).
        lang: Language of the class names.
        kept: Takes what was computed, for the next language.
    """
    kept = {} if kept is None else kept

    def once(key: Any, make: Callable[[], Any]) -> Any:
        if key not in kept:
            kept[key] = make()
        return kept[key]

    labels = class_names(model, lang)
    return Scene(
        model, trace.size, lambda *watch: trace, labels, lambda: image, once, partial(segmented, lang=lang),
        lang,
    )  # fmt: skip


def segmented(number: int, lang: str) -> tuple[DenseSubject, Seen]:
    """A scene by its number, from 1, and what the bundled segmenter answers on it, also without a stage."""
    return _subject(number, lang), _answer(number)


@cache
def _answer(number: int) -> Seen:
    return answer_of(_subject(number, "en"))


@cache
def _subject(number: int, lang: str) -> DenseSubject:
    return subject_of(_segmenter(), f"scene {number}", lang, EXAMPLES[number - 1].scene())


@cache
def _segmenter() -> DenseModel:
    made: Any = create_model(SEGMENTER, "bundled")
    return settled(made)


def questions(trace: Trace, model: CrossFormer, image: Any) -> dict[str, bytes]:
    """All questions on one photo, by language.

    Args:
        trace: With the attention of every block and the embedding layers.
        model: The model of the trace.
        image: The model's input, (3, H, W).
    """
    course = load_lessons()
    kept: dict[Any, Any] = {}
    found = {}
    for lang in LANGUAGES:
        scene = scene_of(trace, model, image, lang, kept)
        asked = {
            f"{lesson.id}.{step.id}": _question(step, scene, _maps(course))
            for lesson in course.lessons
            for step in lesson.steps
        }
        found[lang] = json.dumps(asked, ensure_ascii=False).encode()
    return found


def scenes() -> dict[str, bytes]:
    """Name of a file -> the message of a scene of the lessons, with all answers of the segmenter."""
    steps = [step for lesson in load_lessons().lessons for step in lesson.steps if step.figure == "scene"]
    numbers = sorted({step.state["scene"] for step in steps})
    return {_scene_file(n): _scene_message(n, None).data for n in numbers}


def _scene_file(number: int) -> str:
    return f"scene-{number}.bin"


def _scene_message(number: int, views: int | None) -> message.Message:
    """A scene's message without words, with the first answers or all."""
    answer = _answer(number).answer
    return dense.pack(
        replace(answer, views=answer.views[:views]), strings={}, source=f"scene {number}", explained=False
    )


def maps(size: int) -> bytes:
    """The message of all made-up maps: each is a stage of the attention figure, without attention and photo.

    Args:
        size: Pixels of the sides of the photo that they are drawn over.
    """
    made = _maps(load_lessons())
    units = [attention.Unit(n, b, g) for n, state in enumerate(made) for b, g in enumerate(made_up(state))]
    strides: Any = {n: size / state["side"] for n, state in enumerate(made)}
    return attention.pack(
        units, size=(size, size), strides=strides, strings={}, name="map"
    ).data  # fmt: skip


def formulas() -> dict[str, bytes]:
    """Name of a file -> the drawing of a step's formula."""
    course = load_lessons()
    return {
        f"{lesson.id}.{step.id}.svg": formula_svg(step.formula).encode()
        for lesson in course.lessons
        for step in lesson.steps
        if step.formula
    }


def course_words(lang: str) -> dict[str, Any]:
    """What a page of lessons says in one language; the sentences are HTML with their fields open."""
    t, course = translator(lang), load_lessons()
    steps: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for lesson in course.lessons:
        for step in lesson.steps:
            name = f"{lesson.id}.{step.id}"
            texts |= {f"{name}.{part}": _sentence(course, lang, f"{name}.{part}") for part in PARTS}
            drawn = DRAWN[step.figure]
            one = {"id": name, "figure": drawn, "terms": step.terms, "either": step.ask in IN_FIGURE}
            if step.ask in COMPUTED:
                one["own"] = step.ask
            elif step.figure == "board":  # on changes of the model, which the browser's does not make
                one["own"] = "gallery"
            steps.append(one | ({"formula": step.formula} if step.formula else {}))
    texts |= {
        key: _sentence(course, lang, key) for key in course.texts[lang] if key.startswith(SHARED)
    }  # fmt: skip
    return {
        "steps": steps,
        "places": course.places(),
        "texts": texts,
        "words": {name: marked(t(f"learn.{name}")) for name in WORDS}
        | {name: marked(t(f"site.{name}")) for name in HERE},
        "store": STORE,
    }


def contents(lang: str, page: str) -> str:
    """HTML: links to all steps, and the place of one.

    Args:
        lang: The language.
        page: The address of the page of lessons.
    """
    t, course = translator(lang), load_lessons()

    def text(key: str) -> str:
        return escape(course.text(lang, key))

    def step(i: int, j: int) -> str:
        title = f"{i}.{j} {text(f'{course.lessons[i - 1].id}.{course.step(i, j).id}.title')}"
        link = f'<a data-step="{i}.{j}" href="{page}?lesson={i}&amp;step={j}"'
        return f'<li>{link} title="{title}" aria-label="{title}">{j}</a></li>'

    def lesson(i: int) -> str:
        link = f'<a data-step="{i}.1" href="{page}?lesson={i}&amp;step=1">'
        steps = "".join(step(i, j) for j in range(1, len(course.lessons[i - 1].steps) + 1))
        title = text(f"{course.lessons[i - 1].id}.title")
        return f'<li data-lesson="{i}">{link}{i} {title}</a>\n<ol class="steps">{steps}</ol></li>'

    listed = "\n".join(lesson(i) for i in range(1, len(course.lessons) + 1))
    parts = "".join(f'<div class="{name}"></div>' for name in ("say", "shown", "answer"))
    return (
        f'<nav class="course" aria-label="{escape(t("learn.lesson"))}"><ol>\n{listed}\n</ol></nav>\n'
        f'<details class="score" hidden><summary></summary></details>\n<div class="lesson">{parts}</div>'
    )


def glossary(lang: str) -> str:
    """HTML: all terms, below the lesson; the cards of a step are copies of these."""
    t, course = translator(lang), load_lessons()

    def term(name: str, section: str) -> str:
        where = t("learn.section", section=section, url=PAPERS[0]) if section else t("learn.no_section")
        told = "".join(f"<p>{marked(text)}</p>" for text in (course.text(lang, f"term.{name}.is"), where))
        return f'<dt>{marked(course.text(lang, f"term.{name}"))}</dt><dd id="term-{name}">{told}</dd>'

    terms = "\n".join(term(name, section) for name, section in course.terms.items())
    title = escape(t("learn.glossary"))
    return f'<details class="glossary"><summary><h2>{title}</h2></summary>\n<dl>{terms}</dl></details>'


def _maps(course: Course) -> list[Mapping[str, Any]]:
    """The states of the made-up maps, each map once."""
    states = [step.state for lesson in course.lessons for step in lesson.steps if step.figure == "map"]
    return list({_map(state): state for state in states}.values())


def _map(state: Mapping[str, Any]) -> tuple[int, int, int]:
    return state["side"], state["G"], state["I"]


def _question(step: Step, scene: Scene, made: list[Mapping[str, Any]]) -> dict[str, Any]:
    question = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
    found: dict[str, Any] = {
        "kind": question.kind,
        "good": sorted(question.good),
        "fields": question.fields,
        "options": [{"code": o.code, "key": o.key, "fields": o.fields} for o in question.options],
        "said": question.said,
        "why": question.why,
        "free": sorted(question.free),
        "marks": sorted(question.marks),
        "from": _source(step, scene, made),
    }
    return found | {name: _shown(step, scene, question, name == "open") for name in ("open", "told")}


def _shown(step: Step, scene: Scene, question: Question, open: bool) -> dict[str, Any]:
    asked = order(step, scene, question, open)
    quiz = dict(asked.quiz)
    if step.figure == "scene":
        subject, _ = scene.segmented(step.state["scene"])
        packed = _scene_message(step.state["scene"], quiz["views"])
        classes = packed.header["classes"]
        quiz["classes"] = [one | dense.both_names(subject.names[one["index"]]) for one in classes]
    return {"to": asked.to, "quiz": quiz, "by": asked.by, "go": sandbox(step, scene, open)}


def _source(step: Step, scene: Scene, made: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Where the figure's data are, see above."""
    if step.figure == "map":
        n = [_map(state) for state in made].index(_map(step.state))
        return {"file": "attention.bin", "map": n, "s": n, "b": [0, 1]}
    if step.figure in ("groups", "attention"):
        s, b, _ = attention_block(scene, step.state)
        block = {"block": f"attention-{s + 1}-{b + 1}.bin"} if step.figure == "attention" else {}
        return {"file": "attention.bin", "s": s, "b": [b]} | block
    if step.figure == "bias":
        s, b, _ = attention_block(scene, step.state)
        return {"shared": "position_bias.bin", "s": s, "b": [b], "part": step.state["part"]}
    if step.figure == "scene":
        return {"shared": _scene_file(step.state["scene"])}
    return {"file": "embedding.bin"} if step.figure == "embedding" else {}


def _sentence(course: Course, lang: str, key: str) -> str:
    """A sentence as HTML that still has its fields."""
    names = {name for _, name, _, _ in Formatter().parse(course.texts[lang][key]) if name}
    return marked(course.text(lang, key, **{name: f"{{{name}}}" for name in names}))
