"""The lessons as data: the figure, question and text of each step, read from `assets/lessons` and checked.

`plan.json` is the same for all languages: lessons, steps, figures, questions, formulas, and the section of
the paper behind each term. `<language>.json` is one flat object of sentences. Answers are never stored: a
question is a name (in `QUESTION_KINDS`) whose answer is computed from the current model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

from cfviz.bundled import ASSETS
from cfviz.data.scenes import EXAMPLES
from cfviz.options import LDA
from cfviz.words import LANGUAGES, filled, quantity, unbroken

from .geometry import GEOMETRY
from .pixels import PIXELS
from .tensors import TENSORS

FOLDER = ASSETS / "lessons"
STORE = "cfviz.lessons"  # key of the progress in a browser's storage
QUESTION_KINDS = GEOMETRY | TENSORS | PIXELS
MAX_BYTES = 1_000_000  # per file
MAX_LESSONS, MAX_STEPS, MAX_TEXT = 20, 20, 1200

PARTS = ("title", "say", "ask", "right", "wrong")  # the sentences of a step
SHARED = {  # sentences shared by all lessons, and their fields
    "list.comma": set(),
    "option.yes": set(), "option.no": set(), "option.head": {"n"}, "option.kernel": {"k"},
    "option.stage": {"n"},
    "reason.kernel_edge": {"k"},
    "reason.missed": {"missed", "n"},
    "reason.outside": {"row", "col", "top", "left", "bottom", "right"},
    "reason.lattice": {"row", "col", "down", "across", "I"},
    "reason.same_window": {"row", "col"},
    "reason.no_neighbour": {"row", "col"},
    "reason.other_group": {"row", "col"},
    "refusal.table": set(), "refusal.no_bias": set(), "refusal.random": set(),
}  # fmt: skip
# figure -> allowed values of its state: (type, smallest, largest) or the permitted words
NUMBER, PLACE, TOKEN = (int, 1, 16), (float, 0.0, 1.0), (int, 0, 111)
KIND, STAGE = ("sda", "lda"), (int, 1, 4)
STATES: dict[str, dict[str, Any]] = {
    "map": {"side": (int, 2, 16), "G": NUMBER, "I": NUMBER, "kind": KIND, "token": [TOKEN, TOKEN]},
    "groups": {"stage": STAGE, "kind": KIND, "at": [PLACE, PLACE], "plain": bool},
    "attention": {"stage": STAGE, "kind": KIND, "at": [PLACE, PLACE]},
    "explorer": {"side": (int, 2, 112), "G": NUMBER, "I": NUMBER, "kind": KIND, "stage": STAGE,
                 "size": (160, 192, 224, 256, 288, 320, 384, 448), "form": LDA},
    "embedding": {"at": [PLACE, PLACE], "token": [TOKEN, TOKEN]},
    "bias": {"stage": STAGE, "kind": KIND, "part": ("surfaces", "resized")},
    "board": {"stage": STAGE, "kind": KIND},
    "scene": {"scene": (int, 1, len(EXAMPLES))},
}  # fmt: skip
NEEDS = {  # keys a figure's state must have; any one set will do
    "map": ({"side", "G", "I", "kind", "token"},), "groups": ({"stage", "kind", "at"},),
    "attention": ({"stage", "kind", "at"},), "explorer": ({"side", "G", "I", "kind"}, {"stage", "kind"}),
    "embedding": ({"at"}, {"token"}), "bias": ({"stage", "kind", "part"},), "board": (set(),),
    "scene": ({"scene"},),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step of a lesson: a text, a figure and a question.

    Attributes:
        id: A name unique in the lesson.
        figure: One of `STATES`.
        state: The figure's state while the question is open.
        after: Changes to the state once the question is answered.
        ask: One of `QUESTION_KINDS`.
        terms: Terms to explain, keys of `Course.terms`.
        formula: LaTeX, or "".
    """

    id: str
    figure: str
    state: Mapping[str, Any]
    after: Mapping[str, Any]
    ask: str
    terms: tuple[str, ...]
    formula: str


