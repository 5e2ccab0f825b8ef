"""How well trained models transfer to other input sizes and groups, and how their position bias affects it.

Each row records which photos were classified correctly, so that two rows can be compared photo by photo: on
the same photos a difference can be estimated far more precisely than either accuracy.
"""

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
from cfviz.stats import pack_hits, unpack_hits
from cfviz.training.data import EvalSet, Photos, readable
from cfviz.training.folder import account, identity, told
from cfviz.training.ship.export import commit

from . import evaluation

SCHEMA = 2
WINDOWS = ("fixed", "adaptive", "scaled")
PLACE = ("model", "bias", "window", "size")  # identifies a row
IDENTITY = ("schema", "weights", "data", "photos", "trained_size")  # shared by all rows of a file


def parse(text: str) -> list[int]:
    """Parse sizes: `"160,224"` becomes [160, 224].

    Raises:
        ValueError: If a size is not a positive multiple of 32.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) and int(part) % 32 == 0 for part in parts):
        raise ValueError(f"got sizes {text!r}, expected multiples of 32 such as 160,224,448")
    return [int(part) for part in parts]


def choose(text: str | None, allowed: Sequence[str], what: str) -> tuple[str, ...]:
    """Parse a choice of names: `"fixed,scaled"` becomes ("fixed", "scaled"); None chooses all.

    Raises:
        ValueError: If a name is not allowed.
    """
    chosen = tuple(allowed) if text is None else tuple(text.split(","))
    unknown = [name for name in chosen if name not in allowed]
    if unknown:
        raise ValueError(f"got {what} {', '.join(unknown)}, expected some of {','.join(allowed)}")
    return chosen


def windows(size: int, trained_G: int) -> dict[str, tuple[int, Any]]:
    """Ways to group a larger map, from name to (G, I).

    `fixed` keeps the trained G and I; `adaptive` keeps the trained G, and I grows with the map; `scaled`
    keeps the trained I, and G grows with the map.
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
        model: In eval mode; the grouping is changed during measurement and then restored.
        ids: WordNet ids in the order of the model's outputs.
        sha256: SHA-256 of the weights.
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
        """The chosen methods that this model's kind of position bias supports."""
        return [way for way in methods_of(self.model.position_bias) if way in chosen]

    def same(self, way: str, sides: set[int]) -> str:
        """The simplest method that gives the same bias."""
        return same(self.model.position_bias, self.G, way, sides)


def plan(
    subjects: Sequence[Subject], sizes: Sequence[int], shapes: Sequence[str], ways: Sequence[str]
) -> Iterator[tuple[Subject, dict[str, Any], tuple[Any, ...]]]:
    """List every row to measure: the model, the row's identity, and a key of the computation.

    The key's second entry is the method. Rows with the same key are the same computation up to rounding, and
    are measured once.
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


def hits_of(
    subject: Subject,
    way: str,
    place: dict[str, Any],
    photos: Photos,
    indices: np.ndarray | None,
    **engine: Any,
) -> np.ndarray:
    """Which photos a model classifies correctly at one size, window and bias: bool (n,), in photo order."""
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
    """Measure top-1 for every size, window and method of resizing the position bias.

    Args:
        subjects: Models trained at 224 px with one G for all stages.
        photos: A folder or a cache.
        sizes: Input sides in pixels.
        limit: Maximum number of photos per class; unreadable ones are left out of every row.
        shapes: Some of `WINDOWS`.
        ways: Some of `METHODS`.
        known: The result of an earlier, perhaps interrupted, run; its rows are not measured again.
        keep: Called after each row with the result so far, the number of rows done and the total, to save it.
        **engine: Passed to `evaluation.predict`.

    Returns:
        `rows`: dicts of model, bias, window, size, group_size, interval, a score (correct, n, value, low,
        high) and hits (see `stats.pack_hits`); and the commit, the date, the photos, the weights, and `files`, an
        account of every file of the folder (see `folder.account`).

    Raises:
        ValueError: If `known` is for other photos or weights.
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
            done[key] = unpack_hits(row["hits"], row["n"])
        else:
            if key not in done:
                done[key] = hits_of(subject, key[1], place, photos, indices, **engine)
            row = {**place, **asdict(evaluation.Score.of(done[key])), "hits": pack_hits(done[key])}
        result["rows"].append(row)
        if keep is not None:
            keep({**result, "rows": [*result["rows"], *old.values()]}, i + 1, len(planned))
    return result


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in PLACE)


def _facts(subjects: Sequence[Subject], photos: Photos, chosen: np.ndarray) -> dict[str, Any]:
    """The facts recorded about a measurement: commit, date, photos, weights."""
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
    """The rows of an earlier run, keyed by their identities."""
    if known is None:
        return {}
    for name in IDENTITY:
        if known.get(name) != now[name]:
            raise ValueError(
                f"that file holds results of other {name} ({known.get(name)!r}, now {now[name]!r}); "
                "name another file, or remove it"
            )
    return {_place(row): row for row in known["rows"]}


class Keeper:
    """Saves results after every row and reports progress; a run that is stopped resumes from there."""

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
        """The results saved so far, or None."""
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
    """One row as text, in percent with its 95 % interval."""
    text = (
        "{model:<4} {bias:<9} {window:<9} {size:>4} px  G {group_size:>2}  {v:6.2f} %  [{l:6.2f}, {h:6.2f}]"
    )
    return text.format(**row, v=100 * row["value"], l=100 * row["low"], h=100 * row["high"])


def table(result: dict[str, Any]) -> str:
    """The rows as aligned text, followed by an account of the files."""
    return "\n".join([*map(line, result["rows"]), told(result["files"])])
