"""How well trained models transfer to other input sizes and groups, and how their position bias affects it.

Each row records which photos were classified correctly, so that two rows can be compared photo by photo: on
the same photos a difference can be estimated far more precisely than either accuracy.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from cfviz.data.left_out import told
from cfviz.framing import SMALLEST, Size, as_pair, parse_size, size_code
from cfviz.geometry import Lda
from cfviz.hooks import edit
from cfviz.jobs import report, write
from cfviz.models.crossformer import CrossFormer
from cfviz.models.crossformer.origin import weights_id
from cfviz.models.probes.position_bias import edits, methods_of, sides_of, simplest_method
from cfviz.options import BIAS_METHODS, TRAINED_SIZE, WINDOWS
from cfviz.stats import pack_hits, unpack_hits
from cfviz.training.data import EvalSet, KeptEvalSet, Photos, readable
from cfviz.training.folder import account, identity, shown
from cfviz.training.ship.export import commit

from . import evaluation

SCHEMA = 2
ROW_KEY = ("model", "bias", "window", "size")  # identifies a row
IDENTITY = ("schema", "weights", "data", "photos", "trained_size")  # shared by all rows of a file


def parse_sizes(text: str) -> list[Size]:
    """Parse sizes: `"160,192x640"` becomes [160, (192, 640)], a side and a height and width; each once.

    Raises:
        ValueError: If one is not a size, or no input can have it.
    """
    found: dict[str, Size] = {}
    for part in text.split(","):
        size = parse_size(part)
        found.setdefault(size_code(size), size)
    return list(found.values())


def parse_names(text: str | None, allowed: Sequence[str], what: str) -> tuple[str, ...]:
    """Parse a choice of names: `"fixed,scaled"` becomes ("fixed", "scaled"), each once; None chooses all.

    Raises:
        ValueError: If a name is not allowed.
    """
    chosen = tuple(allowed) if text is None else tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in chosen if name not in allowed]
    if unknown:
        raise ValueError(f"got {what} {', '.join(unknown)}, expected some of {','.join(allowed)}")
    return chosen


def windows(size: Size, trained_G: int) -> dict[str, tuple[int, Any, Lda]]:
    """Ways to group a larger map, from name to (G, I, form of LDA); None stands for the trained I.

    `fixed` keeps the trained G and I; `adaptive` keeps the trained G, and I grows with the map; `scaled`
    keeps the trained I, and G grows with the map's shorter side; `whole` keeps the trained G and I, but the
    groups of LDA reach over the whole map and grow with both sides.
    """
    scaled = max(1, round(trained_G * min(as_pair(size)) / TRAINED_SIZE))
    return {
        "fixed": (trained_G, None, "regions"),
        "adaptive": (trained_G, "adaptive", "regions"),
        "scaled": (scaled, None, "regions"),
        "whole": (trained_G, None, "whole"),
    }


@dataclass
class MeasuredModel:
    """One model to measure.

    Attributes:
        name: "dpb", "rpb" or "none", its kind of position bias.
        model: In eval mode; the grouping is changed during measurement and then restored.
        ids: WordNet ids in the order of the model's outputs.
        sha256: SHA-256 of the weights' file; without one, what else tells them from all others.
    """

    name: str
    model: CrossFormer
    ids: list[str]
    sha256: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.model.group_size)) > 1:
            raise ValueError(f"got G {self.model.group_size}, expected one G for all stages")
        self.G, self.I, self.lda = self.model.group_size[0], self.model.interval, self.model.lda
        self.name = self.name or self.model.position_bias
        self.sha256 = self.sha256 or weights_id(self.model)

    @contextmanager
    def grouped(self, setting: Mapping[str, Any]) -> Iterator[None]:
        """Group maps as a row's setting says inside the `with` block."""
        self.model.set_grouping(setting["group_size"], setting["interval"], setting["lda"])
        try:
            yield
        finally:
            self.model.set_grouping(self.G, self.I, self.lda)

    def methods(self, chosen: Sequence[str]) -> list[str]:
        """The chosen methods that this model's kind of position bias supports."""
        return [method for method in methods_of(self.model.position_bias) if method in chosen]

    def simplest(self, method: str, sides: set[int]) -> str:
        """The simplest method that gives the same bias."""
        return simplest_method(self.model.position_bias, self.G, method, sides)


