"""How well trained models carry over to other input sizes and groups, and what their bias does for it.

Each row keeps which photos it got right, so that two rows can be compared photo by photo: on the same photos
a difference is known far better than the two accuracies are.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from cfviz.hooks import edit
from cfviz.jobs import report, write
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.position_bias import METHODS, edits, methods_of, same
from cfviz.options import TRAINED_SIZE
from cfviz.training.data import EvalSet, Photos, readable
from cfviz.training.folder import account, identity, told
from cfviz.training.ship.export import commit

from . import evaluation

SCHEMA = 2
WINDOWS = ("fixed", "adaptive", "scaled")
PLACE = ("model", "bias", "window", "size")  # what tells one row from another
IDENTITY = ("schema", "weights", "data", "photos", "trained_size")  # what all rows of a file have in common


def parse(text: str) -> list[int]:
    """`"160,224"` -> [160, 224].

    Raises:
        ValueError: For what is not a positive multiple of 32.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) and int(part) % 32 == 0 for part in parts):
        raise ValueError(f"got sizes {text!r}, expected multiples of 32 such as 160,224,448")
    return [int(part) for part in parts]


def choose(text: str | None, allowed: Sequence[str], what: str) -> tuple[str, ...]:
    """`"fixed,scaled"` -> ("fixed", "scaled"); None takes all.

    Raises:
        ValueError: For a name that is not allowed.
    """
    chosen = tuple(allowed) if text is None else tuple(text.split(","))
    unknown = [name for name in chosen if name not in allowed]
    if unknown:
        raise ValueError(f"got {what} {', '.join(unknown)}, expected some of {','.join(allowed)}")
    return chosen


def windows(size: int, trained_G: int) -> dict[str, tuple[int, Any]]:
    """Ways to cut a larger map: name -> (G, I).

    `fixed`: the trained G and I; `adaptive`: the trained G, I grows with the map; `scaled`: G grows
    with the map, I as trained.
    """
    return {
        "fixed": (trained_G, None),
        "adaptive": (trained_G, "adaptive"),
        "scaled": (max(1, round(trained_G * size / TRAINED_SIZE)), None),
    }


@dataclass
class Subject:
    """One model to measure.

    Attributes:
        name: "dpb", "rpb" or "none", its kind of position bias.
        model: In eval mode; its grouping is changed while it is measured and put back.
        ids: WordNet ids in the order of its outputs.
        sha256: Of its weights.
    """

    name: str
    model: CrossFormer
    ids: list[str]
    sha256: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.model.group_size)) > 1:
            raise ValueError(f"got G {self.model.group_size}, expected one G for all stages")
        self.G, self.I = self.model.group_size[0], self.model.interval
        self.name = self.name or self.model.position_bias

    def ways(self, chosen: Sequence[str]) -> list[str]:
        """What can be done with this model's bias, of what was chosen."""
        return [way for way in methods_of(self.model.position_bias) if way in chosen]

    def same(self, way: str, sides: set[int]) -> str:
        """The simplest way that gives the same bias, see `bias_ways.same`."""
        return same(self.model.position_bias, self.G, way, sides)


def plan(
    subjects: Sequence[Subject], sizes: Sequence[int], shapes: Sequence[str], ways: Sequence[str]
) -> Iterator[tuple[Subject, dict[str, Any], tuple[Any, ...]]]:
    """Every row to measure: the model, the row's place, and what decides its hits, the way second.

    Rows that agree in the last are the same computation up to rounding, and are measured once.
    """
    for size in sizes:
        for shape in shapes:
            for subject in subjects:
                G, I = windows(size, subject.G)[shape]  # noqa: E741
                subject.model.set_grouping(G, I or subject.I)
                groups = subject.model.groupings(size, size)
                subject.model.set_grouping(subject.G, subject.I)
                sides = {g.G for stage in groups for g in stage}
                cut = tuple((g.kind, g.G, g.I) for stage in groups for g in stage)
                for way in subject.ways(ways):
                    place = {"model": subject.name, "bias": way, "window": shape, "size": size}
                    place |= {"group_size": G, "interval": I or list(subject.I)}
                    yield subject, place, (subject.name, subject.same(way, sides), size, cut)


def pack(hits: np.ndarray) -> str:
    """Which of n photos were right (n,) as base64 of bits, the first photo in the highest bit."""
    return base64.b64encode(np.packbits(hits.astype(bool)).tobytes()).decode("ascii")


