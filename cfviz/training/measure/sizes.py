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
from cfviz.models.probes.position_bias import edits, methods_of, sides_of, simplest_method
from cfviz.options import BIAS_METHODS, TRAINED_SIZE, WINDOWS
from cfviz.stats import pack_hits, unpack_hits
from cfviz.training.data import EvalSet, Photos, readable
from cfviz.training.folder import account, identity, told
from cfviz.training.ship.export import commit

from . import evaluation

SCHEMA = 2
ROW_KEY = ("model", "bias", "window", "size")  # identifies a row
IDENTITY = ("schema", "weights", "data", "photos", "trained_size")  # shared by all rows of a file


def parse_sizes(text: str) -> list[int]:
    """Parse sizes: `"160,224"` becomes [160, 224].

    Raises:
        ValueError: If a size is not a positive multiple of 32.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) and int(part) % 32 == 0 for part in parts):
        raise ValueError(f"got sizes {text!r}, expected multiples of 32 such as 160,224,448")
    return [int(part) for part in parts]


def parse_names(text: str | None, allowed: Sequence[str], what: str) -> tuple[str, ...]:
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
class MeasuredModel:
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

    def methods(self, chosen: Sequence[str]) -> list[str]:
        """The chosen methods that this model's kind of position bias supports."""
        return [method for method in methods_of(self.model.position_bias) if method in chosen]

    def simplest(self, method: str, sides: set[int]) -> str:
        """The simplest method that gives the same bias."""
        return simplest_method(self.model.position_bias, self.G, method, sides)


def plan(
    models: Sequence[MeasuredModel], sizes: Sequence[int], window_names: Sequence[str], methods: Sequence[str]
) -> Iterator[tuple[MeasuredModel, dict[str, Any], tuple[Any, ...]]]:
    """List every row to measure: the model, the setting that a row is for, and a key of the computation.

    The key's second entry is the method. Rows with the same key are the same computation up to rounding, and
    are measured once.
    """
    for size in sizes:
        for window in window_names:
            for measured in models:
                G, I = windows(size, measured.G)[window]  # noqa: E741
                measured.model.set_grouping(G, I or measured.I)
                groups = measured.model.groupings(size, size)
                measured.model.set_grouping(measured.G, measured.I)
                sides = sides_of(groups)
                cut = tuple((g.kind, g.Gh, g.Gw, g.I) for stage in groups for g in stage)
                for method in measured.methods(methods):
                    setting = {"model": measured.name, "bias": method, "window": window, "size": size}
                    setting |= {"group_size": G, "interval": I or list(measured.I)}
                    yield measured, setting, (measured.name, measured.simplest(method, sides), size, cut)


def hits_of(
    measured: MeasuredModel,
    method: str,
    setting: dict[str, Any],
    photos: Photos,
    indices: np.ndarray | None,
    **engine: Any,
) -> np.ndarray:
    """Which photos a model classifies correctly at one size, window and bias: bool (n,), in photo order."""
    model, columns = measured.model, evaluation.columns_of(photos.classes, measured.ids)
    model.set_grouping(setting["group_size"], _interval(setting))
    try:
        with edit(model, edits(model, method, (measured.G,) * len(model.depths))):
            logits, labels, _ = evaluation.predict(model, EvalSet(photos, setting["size"], indices), **engine)
    finally:
        model.set_grouping(measured.G, measured.I)
    return logits.argmax(axis=1) == columns[labels]


def _interval(setting: dict[str, Any]) -> Any:
    return setting["interval"] if setting["interval"] == "adaptive" else tuple(setting["interval"])