def plan(
    models: Sequence[MeasuredModel],
    sizes: Sequence[Size],
    window_names: Sequence[str],
    methods: Sequence[str],
) -> Iterator[tuple[MeasuredModel, dict[str, Any], tuple[Any, ...]]]:
    """List every row to measure: the model, the setting that a row is for, and a key of the computation.

    Rows come in the order of the names given: by size, method, window and model, so that a run that is
    stopped early has compared the models with each other first.

    The key's second entry is the method. Rows with the same key are the same computation up to rounding, and
    are measured once: the key holds the partition of every block's map, whatever setting it came from.
    """
    for size in sizes:
        height, width = as_pair(size)
        for method in methods:
            for window in window_names:
                for measured in models:
                    if method not in measured.methods(methods):
                        continue
                    G, I, lda = windows(size, measured.G)[window]  # noqa: E741
                    setting: dict[str, Any] = {"model": measured.name, "bias": method, "window": window}
                    setting |= {"size": size if isinstance(size, int) else list(size)}
                    setting |= {"group_size": G, "interval": I or _listed(measured.I), "lda": lda}
                    with measured.grouped(setting):
                        groups = measured.model.groupings(height, width)
                    cut = tuple((g.kind, g.Gh, g.Gw, g.I) for stage in groups for g in stage)
                    simplest = measured.simplest(method, sides_of(groups))
                    yield measured, setting, (measured.name, simplest, (height, width), cut)


def _listed(interval: Any) -> Any:
    return interval if isinstance(interval, str) else list(interval)


STEP = 512  # photos between two saves of a row in progress


def hits_of(
    measured: MeasuredModel,
    method: str,
    setting: Mapping[str, Any],
    items: EvalSet,
    start: np.ndarray,
    save: Callable[[np.ndarray], None] = lambda hits: None,
    **engine: Any,
) -> np.ndarray:
    """Which photos a model classifies correctly at one size, window and bias: bool (n,), in photo order.

    Rows are compared photo by photo, so a photo that can no longer be read ends the measurement.

    Args:
        measured: The model.
        method: One of its methods.
        setting: Of the row.
        items: All photos.
        start: The result for the first of them, from a run that was stopped.
        save: Called with the result for the first photos, every `STEP` of them.
        **engine: Passed to `evaluation.predict`.

    Raises:
        ValueError: If a photo cannot be read.
    """
    model, hits = measured.model, start
    columns = evaluation.columns_of(items.photos.classes, measured.ids)
    with measured.grouped(setting), edit(model, edits(model, method, (measured.G,) * len(model.depths))):
        while len(hits) < len(items):
            if len(hits) > len(start):
                save(hits)
            some = range(len(hits), min(len(hits) + STEP, len(items)))
            logits, labels, fine = evaluation.predict(model, items, some=some, **engine)
            if not fine.all():
                name = shown(items.photos.names[items.indices[some[int(fine.argmin())]]])
                raise ValueError(f"{name} could be read when this began, and no longer; repeat the command")
            hits = np.concatenate([hits, logits.argmax(axis=1) == columns[labels]])
    return hits