@dataclass(frozen=True)
class Lesson:
    """A few steps under a common title, and the minutes that a class needs for them."""

    id: str
    steps: tuple[Step, ...]
    minutes: int


@dataclass(frozen=True)
class Course:
    """All lessons and their sentences.

    Attributes:
        lessons: The lessons in order.
        terms: Term -> section of the paper, "" if the paper takes the term for granted.
        texts: Language -> key -> sentence.
    """

    lessons: tuple[Lesson, ...]
    terms: Mapping[str, str]
    texts: Mapping[str, Mapping[str, str]]

    def text(self, lang: str, key: str, **fields: object) -> str:
        """A sentence with its fields filled in; tuples become comma-separated lists."""
        comma = self.texts[lang]["list.comma"]
        said = {name: comma.join(x) if isinstance(x, tuple) else x for name, x in fields.items()}
        return unbroken(filled(self.texts[lang][key], said))

    def places(self) -> list[tuple[int, int]]:
        """The (lesson, step) numbers of every step, from 1."""
        return [(i + 1, j + 1) for i, lesson in enumerate(self.lessons) for j in range(len(lesson.steps))]

    def step(self, lesson: int, step: int) -> Step:
        """A step by its numbers, from 1."""
        return self.lessons[lesson - 1].steps[step - 1]


def load_lessons(folder: Path | None = None) -> Course:
    """Read and check all lesson files of a folder.

    Args:
        folder: The folder with `plan.json` and one file per language; by default the bundled one.

    Raises:
        ValueError: If a file is invalid; the sentence names the file and what is wrong with it.
    """
    folder = FOLDER if folder is None else Path(folder)
    names = ("plan", *LANGUAGES)
    stamps = []
    for name in names:
        try:
            stat = (folder / f"{name}.json").stat()
        except OSError as error:
            raise ValueError(f"the lesson file {name}.json cannot be read: {error.strerror}") from error
        stamps.append((stat.st_mtime_ns, stat.st_size))
    return _load(folder, tuple(stamps))


@lru_cache(maxsize=4)
def _load(folder: Path, stamps: tuple[tuple[int, int], ...]) -> Course:
    """Load the lessons, reading them again only when a file has changed."""
    plan = _read(folder / "plan.json")
    return parse_lessons(plan, {lang: _read(folder / f"{lang}.json") for lang in LANGUAGES})


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the lesson file {path.name} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ValueError(f"the lesson file {path.name} is larger than {quantity(MAX_BYTES // 1000, 'kB')}")
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the lesson file {path.name} is not valid JSON in UTF-8") from error


def parse_lessons(plan: Any, texts: Any) -> Course:
    """Check the content of the lesson files and build the course from it.

    Args:
        plan: The content of `plan.json`.
        texts: Language -> content of that language's file.

    Raises:
        ValueError: If something is wrong; the sentence says where, what came and what was expected.
    """
    top = _object(plan, "plan.json", {"version", "terms", "lessons"})
    if top["version"] != 1 or isinstance(top["version"], bool):
        raise ValueError(f"plan.json: version is {_show(top['version'])}; expected 1")
    terms = _object(top["terms"], "plan.json, terms", None)
    for term, section in terms.items():
        _name(term, "plan.json, terms")
        if not (isinstance(section, str) and len(section) <= 12):
            raise ValueError(
                f"plan.json, term {_show(term)}: expected a section of the paper as a short text"
            )
    found = _list(top["lessons"], "plan.json, lessons", MAX_LESSONS)
    lessons = tuple(_lesson(one, f"plan.json, lesson {i + 1}", terms) for i, one in enumerate(found))
    _unique([lesson.id for lesson in lessons], "plan.json, lessons")
    course = Course(lessons, terms, _texts(texts))
    for lang in LANGUAGES:
        _check_texts(course, lang)
    return course