def measure(
    models: Sequence[MeasuredModel],
    photos: Photos,
    sizes: Sequence[int],
    limit: int | None = None,
    window_names: Sequence[str] = WINDOWS,
    methods: Sequence[str] = BIAS_METHODS,
    earlier: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any], int, int], None] | None = None,
    **engine: Any,
) -> dict[str, Any]:
    """Measure top-1 for every size, window and method of resizing the position bias.

    Args:
        models: Models trained at 224 px with one G for all stages.
        photos: A folder or a cache.
        sizes: Input sides in pixels.
        limit: Maximum number of photos per class; unreadable ones are left out of every row.
        window_names: Some of `WINDOWS`.
        methods: Some of `BIAS_METHODS`.
        earlier: The result of an earlier, perhaps interrupted, run; its rows are not measured again.
        keep: Called after each row with the result so far, the number of rows done and the total, to save it.
        **engine: Passed to `evaluation.predict`.

    Returns:
        `rows`: dicts of model, bias, window, size, group_size, interval, a score (correct, n, value, low,
        high) and hits (see `stats.pack_hits`); and the commit, the date, the photos, the weights, and
        `files`, an account of every file of the folder (see `folder.account`).

    Raises:
        ValueError: If `earlier` is for other photos or weights.
    """
    chosen = evaluation.spread(photos.labels, limit)
    chosen = np.arange(len(photos)) if chosen is None else chosen
    fine = readable(photos, chosen, engine.get("workers", 0))
    indices, files = chosen[fine], account(photos, chosen, chosen[~fine])
    if not len(indices):
        raise ValueError(f"none of the photos can be used; {told(files)}")
    result = {**_facts(models, photos, indices), "files": files, "rows": []}
    old = _earlier_rows(earlier, result)
    done: dict[tuple[Any, ...], np.ndarray] = {}
    planned = list(plan(models, sizes, window_names, methods))
    for i, (measured, setting, key) in enumerate(planned):
        row = old.pop(row_key(setting), None)
        if row is not None:
            done[key] = unpack_hits(row["hits"], row["n"])
        else:
            if key not in done:
                done[key] = hits_of(measured, key[1], setting, photos, indices, **engine)
            row = {**setting, **asdict(evaluation.Score.of(done[key])), "hits": pack_hits(done[key])}
        result["rows"].append(row)
        if keep is not None:
            keep({**result, "rows": [*result["rows"], *old.values()]}, i + 1, len(planned))
    return result


def row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What distinguishes a row, or a setting, from all others."""
    return tuple(row[name] for name in ROW_KEY)


def _facts(models: Sequence[MeasuredModel], photos: Photos, chosen: np.ndarray) -> dict[str, Any]:
    """The facts recorded about a measurement: commit, date, photos, weights."""
    return {
        "schema": SCHEMA,
        "commit": commit(),
        "date": date.today().isoformat(),
        "photos": len(chosen),
        "data": identity(photos, chosen),
        "trained_size": TRAINED_SIZE,
        "weights": {measured.name: measured.sha256 for measured in models},
        "trained_group": list(models[0].model.trained_group),
    }


def _earlier_rows(
    earlier: dict[str, Any] | None, now: dict[str, Any]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of an earlier run, keyed by their identities."""
    if earlier is None:
        return {}
    for name in IDENTITY:
        if earlier.get(name) != now[name]:
            raise ValueError(
                f"that file holds results of other {name} ({earlier.get(name)!r}, now {now[name]!r}); "
                "name another file, or remove it"
            )
    return {row_key(row): row for row in earlier["rows"]}


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

    def earlier(self) -> dict[str, Any] | None:
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
        self.tell(f"{done}/{total} " + row_line(result["rows"][done - 1]))
        report(self.progress, done, total, row_line(result["rows"][done - 1]))


def row_line(row: dict[str, Any]) -> str:
    """One row as text, in percent with its 95 % interval."""
    text = (
        "{model:<4} {bias:<9} {window:<9} {size:>4} px  G {group_size:>2}  {v:6.2f} %  [{l:6.2f}, {h:6.2f}]"
    )
    return text.format(**row, v=100 * row["value"], l=100 * row["low"], h=100 * row["high"])


def rows_table(result: dict[str, Any]) -> str:
    """The rows as aligned text, followed by an account of the files."""
    return "\n".join([*map(row_line, result["rows"]), told(result["files"])])
