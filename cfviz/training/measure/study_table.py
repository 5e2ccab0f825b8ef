"""The statistics of a study: accumulated photo by photo, with paired 95 % intervals, saved as Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cfviz.jobs import replacing
from cfviz.models.interventions.language import Intervention, dump, to_url
from cfviz.stats import Z_95, share_change, wilson

ABOUT = b"cfviz"
STATISTICS = pa.schema(
    [
        (
            "subject",
            pa.string(),
        ),  # the change as in a link, a part's position for a measure, or "" for all
        ("json", pa.string()),
        ("part", pa.string()),
        ("stage", pa.int32()),
        ("block", pa.int32()),
        ("index", pa.int32()),
        ("how", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)


@dataclass
class Moments:
    """Running mean and squared deviations of a stream of numbers."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared deviations

    def add(self, values: np.ndarray) -> None:
        """Add (k,) values (Chan's update, which is numerically stable)."""
        k = len(values)
        if not k:
            return
        mean = float(values.mean(dtype=np.float64))
        apart, n = mean - self.mean, self.n + k
        self.squares += float(((values - mean) ** 2).sum(dtype=np.float64)) + apart**2 * self.n * k / n
        self.mean, self.n = self.mean + apart * k / n, n

    @property
    def moved(self) -> bool:
        """Whether any value was not zero."""
        return bool(self.mean or self.squares)

    @property
    def interval(self) -> tuple[float, float, float]:
        """The mean and its 95 % interval, whose ends are NaN for fewer than two values."""
        if self.n < 2:
            return self.mean if self.n else nan, nan, nan
        wide = Z_95 * sqrt(self.squares / (self.n - 1) / self.n)
        return self.mean, self.mean - wide, self.mean + wide


@dataclass
class Tally:
    """Everything needed for a statistics table, in memory that does not grow with the number of photos."""

    changes: Sequence[Sequence[Intervention]]
    measures: Sequence[str]
    followed: Sequence[str] = ()
    n: int = 0
    right: int = 0
    counts: np.ndarray = field(init=False)  # V, 3: lost, won, agreeing
    shifts: list[Moments] = field(init=False)
    levels: dict[str, Moments] = field(init=False)
    moves: dict[str, list[Moments]] = field(init=False)  # per summary, one for each change

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.changes), 3), np.int64)
        self.shifts = [Moments() for _ in self.changes]
        self.levels = {name: Moments() for name in self.measures}
        self.moves = {name: [Moments() for _ in self.changes] for name in self.followed}

    def add(
        self,
        label: np.ndarray,
        said: np.ndarray,
        belief: np.ndarray,
        measured: Mapping[str, np.ndarray],
        under: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Add k photos.

        Args:
            label: True classes, (k,).
            said: Predicted classes of the unchanged model, then under each change, (k, 1 + V).
            belief: Probabilities of the true class, in the same order, (k, 1 + V).
            measured: Maps each measure to its values, (k,).
            under: Maps each summary to its values, in the same order, (k, 1 + V).
        """
        hit = said == label[:, None]
        self.n, self.right = self.n + len(label), self.right + int(hit[:, 0].sum())
        self.counts[:, 0] += (hit[:, :1] & ~hit[:, 1:]).sum(0)
        self.counts[:, 1] += (~hit[:, :1] & hit[:, 1:]).sum(0)
        self.counts[:, 2] += (said[:, :1] == said[:, 1:]).sum(0)
        for v, moments in enumerate(self.shifts):
            moments.add(belief[:, 1 + v].astype(np.float64) - belief[:, 0])
        for name, moments in self.levels.items():
            moments.add(measured[name])
        for name, several in self.moves.items():
            values = (under or {})[name].astype(np.float64)
            for v, moments in enumerate(several):
                moments.add(values[:, 1 + v] - values[:, 0])

    def table(self, about: Mapping[str, Any]) -> pa.Table:
        """The statistics, one row per subject and measure; `about` is stored in the metadata."""
        rows = [_row("", "", {}, "accuracy", (self.right / self.n, *wilson(self.right, self.n)), self.n)]
        for v, change in enumerate(self.changes):
            lost, won, same = (int(x) for x in self.counts[v])
            right = self.right - lost + won
            place = _place(change)
            for measure, value in (
                ("accuracy", (right / self.n, *wilson(right, self.n))),
                ("accuracy change", share_change(lost, won, self.n)),
                ("agreement", (same / self.n, *wilson(same, self.n))),
                ("probability change", self.shifts[v].interval),
            ):
                rows.append(_row(to_url(change), dump(change), place, measure, value, self.n))
            for name, several in self.moves.items():
                if several[v].moved:  # parts before the change cannot move
                    measure = f"{name} change"
                    rows.append(
                        _row(to_url(change), dump(change), place, measure, several[v].interval, self.n)
                    )
        for name, moments in self.levels.items():
            measure, *at = name.split(".")
            s, *rest = (int(x) for x in at)
            place = {"part": "kernel" if measure == "share" else "head", "stage": s, "index": rest[-1]}
            place |= {} if measure == "share" else {"block": rest[0]}
            rows.append(_row(".".join(at), "", place, measure, moments.interval, moments.n))
        table = pa.Table.from_pylist(rows, schema=STATISTICS)
        return table.replace_schema_metadata({ABOUT: json.dumps(about, sort_keys=True).encode()})


def _row(
    subject: str, text: str, place: Mapping[str, Any], measure: str, value: tuple[float, ...], n: int
) -> dict[str, Any]:
    numbers = dict(zip(("value", "low", "high"), value, strict=True))
    return {"subject": subject, "json": text, **place, "measure": measure, **numbers, "n": n}


def _place(change: Sequence[Intervention]) -> dict[str, Any]:
    """The position of a single intervention; a combination counts as a part of its own."""
    if len(change) != 1:
        return {"part": "several", "how": ""}
    return {name: getattr(change[0], name) for name in ("part", "stage", "block", "index", "how")}


def save(table: pa.Table, path: Path) -> None:
    """Write a Parquet file atomically."""
    with replacing(path) as part:
        pq.write_table(table, part, compression="zstd")


def load(path: str | Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read the rows of a statistics table, and the facts about the study stored with it.

    Raises:
        ValueError: If the file is not a statistics table.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{Path(path).name} is not the table of a study ({error})") from error
    if table.schema.names != STATISTICS.names:
        raise ValueError(f"{Path(path).name} does not have the columns of a study")
    return table.to_pylist(), json.loads((table.schema.metadata or {}).get(ABOUT, b"{}"))
