"""Changes to a model as plain data: one line of JSON in a file, a short word in a link.

An `Intervention` names a part and the change to it; `apply.apply` applies a list of them in order. Counting
starts at 0 in Python and JSON, as in point names, and at 1 in links, as everywhere that people read. A place
left out (`None`) means all of them.

Example:
    >>> parse('{"part": "head", "stage": 2, "block": 1, "index": 4}')
    (Intervention(part='head', stage=2, block=1, index=4, how='zero', value=None, seed=0, on=True),)
    >>> to_url(parse('[{"part": "kind", "stage": 0, "block": 1, "how": "sda"}]'))
    '1.2.kind-sda'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from cfviz.geometry import CEL_KERNELS, lsda, map_sizes
from cfviz.models.crossformer import CrossFormer
from cfviz.models.room import check_all, check_tensor

FILLS = ("zero", "mean", "shuffle", "replace")
PARTS = {
    "head": FILLS,  # a head's output, which goes into the projection
    "kernel": FILLS,  # a kernel's output in the embedding layer before the stage, before concatenation
    "bias": FILLS,  # the position bias of one head or of all
    "mask": FILLS,  # the term added to the logits of padded keys
    "attn": FILLS,  # the output of attention, added to the tokens
    "mlp": FILLS,  # the output of the MLP, added to the tokens
    "block": FILLS,  # everything the block adds to the tokens
    "cooling": ("zero",),  # the amplitude cooling layer: without it, its input passes unchanged
    "kind": ("sda", "lda"),  # short or long distance attention
    "G": ("set",),  # side of the groups
    "I": ("set",),  # interval of long distance attention
}
INDEXED = ("head", "kernel", "bias")
STRUCTURAL = ("kind", "G", "I")
LETTER = {"head": "h", "kernel": "k"}  # in links; the other parts go by their name
MOST, SEEDS, LARGEST = 10_000, 2**31, 1e30  # bounds far beyond any sensible use


@dataclass(frozen=True)
class Intervention:
    """One change to one part, or to all parts of one kind.

    Attributes:
        part: One of `PARTS`.
        stage: From 0; None means every stage. A kernel belongs to the stage it leads into.
        block: From 0; None means every block. Kernels have none.
        index: Head or kernel, from 0; None means all.
        how: "zero", "mean" (needs the means of many photos), "shuffle" (permutes the tokens), "replace" (by
            `value`, or by another photo's activation if `value` is None); for the part "kind", "sda" or
            "lda"; for "G" and "I", "set".
        value: The replacement number, or the new G or I.
        seed: Seed of the shuffle.
        on: If False, the intervention keeps its place in the list but does nothing.

    Raises:
        ValueError: If the fields make no sense together; the message names the value and what is allowed.
    """

    part: str
    stage: int | None = None
    block: int | None = None
    index: int | None = None
    how: str = "zero"
    value: float | int | None = None
    seed: int = 0
    on: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.part, str) or self.part not in PARTS:
            raise ValueError(f"part is {self.part!r}; expected one of {', '.join(PARTS)}")
        if self.how not in PARTS[self.part]:
            raise ValueError(f"how is {self.how!r}; for {self.part} expected {_either(PARTS[self.part])}")
        for name in ("stage", "block", "index"):
            _whole(name, getattr(self, name), 0, None)
        if self.block is not None and self.part == "kernel":
            raise ValueError(f"block is {self.block}; a kernel has none, it belongs to a stage")
        if self.block is None and self.index is not None and self.part != "kernel":
            raise ValueError(f"index is {self.index} without a block; name the block too")
        if self.stage is None and (self.block is not None or self.index is not None):
            raise ValueError("block or index without a stage; name the stage too")
        if self.index is not None and self.part not in INDEXED:
            raise ValueError(f"index is {self.index}; {self.part} has none, only {_either(INDEXED)} do")
        _whole("seed", self.seed, 0, 0)
        if self.seed and self.how != "shuffle":
            raise ValueError(f"seed is {self.seed} and how is {self.how!r}; only shuffle has a seed")
        if not isinstance(self.on, bool):
            raise ValueError(f"on is {self.on!r}; expected true or false")
        self._check_value()

    def _check_value(self) -> None:
        value = self.value
        if self.how == "set":
            if value is None:
                raise ValueError(f"{self.part} is set to nothing; give a value, a whole number from 1")
            _whole("value", value, 1, None)
        elif value is not None and self.how != "replace":
            raise ValueError(f"value is {value!r} and how is {self.how!r}; only replace and set take a value")
        elif value is not None and not _finite(value):
            raise ValueError(f"value is {value!r}; expected a number up to 1e30")
        elif value is None and self.how == "replace" and self.part in ("bias", "mask"):
            raise ValueError(f"{self.part} depends on no photo; replace needs a value")

    @property
    def structural(self) -> bool:
        """Whether it changes the partition of maps rather than the activations at a point."""
        return self.part in STRUCTURAL

    def to_dict(self) -> dict[str, Any]:
        """Return `part`, `how` and the fields that differ from their defaults."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: value
            for name, value in given.items()
            if name in ("part", "how") or value != type(self).__dataclass_fields__[name].default
        }

    def to_url(self) -> str:
        """Write it as a word of a link, from 1: `3.2.h5-zero`, `1.k4-mean`, `x.x.bias-zero`, `~4.x.G-5`."""
        part = LETTER.get(self.part, self.part)
        index = "" if self.index is None else str(self.index + 1)
        place = [_one(self.stage), *([] if self.part == "kernel" else [_one(self.block)]), part + index]
        number = self.value if self.how in ("replace", "set") else (self.seed or None)
        how = "" if self.how == "set" else self.how
        return ("" if self.on else "~") + ".".join(place) + f"-{how}{_number(number)}"


