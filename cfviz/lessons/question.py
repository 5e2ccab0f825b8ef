"""A lesson's questions, and how answers are judged.

A question is made from a scene (a model on a photo) and the figure's state; nothing about the answer is
stored anywhere. The questions themselves are in `geometry` and `tensors`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cfviz.framing import Size, as_pair, size_text
from cfviz.geometry import CEL_KERNELS, Grouping, grouping
from cfviz.measured.dense import DenseSubject, Seen
from cfviz.models.crossformer import CrossFormer
from cfviz.trace import Trace

KINDS = ("one", "many", "token", "tokens")  # choose one or several options, point at one or several tokens
State = Mapping[str, Any]
Reason = tuple[str, dict[str, object]]  # a key of the shared sentences, and its fields


class RefusedError(ValueError):
    """A question that makes no sense for the chosen model; its text is a key of the shared sentences."""


def _nowhere(number: int) -> tuple[DenseSubject, Seen]:
    raise ValueError(f"scene {number} was asked for, but no segmenter is at hand")


@dataclass(frozen=True)
class Scene:
    """The subject of the questions.

    Attributes:
        model: The model, in eval mode.
        size: Side of the input in pixels, or its height and width.
        trace: `trace(*watch)` returns the model's prediction on the chosen photo, with the watched points.
        labels: Class names in the reader's language.
        image: Returns the model's input for the photo, (3, H, W).
        kept: `kept(key, make)` returns the result of `make`, computed once for this model and photo.
        segmented: Returns a scene by its number, with the bundled segmenter's answer on it.
        lang: The reader's language.
    """

    model: CrossFormer
    size: Size
    trace: Callable[..., Trace]
    labels: Sequence[str] = ()
    image: Callable[[], Any] = lambda: None
    kept: Callable[[Any, Callable[[], Any]], Any] = lambda key, make: make()
    segmented: Callable[[int], tuple[DenseSubject, Seen]] = _nowhere
    lang: str = "en"

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return as_pair(self.size)

    def groupings(self, size: Size | None = None) -> Sequence[Sequence[Grouping]]:
        """How every block of every stage partitions its map, at the chosen size or another."""
        return self.model.groupings(*as_pair(self.size if size is None else size))


@dataclass(frozen=True)
class Option:
    """An option to choose: a code and a name, which is a shared sentence or, without a key, `text`."""

    code: str
    key: str
    fields: Mapping[str, object]


@dataclass(frozen=True)
class Question:
    """A question and its freshly computed answer.

    Attributes:
        kind: One of `KINDS`.
        good: The right options or tokens ("row.col"); for "one" and "token", any one of them is right.
        fields: Values that fill in the step's sentences.
        options: The options to choose from.
        said: Option -> extra fields for the sentence on why it is wrong.
        why: Option or token -> one more sentence on why it is wrong to pick it, or to leave it out.
        free: Tokens that may be picked or not, such as the query itself.
        marks: Tokens to mark with the answer, if the answer does not itself consist of tokens.
    """

    kind: str
    good: frozenset[str]
    fields: Mapping[str, object]
    options: tuple[Option, ...] = ()
    said: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    why: Mapping[str, Reason] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class QuestionKind:
    """A kind of question.

    Attributes:
        make: Makes the question.
        fields: Names of the fields its sentences may use.
        figures: The figures on which it can be asked.
        said: Names of the extra fields in the sentence on a wrong option.
        needs: Keys the step's state must have.
    """

    make: Callable[[Scene, State, State], Question]
    fields: tuple[str, ...]
    figures: tuple[str, ...]
    said: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right, and the fields of the sentence about it."""

    right: bool
    fields: Mapping[str, object]
    reason: Reason | None = None