def unpack(text: str, n: int) -> np.ndarray:
    """What `pack` packed: bool (n,)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


def hits_of(
    subject: Subject,
    way: str,
    place: dict[str, Any],
    photos: Photos,
    indices: np.ndarray | None,
    **engine: Any,
) -> np.ndarray:
    """Which photos a model gets right at one size, window and bias: bool (n,), in the order of the photos."""
    model, columns = subject.model, evaluation.columns_of(photos.classes, subject.ids)
    model.set_grouping(place["group_size"], _interval(place))
    try:
        with edit(model, edits(model, way, (subject.G,) * len(model.depths))):
            logits, labels, _ = evaluation.predict(model, EvalSet(photos, place["size"], indices), **engine)
    finally:
        model.set_grouping(subject.G, subject.I)
    return logits.argmax(axis=1) == columns[labels]


def _interval(place: dict[str, Any]) -> Any:
    return place["interval"] if place["interval"] == "adaptive" else tuple(place["interval"])


def measure(
    subjects: Sequence[Subject],
    photos: Photos,
    sizes: Sequence[int],
    limit: int | None = None,
    shapes: Sequence[str] = WINDOWS,
    ways: Sequence[str] = METHODS,
    known: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any], int, int], None] | None = None,
    **engine: Any,
) -> dict[str, Any]:
    """Top-1 for every size, window and way of making the position bias.

    Args:
        subjects: Models trained at 224 px with one G for all stages.
        photos: A folder or a cache.
        sizes: Input sides in pixels.
        limit: At most so many photos a class; those that cannot be read are left out of every row.
        shapes: Some of `WINDOWS`.
        ways: Some of `METHODS`.
        known: What an earlier, perhaps interrupted, run returned or kept; its rows are not measured again.
        keep: Called after each row with the result so far, the rows done and all rows, to save it.
        **engine: passed on to `evaluation.predict`.

    Returns:
        `rows`: dicts of model, bias, window, size, group_size, interval, a score (correct, n, value, low,
        high) and hits (see `pack`); and the commit, the date, the photos, the weights, and `files`, what
        became of each file of the folder (see `folder.account`).

    Raises:
        ValueError: If `known` is about other photos or weights.
    """
    chosen = evaluation.spread(photos.labels, limit)
    chosen = np.arange(len(photos)) if chosen is None else chosen
    fine = readable(photos, chosen, engine.get("workers", 0))
    indices, files = chosen[fine], account(photos, chosen, chosen[~fine])
    if not len(indices):
        raise ValueError(f"none of the photos can be used; {told(files)}")
    result = {**_facts(subjects, photos, indices), "files": files, "rows": []}
    old = _known_rows(known, result)
    done: dict[tuple[Any, ...], np.ndarray] = {}
    planned = list(plan(subjects, sizes, shapes, ways))
    for i, (subject, place, key) in enumerate(planned):
        row = old.pop(_place(place), None)
        if row is not None:
            done[key] = unpack(row["hits"], row["n"])
        else:
            if key not in done:
                done[key] = hits_of(subject, key[1], place, photos, indices, **engine)
            row = {**place, **asdict(evaluation.Score.of(done[key])), "hits": pack(done[key])}
        result["rows"].append(row)
        if keep is not None:
            keep({**result, "rows": [*result["rows"], *old.values()]}, i + 1, len(planned))
    return result


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in PLACE)


def _facts(subjects: Sequence[Subject], photos: Photos, chosen: np.ndarray) -> dict[str, Any]:
    """What is measured on what."""
    return {
        "schema": SCHEMA,
        "commit": commit(),
        "date": date.today().isoformat(),
        "photos": len(chosen),
        "data": identity(photos, chosen),
        "trained_size": TRAINED_SIZE,
        "weights": {subject.name: subject.sha256 for subject in subjects},
        "trained_group": list(subjects[0].model.trained_group),
    }


def _known_rows(known: dict[str, Any] | None, now: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of an earlier run by their places."""
    if known is None:
        return {}
    for name in IDENTITY:
        if known.get(name) != now[name]:
            raise ValueError(
                f"the results there are for other {name} ({known.get(name)!r}, now {now[name]!r}); "
                "name another file, or remove that one"
            )
    return {_place(row): row for row in known["rows"]}


class Keeper:
    """Saves results after every row and says how far they are; a run that is stopped goes on from there."""

    def __init__(
        self,
        path: str | None,
        facts: dict[str, Any],
        tell: Callable[[str], None],
        progress: str | None = None,
    ):
        self.path, self.facts, self.tell = None if path in (None, "-") else Path(str(path)), facts, tell
        self.progress = progress

    def known(self) -> dict[str, Any] | None:
        """What is there already."""
        if self.path is None or not self.path.exists():
            return None
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
            raise ValueError(
                f"{self.path} holds no results of measure-sizes; name another file, or remove it"
            )
        return found

    def __call__(self, result: dict[str, Any], done: int, total: int) -> None:
        if self.path is not None:
            write(self.path, {**self.facts, **result})
        self.tell(f"{done}/{total} " + line(result["rows"][done - 1]))
        report(self.progress, done, total, line(result["rows"][done - 1]))


def line(row: dict[str, Any]) -> str:
    """One row as text, percent with its 95 % interval."""
    text = (
        "{model:<4} {bias:<9} {window:<9} {size:>4} px  G {group_size:>2}  {v:6.2f} %  [{l:6.2f}, {h:6.2f}]"
    )
    return text.format(**row, v=100 * row["value"], l=100 * row["low"], h=100 * row["high"])


def table(result: dict[str, Any]) -> str:
    """The rows as aligned text, and what became of the files."""
    return "\n".join([*map(line, result["rows"]), told(result["files"])])
