"""The self-test: ten questions before a course and ten of the same kinds after it, marked by computing.

A set of questions is named by a short text. The name draws two forms, A and B: the same ten topics with other
numbers. Everybody with the same name gets the same questions, and nothing but the name and the answers given
has to be kept: questions and right answers are made anew from `cfviz.geometry` and the bundled model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cfviz.analysis.position_bias import measures
from cfviz.analysis.reach import multiply_adds, reach
from cfviz.geometry import CEL_KERNELS, cel_box, cel_channels, grouping, offsets
from cfviz.geometry.schemes import crossformer
from cfviz.lessons.question import Option, Question, members, number_options, parse_token, token_code
from cfviz.measured import surfaces_of
from cfviz.models.crossformer import CrossFormer, recorded

VERSION = 1  # of the questions: raise it with every change after which the same name draws other questions
PHASES, FORMS, ORDERS = ("before", "after"), ("A", "B"), ("ab", "ba")
NAME = re.compile(r"[A-Za-z0-9-]{1,24}")
UNSURE = "unsure"  # the answer "I do not know"
MAX_SETS, MAX_SECONDS = 8, 2**40  # sets kept in a browser; largest time stamp that is believed
COLUMNS = (  # of the files of results, one row per answer
    "set", "phase", "form", "number", "topic", "edition", "question", "options", "answer", "right", "unsure",
    "begun", "answered", "seconds", "right_answer", "model", "weights_sha256", "cfviz", "language",
)  # fmt: skip
CLEAR = 0.12  # by how much the nearest head must lead, as a share of the distance without any bias
# topic -> the lesson and step that teach it
TOPICS = {
    "sda": ("windows", "window"), "lda": ("near_far", "lattice"), "order": ("near_far", "two_blocks"),
    "interval": ("near_far", "lattice"), "reach": ("near_far", "two_blocks"), "cost": ("windows", "pairs"),
    "squares": ("scales", "squares"), "channels": ("scales", "channels"),
    "offsets": ("position", "resized"), "bias": ("position", "near"),
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One question of the test.

    Attributes:
        topic: One of `TOPICS`.
        question: The question and its answer, of the kind "one".
        side: Side of the map to draw, in tokens; 0 for none.
        query: The ringed token of that map.
        letters: Option -> token of the map that bears its letter.
        surfaces: Option -> position bias of a head to draw, (2G-1, 2G-1).
    """

    topic: str
    question: Question
    side: int = 0
    query: tuple[int, int] = (0, 0)
    letters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    surfaces: Mapping[str, np.ndarray] = field(default_factory=dict)


# ---------------------------------------------------------------- the questions

Draw = random.Random
MAPS = ((8, 2, 4), (10, 2, 5), (12, 3, 4), (15, 3, 5))  # side, G, I: two blocks do not reach everything


def _lettered(
    topic: str, side: int, query: tuple[int, int], right: tuple[int, int],
    wrong: Sequence[tuple[int, int]], **fields: object,
) -> Item:  # fmt: skip
    """A question on a map: which of four lettered tokens?"""
    letters = dict(zip("ABCD", sorted([right, *wrong]), strict=True))
    good = next(letter for letter, token in letters.items() if token == right)
    options = tuple(Option(letter, "", {"text": letter}) for letter in letters)
    said = {"side": side, "row": query[0], "col": query[1], "right_row": right[0], "right_col": right[1]}
    return Item(topic, Question("one", frozenset([good]), said | fields, options), side, query, letters)