def accepted(question: Question, answer: Sequence[str]) -> tuple[str, ...]:
    """The part of a browser's answer that can be judged; if nothing is left, the question is asked again.

    Args:
        question: The question, freshly made.
        answer: Any strings.

    Returns:
        The options or tokens the question knows, each once; none if it expects one and got several.
    """
    if question.options or question.kind == "token":
        known = {option.code for option in question.options} or question.said.keys()
        kept = tuple(dict.fromkeys(one for one in answer if one in known))
    else:
        kept = tuple(dict.fromkeys(one for one in answer if re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", one)))
    return () if len(kept) > 1 and question.kind in ("one", "token") else kept


def grade(question: Question, answer: Sequence[str]) -> Grade:
    """Judge an answer.

    Args:
        question: The question, freshly made.
        answer: Codes of options, or tokens as "row.col"; at least one.
    """
    given = frozenset(answer) - question.free
    single = question.kind in ("one", "token")
    right = len(given) == 1 and given <= question.good if single else given == question.good
    names = {option.code: str(option.fields.get("text", option.code)) for option in question.options}
    fields: dict[str, object] = {**question.fields, "chosen": tuple(names.get(a, a) for a in answer)}
    if len(given) == 1:
        fields |= question.said.get(next(iter(given)), {})
    return Grade(right, fields, None if right else _reason(question, given))


def _reason(question: Question, given: frozenset[str]) -> Reason | None:
    """One more sentence on a wrong answer: about the first mistake, or how many tokens are missing."""
    first = next((code for code in sorted(given ^ question.good, key=place) if code in question.why), None)
    if first is not None:
        return question.why[first]
    lost = question.good - given
    if question.kind == "tokens" and lost:
        return "reason.missed", {"missed": len(lost), "n": len(question.good)}
    return None


def place(code: str) -> list[int]:
    """Where a code stands among others: tokens by row and column, numbers by size, words first."""
    return [int(part) if part.isdigit() else 0 for part in code.split(".")]


# ---------------------------------------------------------------- helpers


def thousands(n: float) -> str:
    """Format a number as 12,544."""
    return f"{n:,}"


def number_options(values: Sequence[int], suffix: str = "", prefix: str = "") -> tuple[Option, ...]:
    """Numbers to choose from, smallest first."""
    return tuple(Option(str(n), "", {"text": f"{prefix}{thousands(n)}{suffix}"}) for n in sorted(set(values)))


def head_options(n: int) -> tuple[Option, ...]:
    """All heads of a block, from 1."""
    return tuple(Option(str(h + 1), "option.head", {"n": h + 1, "text": h + 1}) for h in range(n))


def kernel_options(stage: int = 0) -> tuple[Option, ...]:
    """The kernels of one embedding layer, named by their sides."""
    return tuple(Option(str(k), "option.kernel", {"k": k, "text": size_text(k)}) for k in CEL_KERNELS[stage])


YES_NO = (Option("yes", "option.yes", {}), Option("no", "option.no", {}))


def token_code(row: int, col: int) -> str:
    """The code of a token in an answer."""
    return f"{row}.{col}"


def parse_token(text: str) -> tuple[int, int]:
    """The row and column of a token, the inverse of `token_code`."""
    row, _, col = text.partition(".")
    return int(row), int(col)


def needs_bias(scene: Scene, *kinds: str) -> None:
    """Refuse a question about a position bias that the model does not have.

    Args:
        scene: The question's subject.
        kinds: The acceptable kinds of bias: "dpb", "rpb".

    Raises:
        RefusedError: If the model has none of them.
    """
    kind = scene.model.position_bias
    if kind not in kinds:
        raise RefusedError("refusal.table" if kind == "rpb" else "refusal.no_bias")


def block_of(groupings: Sequence[Sequence[Grouping]], stage: int, kind: str) -> tuple[int, int]:
    """The first block of a kind in a stage (from 1), or in the nearest stage that has one.

    Returns:
        Stage and block, from 0.

    Raises:
        ValueError: If the model has none at this size.
    """
    order = sorted(range(len(groupings)), key=lambda s: (abs(s - stage + 1), s))
    for s in order:
        for b, g in enumerate(groupings[s]):
            if g.kind == kind:
                return s, b
    raise ValueError(f"this model has no {kind.upper()} block at this size; choose another model or size")


def partition_of(scene: Scene, state: State) -> Grouping:
    """The partition of a state's map: a made-up map if the state has a side, else the model's own block."""
    if "side" in state:
        side, form = state["side"], state.get("form", "regions")
        return grouping(state["kind"], side, side, state["G"], state["I"], form)
    groupings = scene.groupings(state.get("size"))
    s, b = block_of(groupings, state["stage"], state["kind"])
    return groupings[s][b]


def token_at(state: State, H: int, W: int) -> tuple[int, int]:
    """The token of a state, given directly or as fractions of the map."""
    if "token" in state:
        return min(state["token"][0], H - 1), min(state["token"][1], W - 1)
    row, col = state["at"]
    return min(int(row * H), H - 1), min(int(col * W), W - 1)


def members(g: Grouping, row: int, col: int) -> frozenset[str]:
    """The tokens in one token's group, itself included."""
    group, _ = g.group_of(row, col)
    return frozenset(token_code(*divmod(int(flat), g.W)) for flat in g.members[group] if flat >= 0)