def _lesson(data: Any, where: str, terms: Mapping[str, str]) -> Lesson:
    fields = _object(data, where, {"id", "minutes", "steps"})
    steps = _list(fields["steps"], f"{where}, steps", MAX_STEPS)
    made = tuple(_step(one, f"{where}, step {i + 1}", terms) for i, one in enumerate(steps))
    _unique([step.id for step in made], where)
    _value(fields["minutes"], (int, 1, 180), f"{where}, minutes")
    return Lesson(_name(fields["id"], where), made, fields["minutes"])


def _step(data: Any, where: str, terms: Mapping[str, str]) -> Step:
    fields = _object(data, where, {"id", "figure", "state", "ask"}, {"after", "terms", "formula"})
    figure = _word(fields["figure"], STATES, f"{where}, figure")
    state = _state(fields["state"], figure, f"{where}, state")
    if not any(need <= state.keys() for need in NEEDS[figure]):
        needs = " or ".join(", ".join(sorted(need)) for need in NEEDS[figure])
        raise ValueError(f"{where}, state: the figure {figure} needs {needs}")
    after = _state(fields.get("after", {}), figure, f"{where}, after")
    ask = _word(fields["ask"], QUESTION_KINDS, f"{where}, ask")
    if figure not in QUESTION_KINDS[ask].figures:
        raise ValueError(
            f"{where}: {ask} can be asked with {', '.join(QUESTION_KINDS[ask].figures)}, not {figure}"
        )
    both = {**state, **after}
    if missing := QUESTION_KINDS[ask].needs - both.keys():
        raise ValueError(f"{where}: {ask} needs {', '.join(sorted(missing))} in state or after")
    if figure == "map":
        _map_fits(both, where)
    named = tuple(
        _word(t, terms, f"{where}, terms") for t in _list(fields.get("terms", []), f"{where}, terms", 8, 0)
    )
    _unique(list(named), f"{where}, terms")
    formula = fields.get("formula", "")
    if not (isinstance(formula, str) and len(formula) <= 400):
        raise ValueError(f"{where}, formula: expected LaTeX of at most 400 characters")
    return Step(_name(fields["id"], where), figure, state, after, ask, named, formula)


def _state(data: Any, figure: str, where: str) -> dict[str, Any]:
    state = _object(data, where, None)
    for name, value in state.items():
        rule = STATES[figure].get(name)
        if rule is None:
            raise ValueError(f"{where}: {_show(name)} is unknown; allowed are {', '.join(STATES[figure])}")
        if isinstance(rule, list):
            if not isinstance(value, list) or len(value) != len(rule):
                raise ValueError(f"{where}, {name}: expected {len(rule)} numbers, got {_show(value)}")
            for one, inner in zip(value, rule, strict=True):
                _value(one, inner, f"{where}, {name}")
        else:
            _value(value, rule, f"{where}, {name}")
    return state


def _map_fits(state: Mapping[str, Any], where: str) -> None:
    side, step = state["side"], state["G"] * (state["I"] if state["kind"] == "lda" else 1)
    if max(state["token"]) >= side:
        raise ValueError(f"{where}, token: {state['token']} is outside a map of {side} x {side}")
    if step > side:
        raise ValueError(f"{where}: a group spans {step} tokens, more than the map's {side}")


def _value(value: Any, rule: Any, where: str) -> None:
    if rule is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where}: expected true or false, got {_show(value)}")
    elif isinstance(rule[0], type):
        kind, low, high = rule
        good = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not (good and low <= value <= high):
            whole = "a whole number" if kind is int else "a number"
            raise ValueError(f"{where}: expected {whole} from {low} to {high}, got {_show(value)}")
    elif type(value) is not type(rule[0]) or value not in rule:
        raise ValueError(f"{where}: expected one of {', '.join(map(str, rule))}, got {_show(value)}")


# ---------------------------------------------------------------- sentences