def _either(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _whole(name: str, value: Any, low: int, missing: int | None) -> None:
    """Raise unless a field is a whole number of at least `low`; None is valid only if `missing` is None."""
    if value is None and missing is None:
        return
    top = SEEDS if name == "seed" else MOST
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < top:
        raise ValueError(f"{name} is {value!r}; expected a whole number from {low} to {top - 1}")


def _one(place: int | None) -> str:
    return "x" if place is None else str(place + 1)


def _number(value: float | int | None) -> str:
    return "" if value is None else repr(value).replace("+", "")


# ---------------------------------------------------------------- JSON


def parse(line: str) -> tuple[Intervention, ...]:
    """Read interventions from JSON: one object, or a list of them.

    Args:
        line: For example `[{"part": "head", "stage": 2, "block": 1, "index": 4, "how": "mean"}]`.

    Raises:
        ValueError: If it is not JSON, or an intervention is invalid; the message says which one and why.
    """
    try:
        read = json.loads(line)
    except (json.JSONDecodeError, RecursionError, TypeError) as error:
        raise ValueError(f"not JSON ({error}): {str(line)[:80]!r}") from error
    return from_data(read)


def from_data(read: Any) -> tuple[Intervention, ...]:
    """Make interventions from parsed JSON: a dict, or a list of dicts.

    Raises:
        ValueError: As `parse`.
    """
    several = read if isinstance(read, list) else [read]
    return tuple(_one_of(data, f"intervention {n + 1}: ") for n, data in enumerate(several))


def _one_of(data: Any, where: str) -> Intervention:
    if not isinstance(data, dict):
        raise ValueError(f'{where}{data!r} is no object; expected for example {{"part": "head", ...}}')
    known = [f.name for f in fields(Intervention)]
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"{where}unknown {', '.join(unknown)}; known are {', '.join(known)}")
    if "part" not in data:
        raise ValueError(f"{where}no part; expected one of {', '.join(PARTS)}")
    try:
        return Intervention(**{"how": default_how(data["part"]), **data})
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def default_how(part: Any) -> str:
    """Return the default `how` of a part: "set" for G and I, else "zero"; a kind must be named."""
    return "set" if part in ("G", "I") else "zero"


def dump(interventions: Iterable[Intervention]) -> str:
    """Write interventions as one line of JSON that `parse` reads back unchanged."""
    return json.dumps([i.to_dict() for i in interventions], allow_nan=False)


# ---------------------------------------------------------------- links

_WORD = re.compile(
    r"(?P<off>~?)(?P<stage>x|\d{1,5})\.(?:(?P<block>x|\d{1,5})\.)?(?P<part>[a-zA-Z]+)(?P<index>\d{0,5})-"
    r"(?P<how>[a-z]*?)(?P<number>-?\d[\d.]*(?:e-?\d+)?)?",
    re.ASCII,
)


def part_address(part: Intervention) -> str:
    """The place of an intervention, as written in links: `3.2.h5`."""
    return part.to_url().partition("-")[0].lstrip("~")


def to_url(interventions: Iterable[Intervention]) -> str:
    """Write interventions as one value of a link, using only characters that need no escaping."""
    return "_".join(i.to_url() for i in interventions)


def from_url(text: str) -> tuple[Intervention, ...]:
    """Read interventions from a link's value, as written by `to_url`.

    Raises:
        ValueError: If a word cannot be read; the message names it and shows the expected form.
    """
    return tuple(_from_word(word) for word in text.split("_")) if text else ()


