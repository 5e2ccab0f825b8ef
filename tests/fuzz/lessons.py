"""Lesson files and a browser's record of progress: damaged, then read, and every step asked."""

from __future__ import annotations

import copy
import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.lessons.course import FOLDER, QUESTION_KINDS, STATES, Course, load_lessons
from cfviz.lessons.question import Scene, grade
from cfviz.lessons.selftest import TOPICS, Sitting
from cfviz.run import class_names, inspect
from cfviz.ui.pages.learn import progress
from cfviz.ui.pages.learn.scenes import labelled
from cfviz.words import LANGUAGES, NO_BREAK
from tests.fuzz.harness import Case
from tests.fuzz.mutate import LONGS, Rng, mutated

FILES = ("plan", *LANGUAGES)
SIZE = 160
TESTS = {
    "1": {"before": Sitting("A", "1.abc", 1, (("A", 2), ("49", 3))), "after": Sitting("B", "1.abc", 9)},
    "class-2": {"after": Sitting("A", "1.abc", 5, (("unsure", 6),) * len(TOPICS))},
}
TEXTS = (
    "",
    " ",
    "{",
    "}",
    "{0}",
    "{n}",
    "{n!r}",
    "{n.__class__}",
    "{n:>9999999}",
    "\0",
    "a\nb",
    "$x^2$" * 99,
)


def make(rng: Rng) -> Case:
    """Change one of the three files, as bytes or as data."""
    if rng.random() < 0.15:
        kept = progress.dump({name: bool(rng.random() < 0.5) for name in _known()}, TESTS).encode()
        data, note = mutated(kept, rng) if rng.random() < 0.5 else _rewritten(kept, rng)
        return Case(data, f"progress: {note}", "progress")
    name = FILES[int(rng.choice(len(FILES), p=(0.7, 0.15, 0.15)))]
    data, note = _good(name), ""
    data, note = mutated(data, rng) if rng.random() < 0.15 else _rewritten(data, rng)
    return Case(data, f"{name}.json: {note}", name)


def check(case: Case) -> str:
    """Check that the file is refused in one sentence, or that every step can be asked and judged."""
    if case.extra == "progress":
        read = progress.parse(case.data.decode("utf-8", "replace"), _known())
        assert set(read) <= set(_known())
        tests = progress.parse_tests(case.data.decode("utf-8", "replace"))
        assert progress.parse_tests(progress.dump(read, tests)) == tests
        return "progress"
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            (Path(folder) / f"{name}.json").write_bytes(case.data if name == case.extra else _good(name))
        try:
            course = load_lessons(Path(folder))
        except ValueError as error:
            sentence = str(error)
            assert sentence.replace(NO_BREAK, " ").isprintable(), repr(sentence)
            assert 10 < len(sentence) < 1000, sentence
            return "refused"
    for lesson, step in course.places():
        _ask(course, lesson, step)
    return "taught"


def warm() -> None:
    """Ask every question once, so that all the model's answers are cached."""
    for name in FILES:
        check(Case(_good(name), "", name))


def _ask(course: Course, lesson: int, number: int) -> None:
    """Do what the page does with a step: ask, take a right and a wrong answer, reveal."""
    step = course.step(lesson, number)
    try:
        question = QUESTION_KINDS[step.ask].make(_scene(), step.state, step.after)
    except ValueError as error:  # the page stops after it
        said = str(error)
    else:
        said = ""
    assert said.replace(NO_BREAK, " ").isprintable(), repr(said)
    if said:
        return
    right = sorted(question.good)[: 1 if question.kind in ("one", "token") else None]
    wrong = next((o.code for o in question.options if o.code not in question.good), "0.0")
    name = f"{course.lessons[lesson - 1].id}.{step.id}"
    for lang in LANGUAGES:
        for part in ("title", "say", "ask"):
            assert course.text(lang, f"{name}.{part}", **question.fields)
        for answer in (right, [wrong]):
            found = grade(question, answer)
            assert course.text(lang, f"{name}.{'right' if found.right else 'wrong'}", **found.fields)
            if found.reason:
                assert course.text(lang, found.reason[0], **found.reason[1])


# ---------------------------------------------------------------- good files, and what they are about


@lru_cache(maxsize=len(FILES))
def _good(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


@lru_cache(maxsize=1)
def _known() -> list[str]:
    return progress.ids(load_lessons())


@lru_cache(maxsize=1)
def _scene() -> Scene:
    """The bundled model on a photo, with its answers cached."""
    model, photo, kept = cfviz.create_model("crossformer_nano"), load_image(sample("cat").path), {}

    def once(key: Any, make_it: Any) -> Any:
        if key not in kept:
            kept[key] = make_it()
        return kept[key]

    return Scene(
        model,
        SIZE,
        lambda *watch: once(watch, lambda: inspect(photo.image, model, SIZE, watch)),
        class_names(model),
        lambda: prepare(photo, SIZE).tensor,
        once,
        labelled,
    )


# ---------------------------------------------------------------- bad ones


def _rewritten(data: bytes, rng: Rng) -> tuple[bytes, str]:
    """Change valid JSON in one to three places."""
    tree, notes = json.loads(data), []
    for _ in range(1 + int(rng.exponential(0.7))):
        places = list(_places(tree))
        if not places:
            break
        parent, key = places[int(rng.integers(len(places)))]
        notes.append(_change(parent, key, rng))
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass"), "; ".join(notes)


def _places(node: Any) -> Any:
    """(list or object, key) of every value inside."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inside:
        yield node, key
        yield from _places(value)


def _change(parent: Any, key: Any, rng: Rng) -> str:
    what, old = int(rng.integers(6)), parent[key]
    if what == 0:
        del parent[key]
        return f"{key!r} left out"
    if what == 1 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(old))
        return f"{key!r} twice"
    if what == 2 and isinstance(parent, dict):
        parent[TEXTS[int(rng.integers(len(TEXTS)))]] = parent.pop(key)
        return f"{key!r} called otherwise"
    parent[key] = _other(old, rng) if what < 5 else _anything(rng)
    return f"{key!r} {str(old)[:40]!r} is {str(parent[key])[:60]!r}"


def _other(old: Any, rng: Rng) -> Any:
    """Another value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        small = int(rng.integers(-1, 20))
        return small if rng.random() < 0.8 else int(rng.choice(LONGS)) ** int(rng.choice((1, 200)))
    if isinstance(old, float):
        return (0.0, 1.0, -0.1, 1.1, 0.999, float("nan"), float("inf"), 1e-320)[int(rng.integers(8))]
    if isinstance(old, str):
        words = (*TEXTS, *STATES, *QUESTION_KINDS, "sda", "lda", "surfaces", "resized", old + old)
        return words[int(rng.integers(len(words)))]
    return _anything(rng)


def _anything(rng: Rng) -> Any:
    """An arbitrary JSON value."""
    some = (None, True, 0, -1, 2.5, "text", [], {}, [[]], {"id": "x"}, "x" * 5000, list(range(40)), 10**4000)
    return copy.deepcopy(some[int(rng.integers(len(some)))])