def _sda(draw: Draw, G: int, side: int = 12) -> Item:
    """Which token shares the window? The right one is farther than the wrong ones."""
    row = draw.randrange(side)
    col = draw.randrange(side // G - 1) * G + G - 1  # at the right border of a window that is not the last
    near = members(grouping("sda", side, side, G), row, col)
    all_ = [(r, c) for r in range(side) for c in range(side)]

    def away(token: tuple[int, int]) -> int:
        return abs(token[0] - row) + abs(token[1] - col)

    right = max((parse_token(one) for one in sorted(near)), key=away)
    beyond = [one for one in all_ if token_code(*one) not in near and one != (row, col + 1)]
    close = [one for one in beyond if away(one) <= away(right)]
    return _lettered("sda", side, (row, col), right, [(row, col + 1), *draw.sample(close, 2)], G=G)


def _lda(draw: Draw, case: tuple[int, int], side: int = 12) -> Item:
    """Which token shares the group of long distance attention?"""
    G, I = case  # noqa: E741
    row, col = draw.randrange(1, side - 1), draw.randrange(1, side - 1)
    mine = [parse_token(one) for one in sorted(members(grouping("lda", side, side, G, I), row, col))]
    right = draw.choice([one for one in mine if one[0] != row and one[1] != col])
    half = draw.choice([(r, c) for r, _ in mine if r != row for c in range(side) if (c - col) % I])
    beside = draw.choice([(row, col - 1), (row, col + 1)])
    corner = draw.choice([(row - 1, col - 1), (row - 1, col + 1), (row + 1, col - 1), (row + 1, col + 1)])
    wrong = [beside, corner, half]
    if half in wrong[:2]:  # a neighbour by chance: take the token on its other side
        wrong[2] = next(
            one for one in [(r, c) for r, _ in mine for c in range(side)] if one not in [*wrong, *mine]
        )
    return _lettered("lda", side, (row, col), right, wrong, G=G, I=I)


def _reached(kinds: Sequence[str], side: int, G: int, I: int, query: tuple[int, int]) -> list[int]:  # noqa: E741
    """From how many tokens a token has information after 0, 1, 2 blocks."""
    schemes = [crossformer(grouping("sda" if kind == "sda" else "lda", side, side, G, I)) for kind in kinds]
    return [int(found.sum()) for found in reach(schemes, *query, 2)]


def _somewhere(draw: Draw, side: int) -> tuple[int, int]:
    return draw.randrange(side), draw.randrange(side)


def _order(draw: Draw, case: tuple[int, int, int]) -> Item:
    """How far two blocks of one kind reach: no farther than one."""
    (side, G, I), kind = case, draw.choice(("sda", "lda"))  # noqa: E741
    query = _somewhere(draw, side)
    _, one, two = _reached((kind, kind), side, G, I, query)
    fields = {"side": side, "G": G, "I": I, "kind": kind.upper(), "n": two, "all": side**2}
    return Item("order", _numbers(two, [one, 2 * one, one**2, side**2], fields), side, query)


def _reach(draw: Draw, case: tuple[int, int, int]) -> Item:
    """How far one block of each kind reach together."""
    side, G, I = case  # noqa: E741
    query = _somewhere(draw, side)
    _, near, both = _reached(("sda", "lda"), side, G, I, query)
    long = len(members(grouping("lda", side, side, G, I), *query))
    fields = {"side": side, "G": G, "I": I, "near": near, "long": long, "n": both, "all": side**2}
    return Item("reach", _numbers(both, [near, near + long - 1, both, side**2], fields), side, query)


def _interval(draw: Draw, case: tuple[int, int]) -> Item:
    """The interval with which one group spans the whole map."""
    side, G = case
    I = grouping("lda", side, side, G, "adaptive").I  # noqa: E741
    return Item("interval", _numbers(I, [G, I, 2 * I, side], {"side": side, "G": G, "I": I}))


def _cost(draw: Draw, case: tuple[int, int, int]) -> Item:
    """How the multiply-adds of attention in groups grow with the map."""
    side, G, k = case
    before, after = (
        multiply_adds(crossformer(grouping("sda", s, s, G)), 1).attention for s in (side, k * side)
    )
    times = after // before
    fields = {"side": side, "side2": k * side, "G": G, "k": k, "n": times, "everyone": k**4}
    return Item("cost", _numbers(times, [k, k**2, k**3, k**4], fields, prefix="× "))


def _squares(draw: Draw, k: int) -> Item:
    """How wide the strip is that two neighbouring tokens read with one kernel."""
    left, right = cel_box(0, k, 5, 5), cel_box(0, k, 5, 6)
    shared, stride = left[3] - right[1], right[1] - left[1]
    fields = {"k": k, "stride": stride, "n": shared}
    return Item("squares", _numbers(shared, [0, shared // 2, shared, k], fields))


def _channels(draw: Draw, case: tuple[int, int]) -> Item:
    """How many channels one kernel of the first embedding layer fills."""
    dim, at = case
    share = cel_channels(dim, CEL_KERNELS[0])
    fields = {
        "dim": dim,
        "k": CEL_KERNELS[0][at],
        "n": share[at],
        "small": share[0],
        "even": dim // len(share),
    }
    return Item("channels", _numbers(share[at], [*share, dim * 3 // 4], fields))


def _offsets(draw: Draw, case: tuple[int, int]) -> Item:
    """How many offsets of a larger window a table lacks."""
    G, wide = case
    known, all_ = len(offsets(G, G)), len(offsets(wide, wide))
    fields = {"G": G, "wide": wide, "known": known, "all": all_, "n": all_ - known}
    return Item("offsets", _numbers(all_ - known, [0, wide**2 - G**2, all_ - known, all_], fields))


def _bias(draw: Draw, case: tuple[int, int, int], model: CrossFormer) -> Item:
    """Which of four heads is drawn to nearby places? Read from the model's own position bias."""
    s, b, h = case
    surfaces = _surfaces(model, s, b)
    nearness = measures(surfaces).nearness
    others = [n for n in range(len(surfaces)) if nearness[n] <= nearness[h] - CLEAR]
    heads = draw.sample([h, *draw.sample(others, 3)], 4)
    shown = dict(zip("ABCD", heads, strict=True))
    best = max(shown, key=lambda letter: nearness[shown[letter]])
    options = tuple(Option(letter, "", {"text": letter}) for letter in shown)
    fields = {"stage": s + 1, "block": b + 1, "best": best}
    question = Question("one", frozenset([best]), fields, options)
    return Item("bias", question, surfaces={letter: surfaces[n] for letter, n in shown.items()})


def _surfaces(model: CrossFormer, s: int, b: int) -> np.ndarray:
    return surfaces_of(model.stages[s].block_list[b].attn.pos, int(model.group_size[s]))


def _near_heads(model: CrossFormer) -> list[tuple[int, int, int]]:
    """(stage, block, head) of heads clearly drawn to nearby places, with three others to tell them from."""
    found = []
    for s, stage in enumerate(model.stages):
        for b in range(len(stage.block_list)):
            nearness = measures(_surfaces(model, s, b)).nearness
            found += [
                (s, b, h) for h, near in enumerate(nearness)
                if near >= 2 * CLEAR and (nearness <= near - CLEAR).sum() >= 3
            ]  # fmt: skip
    return found


def _numbers(right: int, values: Sequence[int], fields: Mapping[str, object], prefix: str = "") -> Question:
    return Question("one", frozenset([str(right)]), fields, number_options([right, *values], prefix=prefix))


POOLS: dict[str, tuple[Callable[..., Item], Sequence[Any]]] = {  # the two forms take two cases of one pool
    "sda": (_sda, (3, 4)),
    "lda": (_lda, ((3, 4), (4, 3))),
    "order": (_order, MAPS),
    "interval": (_interval, ((56, 7), (48, 6), (40, 5), (28, 4), (45, 5), (36, 4), (54, 6))),
    "reach": (_reach, MAPS),
    "cost": (_cost, ((14, 7, 2), (14, 7, 3), (12, 4, 2), (12, 4, 3), (10, 5, 2), (10, 5, 3))),
    "squares": (_squares, CEL_KERNELS[0][1:]),
    "channels": (_channels, ((64, 3), (96, 3), (128, 3), (64, 2), (96, 2), (128, 2))),
    "offsets": (_offsets, ((3, 4), (4, 5), (5, 6), (6, 7), (7, 8))),
}  # fmt: skip


def items(name: str, form: str, model: CrossFormer) -> list[Item]:
    """The ten questions of a form.

    Args:
        name: The set's name.
        form: "A" or "B".
        model: The bundled model, whose position bias one question shows.
    """
    return [_item(name, form, topic, model) for topic in TOPICS]


def _item(name: str, form: str, topic: str, model: CrossFormer) -> Item:
    """One question; that of form B has another answer than that of form A wherever the answer is a number."""
    make, pool = POOLS[topic] if topic in POOLS else (_bias, _near_heads(model))
    more = () if topic in POOLS else (model,)
    cases = random.Random(f"{VERSION} {name} {topic}").sample(list(pool), len(pool))

    def draw(which: str) -> Draw:
        return random.Random(f"{VERSION} {name} {topic} {which}")

    first = make(draw("A"), cases[0], *more)
    if form == "A":
        return first
    others = (make(draw("B"), case, *more) for case in cases[1:])
    return next(
        one for one in others if one.letters or one.surfaces or one.question.good != first.question.good
    )


def edition(model: CrossFormer) -> str:
    """What the questions depend on beside the set's name: their version and the bundled weights."""
    return f"{VERSION}.{(recorded(model).sha256 or '0')[:8]}"


# ---------------------------------------------------------------- what one person answered


@dataclass(frozen=True)
class Sitting:
    """The test as one person took it once, before or after the course.

    Attributes:
        form: "A" or "B".
        edition: The `edition` of its questions.
        begun: When it began, in seconds since 1970.
        answers: (option, when) of the questions answered so far, in order; never changed afterwards.
    """

    form: str
    edition: str
    begun: int
    answers: tuple[tuple[str, int], ...] = ()

    @property
    def done(self) -> bool:
        """Whether all questions have been answered."""
        return len(self.answers) == len(TOPICS)

    def answered(self, code: str, at: int) -> Sitting:
        """This sitting with one more answer."""
        return self if self.done else replace(self, answers=(*self.answers, (code, at)))

    def marks(self, questions: Sequence[Item]) -> list[bool]:
        """Whether each answer given so far is right."""
        return [code in item.question.good for item, (code, _) in zip(questions, self.answers, strict=False)]


Book = dict[str, dict[str, Sitting]]  # set -> phase -> sitting


def form_of(phase: str, order: str) -> str:
    """The form of a phase: in the order "ba" form B comes before the course and form A after it."""
    return FORMS[PHASES.index(phase) ^ ORDERS.index(order)]


def to_json(book: Book) -> dict[str, Any]:
    """All sittings, as the browser stores them."""
    return {
        name: {
            phase: {
                "form": one.form,
                "of": one.edition,
                "at": one.begun,
                "told": [list(answer) for answer in one.answers],
            }
            for phase, one in sittings.items()
        }
        for name, sittings in book.items()
    }


def from_json(data: Any) -> Book:
    """The sittings that a browser stored; entries that are not well formed are left out.

    Args:
        data: Anything, because anyone can write into a browser's storage.
    """
    book: Book = {}
    for name, sittings in data.items() if isinstance(data, dict) else ():
        if not (isinstance(name, str) and NAME.fullmatch(name) and isinstance(sittings, dict)):
            continue
        read = {phase: one for phase in PHASES if (one := _sitting(sittings.get(phase))) is not None}
        if read and len(book) < MAX_SETS:
            book[name] = read
    return book


def _sitting(data: Any) -> Sitting | None:
    if not isinstance(data, dict):
        return None
    form: Any = data.get("form")
    of: Any = data.get("of")
    at: Any = data.get("at")
    told: Any = data.get("told")
    good = (
        form in FORMS and isinstance(of, str) and re.fullmatch(r"[0-9a-f.]{1,24}", of) and _time(at)
        and isinstance(told, list) and len(told) <= len(TOPICS)
        and all(
            isinstance(one, list) and len(one) == 2 and _time(one[1])
            and isinstance(one[0], str) and re.fullmatch(r"[A-Za-z0-9]{1,12}", one[0])
            for one in told
        )
    )  # fmt: skip
    return Sitting(form, of, at, tuple((code, when) for code, when in told)) if good else None


def _time(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_SECONDS