def _from_word(word: str) -> Intervention:
    found = _WORD.fullmatch(word)
    if not found:
        raise ValueError(f"{word[:40]!r} is no intervention; expected for example 3.2.h5-zero or 1.k4-mean")
    letters = {letter: part for part, letter in LETTER.items()}
    part = letters.get(found["part"], found["part"])
    how = found["how"] or "set"
    number = None if found["number"] is None else _read_number(found["number"], word)
    stage, block, index = (_zero(found[name], name, word) for name in ("stage", "block", "index"))
    try:
        return Intervention(
            part,
            stage,
            block,
            index,
            how=how,
            value=None if how == "shuffle" else number,
            seed=(number or 0) if how == "shuffle" else 0,  # type: ignore[arg-type]  # checked by the class
            on=not found["off"],
        )
    except ValueError as error:
        raise ValueError(f"{word[:40]!r}: {error}") from error


def _zero(text: str | None, name: str, word: str) -> int | None:
    """Convert a place in a link, counted from 1, to one counted from 0; None for "x"."""
    if not text or text == "x":
        return None
    if text == "0":
        raise ValueError(f"{word[:40]!r}: {name} is 0; links count from 1")
    return int(text) - 1


def _read_number(text: str, word: str) -> float | int:
    try:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError as error:
        raise ValueError(f"{word[:40]!r}: {text[:20]!r} is no number") from error


# ---------------------------------------------------------------- checking against a model


def places(model: CrossFormer, intervention: Intervention) -> Iterator[Intervention]:
    """Expand an intervention for a model: yield one for each stage, block and index that it covers.

    An open kernel or head index is expanded too; a bias for all heads stays one intervention.

    Raises:
        ValueError: If the model has no such place; the message says what it has.
    """
    stages = _range("stage", intervention.stage, len(model.depths), "the model")
    for s in stages:
        if intervention.part == "kernel":
            indices = _range(
                "index", intervention.index, len(CEL_KERNELS[s]), f"the embedding before stage {s}"
            )
            yield from (replace(intervention, stage=s, index=i) for i in indices)
            continue
        blocks = _range("block", intervention.block, model.depths[s], f"stage {s}")
        if intervention.part == "cooling":
            blocks = _cooled(model, s, blocks, intervention)
        heads: Iterable[int | None] = (None,)
        if intervention.part in ("head", "bias"):
            every = _range("index", intervention.index, model.num_heads[s], f"stage {s}")
            heads = every if intervention.part == "head" or intervention.index is not None else (None,)
        for b, h in product(blocks, heads):
            yield replace(intervention, stage=s, block=b, index=h)


def _cooled(model: CrossFormer, stage: int, blocks: list[int], wanted: Intervention) -> list[int]:
    """The blocks that have a cooling layer; a place left out covers those that have one."""
    found = [b for b in blocks if model.stages[stage].block_list[b].cooling]
    have = cooled_blocks(model)
    if not found and (wanted.block is not None or wanted.stage is not None or not have):
        there = ", ".join(f"({s}, {b})" for s, b in have) or "none"
        raise ValueError(f"no cooling layer at stage {stage}; blocks that have one, counted from 0: {there}")
    return found


def cooled_blocks(model: CrossFormer) -> list[tuple[int, int]]:
    """Return the blocks of a model that end in an amplitude cooling layer, as (stage, block) from 0."""
    return [
        (s, b)
        for s, stage in enumerate(model.stages)
        for b, block in enumerate(stage.block_list)
        if block.cooling
    ]


def _range(name: str, wanted: int | None, count: int, owner: str) -> list[int]:
    if wanted is None:
        return list(range(count))
    if wanted >= count:
        raise ValueError(f"{name} is {wanted}; {owner} has {count}, 0 to {count - 1}")
    return [wanted]


def check(
    model: CrossFormer, interventions: Iterable[Intervention], size: tuple[int, int] | None = None
) -> None:
    """Raise a ValueError if interventions, on or off, name a place that a model does not have.

    Args:
        model: The model to check against.
        interventions: In order.
        size: (height, width) of the input in pixels; if given, partitions that make a forward take gigabytes
            are refused, too.
    """
    cuts: dict[tuple[Any, Any], dict[str, Any]] = {}
    for intervention in interventions:
        for one in places(model, intervention):
            if one.structural:
                new = {"kind": int(one.how == "lda")} if one.part == "kind" else {one.part: one.value}
                cuts.setdefault((one.stage, one.block), {}).update(new)
    if size is None:
        return
    weights = 0
    for (s, b), wanted in cuts.items():
        block, (H, W) = model.stages[s].block_list[b], map_sizes(*size)[s]
        I = wanted.get("I", block.I)  # noqa: E741
        g = lsda(H, W, wanted.get("kind", block.index), wanted.get("G", block.G), I, block.lda)
        weights += check_tensor(g, s, block.norm1.normalized_shape[0], block.attn.num_heads)
    check_all(weights)