def measure(
    models: Sequence[MeasuredModel],
    photos: Photos,
    sizes: Sequence[Size],
    limit: int | None = None,
    window_names: Sequence[str] = WINDOWS,
    methods: Sequence[str] = BIAS_METHODS,
    earlier: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any], int, int], None] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    resized: str | Path | None = None,
    **engine: Any,
) -> dict[str, Any]:
    """Measure top-1 for every size, window and method of resizing the position bias.

    Args:
        models: Models trained at 224 px with one G for all stages.
        photos: A folder or a cache.
        sizes: Input sides in pixels, or heights and widths.
        limit: Maximum number of photos per class; unreadable ones are left out of every row.
        window_names: Some of `WINDOWS`.
        methods: Some of `BIAS_METHODS`.
        earlier: The result of an earlier, perhaps interrupted, run; its rows are not measured again.
        keep: Called after each row with the result so far, the number of rows done and the total, to save it.
        save: Called within a row, too, with the result so far; its `unfinished` is the row in progress.
        resized: A folder in which to keep the resized photos, so that each is decoded once per size.
        **engine: Passed to `evaluation.predict`.

    Returns:
        `rows`: dicts of model, bias, window, size (a side, or [height, width]), group_size, interval, lda, a
        score (correct, n, value, low, high), hits (see `stats.pack_hits`) and the commit of the code that
        measured the row; and the commit, the date, the photos, the weights, and `files`, an account of every
        file of the folder (see `folder.account`).

    Raises:
        ValueError: If `earlier` is for other photos or weights.
    """

    def items_of(size: Size, chosen: np.ndarray) -> EvalSet:
        if resized is None:
            return EvalSet(photos, size, chosen)
        return KeptEvalSet(photos, size, chosen, resized)

    chosen = evaluation.spread(photos.labels, limit)
    chosen = np.arange(len(photos)) if chosen is None else chosen
    fine = readable(items_of(SMALLEST, chosen), engine.get("workers", 0))
    indices, files = chosen[fine], account(photos, chosen, chosen[~fine])
    if not len(indices):
        raise ValueError(f"none of the photos can be used; {told(files)}")
    result = {**_facts(models, photos, indices), "files": files, "rows": []}
    old = _earlier_rows(earlier, result)
    now = result["commit"]
    begun = (earlier or {}).get("unfinished", {})  # gone on with by the code that began it
    done: dict[tuple[Any, ...], tuple[np.ndarray, str | None]] = {}  # hits, and the commit that measured them
    planned = list(plan(models, sizes, window_names, methods))
    for _, setting, key in planned:  # a row measured earlier may stand for one that comes before it
        if row := old.get(row_key(setting)):
            done[key] = unpack_hits(row["hits"], row["n"]), row["commit"]

    def so_far() -> dict[str, Any]:
        return {**result, "rows": [*result["rows"], *old.values()]}

    def save_part(setting: Mapping[str, Any]) -> Callable[[np.ndarray], None]:
        if save is None:
            return lambda hits: None
        return lambda hits: save(
            {**so_far(), "unfinished": {**setting, "n": len(hits), "hits": pack_hits(hits), "commit": now}}
        )

    for i, (measured, setting, key) in enumerate(planned):
        row = old.pop(row_key(setting), None)
        if row is None:
            if key not in done:
                mine = begun.get("commit") == now and row_key(begun) == row_key(setting)
                start = unpack_hits(begun["hits"], begun["n"]) if mine else np.zeros(0, dtype=bool)
                items = items_of(parse_size(size_code(setting["size"])), indices)
                hits = hits_of(measured, key[1], setting, items, start, save_part(setting), **engine)
                done[key] = hits, now
            hits, made_by = done[key]
            score = asdict(evaluation.Score.of(hits))
            row = {**setting, **score, "hits": pack_hits(hits), "commit": made_by}
        result["rows"].append(row)
        if keep is not None:
            keep(so_far(), i + 1, len(planned))
    return result


def row_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What distinguishes a row, or a setting, from all others."""
    return tuple(size_code(row[name]) if name == "size" else row[name] for name in ROW_KEY)


def _facts(models: Sequence[MeasuredModel], photos: Photos, chosen: np.ndarray) -> dict[str, Any]:
    """The facts recorded about a measurement: commit, date, photos, weights."""
    return {
        "schema": SCHEMA,
        "commit": commit(),
        "date": date.today().isoformat(),
        "photos": len(chosen),
        "data": identity(photos, chosen, contents=True),
        "trained_size": TRAINED_SIZE,
        "weights": {measured.name: measured.sha256 for measured in models},
        "trained_group": list(models[0].model.trained_group),
        "depths": list(models[0].model.depths),
    }


def _earlier_rows(
    earlier: dict[str, Any] | None, now: dict[str, Any]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of an earlier run, keyed by their identities; those of older files had one commit for all."""
    if earlier is None:
        return {}
    for name in IDENTITY:
        if earlier.get(name) != now[name]:
            raise ValueError(
                f"that file holds results of other {name} ({earlier.get(name)!r}, now {now[name]!r}); "
                "name another file, or remove it"
            )
    return {row_key(row): {"commit": earlier.get("commit"), **row} for row in earlier["rows"]}


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
            raise ValueError(f"{self.path} holds no results of `sizes`; name another file, or remove it")
        return found

    def save(self, result: dict[str, Any]) -> None:
        """Save a result."""
        if self.path is not None:
            write(self.path, {**self.facts, **result})

    def __call__(self, result: dict[str, Any], done: int, total: int) -> None:
        self.save(result)
        self.tell(f"{done}/{total} " + row_line(result["rows"][done - 1]))
        report(self.progress, done, total, row_line(result["rows"][done - 1]))


def row_line(row: dict[str, Any]) -> str:
    """One row as text, in percent with its 95 % interval."""
    text = "{model:<4} {bias:<9} {window:<9} {s:>7} px  G {group_size:>2}  {v:6.2f} %  [{l:6.2f}, {h:6.2f}]"
    percents = {letter: 100 * row[name] for letter, name in zip("vlh", ("value", "low", "high"), strict=True)}
    return text.format(**row, **percents, s=size_code(row["size"]))


def rows_table(result: dict[str, Any]) -> str:
    """The rows as aligned text, followed by an account of the files."""
    return "\n".join([*map(row_line, result["rows"]), told(result["files"])])