def _texts(texts: Any) -> dict[str, dict[str, str]]:
    catalogues = _object(texts, "the lesson texts", set(LANGUAGES))
    for lang, catalogue in catalogues.items():
        for key, text in _object(catalogue, f"{lang}.json", None).items():
            if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
                raise ValueError(f"{lang}.json, {_show(key)}: expected a text of 1 to {MAX_TEXT} characters")
    return catalogues


def wanted(course: Course) -> Iterator[tuple[str, set[str]]]:
    """Every key a language must have, and the fields its sentence may use."""
    for lesson in course.lessons:
        yield f"{lesson.id}.title", set()
        yield f"{lesson.id}.goal", set()
        for step in lesson.steps:
            fields = set(QUESTION_KINDS[step.ask].fields)
            for part in PARTS:
                judged = {"chosen", *QUESTION_KINDS[step.ask].said} if part in ("right", "wrong") else set()
                yield f"{lesson.id}.{step.id}.{part}", set() if part == "title" else fields | judged
    for term in course.terms:
        yield f"term.{term}", set()
        yield f"term.{term}.is", set()
    yield from SHARED.items()


def _check_texts(course: Course, lang: str) -> None:
    catalogue, keys = course.texts[lang], dict(wanted(course))
    if missing := sorted(keys.keys() - catalogue.keys()):
        raise ValueError(f"{lang}.json: {missing[0]} is missing" + _more(missing))
    if unknown := sorted(catalogue.keys() - keys.keys()):
        raise ValueError(f"{lang}.json: {_show(unknown[0])} belongs to no lesson" + _more(unknown))
    for key, allowed in keys.items():
        for name in _fields(catalogue[key], f"{lang}.json, {key}"):
            if name not in allowed:
                listed = ", ".join(sorted(allowed)) or "none"
                raise ValueError(f"{lang}.json, {key}: the field {_show(name)} is unknown; allowed: {listed}")


def _fields(text: str, where: str) -> set[str]:
    """The names in braces; only plain names are allowed, so that formatting can only fill them in."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{where}: a brace is not closed or not opened") from error
    for _, name, spec, conversion in parts:
        if name is not None and (spec or conversion or not name.isidentifier()):
            raise ValueError(f"{where}: expected plain fields like {{n}}, got {_show(name)}")
    return {name for _, name, _, _ in parts if name is not None}


# ---------------------------------------------------------------- values in error messages


def _object(data: Any, where: str, keys: set[str] | None, more: Set[str] = frozenset()) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected an object, got {_show(data)}")
    if keys is not None:
        if missing := sorted(keys - data.keys()):
            raise ValueError(f"{where}: {', '.join(missing)} is missing")
        if unknown := sorted(data.keys() - keys - more):
            raise ValueError(f"{where}: {_show(unknown[0])} is unknown")
    return dict(data)


def _list(data: Any, where: str, most: int, least: int = 1) -> list[Any]:
    if not isinstance(data, list) or not least <= len(data) <= most:
        raise ValueError(f"{where}: expected a list of {least} to {most}, got {_show(data)}")
    return data


def _name(data: Any, where: str) -> str:
    if not (isinstance(data, str) and data.isascii() and data.isidentifier() and len(data) <= 30):
        raise ValueError(f"{where}, id: expected a short name of letters and _, got {_show(data)}")
    return data


def _word(data: Any, allowed: Any, where: str) -> str:
    if not isinstance(data, str) or data not in allowed:
        known = list(allowed)
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise ValueError(f"{where}: expected one of {listed}, got {_show(data)}")
    return data


def _unique(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: {name} is there twice")


def _show(data: Any) -> str:
    if isinstance(data, (dict, list)):
        return f"{'an object' if isinstance(data, dict) else 'a list'} of {len(data)}"
    try:
        text = repr(data)
    except ValueError:  # an integer with thousands of digits
        return "a very long number"
    return text if len(text) <= 40 else text[:37] + "…"


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""
