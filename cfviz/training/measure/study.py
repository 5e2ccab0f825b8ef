"""A study: many changes of one model over a folder of photos, streaming, in shards that survive a kill.

Photos are dealt into shards of a fixed size, and shard k belongs to process k modulo the number of
processes. A shard is written whole or not at all and depends on nothing but its photos, so that whoever
computes it, and after however many interruptions, the merged tables are the same, and no photo is in two.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator

from cfviz.hooks import capture
from cfviz.jobs import replacing, report, write
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.apply import apply, needed
from cfviz.models.interventions.effects import begin_of, point_before, rest_from
from cfviz.models.interventions.language import Intervention, check, dump, parse
from cfviz.models.interventions.means import Means
from cfviz.training.data import EvalSet, Marked, Photos, loader
from cfviz.training.folder import account, identity, shown, told

from . import evaluation
from .study_measures import columns, measuring, summaries, summary
from .study_table import Tally, save

SHARD, BATCH = 32, 16
SCHEMA = 3
Change = tuple[Intervention, ...]


def read_interventions(path: str | Path) -> list[Change]:
    """One change a line: an intervention, or a list of those that go together, as JSON.

    Raises:
        ValueError: If a line cannot be read, is there twice, or there is none.
    """
    found: dict[str, Change] = {}
    for number, text in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            change = parse(text)
        except ValueError as error:
            raise ValueError(f"{Path(path).name}, line {number}: {error}") from error
        if not change or dump(change) in found:
            raise ValueError(
                f"{Path(path).name}, line {number}: {'again' if change else 'empty'}: {text[:60]}"
            )
        found[dump(change)] = change
    if not found:
        raise ValueError(f"{Path(path).name} has no line with an intervention")
    return list(found.values())


@dataclass
class Study:
    """A study under way in a folder.

    Args:
        model: In eval mode.
        photos: A folder or a cache.
        ids: WordNet ids of the model's outputs.
        changes: See `read_interventions`.
        out: Folder for shards and results.
        size: Side of the input in pixels.
        limit: At most so many photos a class.
        about: What else to note in the results; also has to be the same when a study goes on.
        accelerator: Who shares the work.
        workers: Processes that read photos.
        progress: File to report to.

    Raises:
        ValueError: If the folder holds another study, or the model does not have what a change names.
    """

    model: CrossFormer
    photos: Photos
    ids: list[str]
    changes: Sequence[Change]
    out: Path
    size: int = 224
    limit: int | None = None
    about: dict[str, Any] | None = None
    accelerator: Accelerator | None = None
    workers: int = 0
    progress: str | None = None

    def __post_init__(self) -> None:
        for change in self.changes:
            check(self.model, change)
        self.accelerator = self.accelerator or Accelerator()
        chosen = evaluation.spread(self.photos.labels, self.limit)
        self.indices = np.arange(len(self.photos)) if chosen is None else chosen
        self.columns = evaluation.columns_of(self.photos.classes, self.ids)
        self.measures, self.followed = columns(self.model), summaries(self.model)
        self.begins = [begin_of(self.model, change) for change in self.changes]
        self.shards = -(-len(self.indices) // SHARD)
        self.model = self.model.to(self.accelerator.device).eval()
        self.facts = self._facts()

    def _facts(self) -> dict[str, Any]:
        changes = "\n".join(dump(change) for change in self.changes)
        return {
            **(self.about or {}),
            "schema": SCHEMA,
            "photos": len(self.indices),
            "data": identity(self.photos, self.indices),
            "changes": hashlib.sha256(changes.encode()).hexdigest(),
            "size": self.size,
        }

    # ------------------------------------------------------------ the run

    def run(self) -> Path:
        """Compute what is missing, and merge.

        Returns:
            The statistics table, `statistics.parquet`; beside it `photos.parquet` with a row for each photo.
        """
        assert self.accelerator is not None
        self._claim()
        means: dict[str, np.ndarray] = {}
        points = sorted({name for change in self.changes for name in needed(self.model, change)})
        if points:
            self._each("means", ".npz", lambda k: self._means_of(k, points))
            means = self._merged_means()
        self._each("shards", ".parquet", lambda k: self._shard(k, means))
        if self.accelerator.is_main_process:
            self._merge()
        self.accelerator.wait_for_everyone()
        return self.out / "statistics.parquet"

    def _claim(self) -> None:
        """Make the folder this study's, or see that it is."""
        assert self.accelerator is not None
        path = self.out / "study.json"
        if self.accelerator.is_main_process:
            for name in ("means", "shards"):
                (self.out / name).mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write(path, self.facts)
        self.accelerator.wait_for_everyone()
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            there = None
        if not isinstance(there, dict):
            raise ValueError(f"{path} does not say what study this is; name another folder with --out")
        for name in sorted(set(there) | set(self.facts)):
            if there.get(name) != self.facts.get(name):
                raise ValueError(
                    f"{self.out.name} holds a study of other {name}; name another folder with --out"
                )

    def _each(self, folder: str, ending: str, make: Callable[[int], None]) -> None:
        """Make this process's share of the shards that are not there yet, and wait for the others."""
        acc = self.accelerator
        assert acc is not None
        said = 0.0
        for k in range(acc.process_index, self.shards, acc.num_processes):
            if not self._path(folder, k, ending).exists():
                make(k)
            if acc.is_main_process and time.monotonic() - said > 0.5:
                said = time.monotonic()
                self._say(folder, ending)
        acc.wait_for_everyone()
        if acc.is_main_process:
            self._say(folder, ending)

    def _say(self, folder: str, ending: str) -> None:
        if self.progress:
            done = len(list((self.out / folder).glob(f"*{ending}")))
            report(self.progress, min(done * SHARD, len(self.indices)), len(self.indices), folder)

    def _path(self, folder: str, k: int, ending: str) -> Path:
        return self.out / folder / f"{k:06d}{ending}"

    def _batches(self, k: int) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
        """The readable photos of a shard: places in the list of photos, x (B, 3, H, W), classes."""
        assert self.accelerator is not None
        chosen = self.indices[k * SHARD : (k + 1) * SHARD]
        at = 0
        items = Marked(EvalSet(self.photos, self.size, chosen))
        for x, label, fine in loader(items, self.workers, batch_size=BATCH):
            place, at = chosen[at : at + len(x)], at + len(x)
            if fine.any():
                yield (
                    place[fine.numpy()],
                    x[fine].to(self.accelerator.device),
                    self.columns[label[fine].numpy()],
                )

    # ------------------------------------------------------------ first pass: means

    @torch.inference_mode()
    def _means_of(self, k: int, points: Iterable[str]) -> None:
        means, groups = Means(), self.model.groupings(self.size, self.size)
        for _, x, _ in self._batches(k):
            with capture(self.model, *points) as seen:
                self.model(x)
                means.add(seen, groups)
        path = self._path("means", k, ".npz")
        arrays = {f"sum {name}": total for name, total in means.sums.items()}
        counts = {f"count {name}": np.int64(count) for name, count in means.counts.items()}
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **{**arrays, **counts})  # type: ignore[arg-type]

    def _merged_means(self) -> dict[str, np.ndarray]:
        """The means over all photos, added in the order of the shards, whoever made them."""
        whole = Means()
        for k in range(self.shards):
            one = Means()
            with np.load(self._path("means", k, ".npz")) as arrays:
                for name in arrays.files:
                    kind, point = name.split(" ")
                    if kind == "sum":
                        one.sums[point], one.counts[point] = arrays[name], int(arrays[f"count {point}"])
            whole.merge(one)
        return whole.result()

    # ------------------------------------------------------------ second pass: the changes

    @torch.inference_mode()
    def _shard(self, k: int, means: dict[str, np.ndarray]) -> None:
        """A row for each photo of a shard: place, class, what was said and believed, what was measured."""
        rows: list[pa.Table] = []
        for place, x, label in self._batches(k):
            logits, measured, under = self._all_logits(x, means)
            probs = logits.double().softmax(-1)
            true = torch.from_numpy(label).to(probs.device)
            belief = probs[:, torch.arange(len(true)), true].float().cpu().numpy().T  # B, 1 + V
            said = logits.argmax(-1).cpu().numpy().T.astype(np.int32)
            columns = {
                "photo": pa.array([shown(self.photos.names[i]) for i in place]),
                "class": label.astype(np.int32),
            }
            columns |= {"said": pa.array(list(said)), "belief": pa.array(list(belief))}
            columns |= {name: measured[name].astype(np.float64) for name in self.measures}
            columns |= {
                f"under.{name}": pa.array(list(np.stack([one[name] for one in under], 1).astype(np.float32)))
                for name in self.followed
            }
            rows.append(pa.table(columns, schema=self._schema()))
        save(
            pa.concat_tables(rows) if rows else self._schema().empty_table(),
            self._path("shards", k, ".parquet"),
        )

    def _schema(self) -> pa.Schema:
        fixed = [("photo", pa.string()), ("class", pa.int32())]
        lists = [("said", pa.list_(pa.int32())), ("belief", pa.list_(pa.float32()))]
        lists += [(f"under.{name}", pa.list_(pa.float32())) for name in self.followed]
        return pa.schema([*fixed, *lists[:2], *((name, pa.float64()) for name in self.measures), *lists[2:]])

    def _all_logits(
        self, x: torch.Tensor, means: dict[str, np.ndarray]
    ) -> tuple[torch.Tensor, dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
        """Logits untouched and under each change (1 + V, B, classes); each begins where its change does.

        Also what was measured untouched, and for all 1 + V what is followed (`study_measures.summary`).
        """
        points = {place: point_before(self.model, place) for place in set(self.begins)}
        with (
            capture(self.model, *filter(None, points.values())) as seen,
            measuring(self.model, self.size) as now,
        ):
            found = [self.model(x).float()]
            entries = {place: seen[point] if point else x for place, point in points.items()}
            measured = dict(now)
        under = [summary(measured, self.model)]
        for change, begin in zip(self.changes, self.begins, strict=True):
            with apply(self.model, change, means), measuring(self.model, self.size) as now:
                found.append(rest_from(self.model, entries[begin], begin).float())
            under.append(summary({**measured, **now}, self.model))
        return torch.stack(found), measured, under

    # ------------------------------------------------------------ the end

    def _merge(self) -> None:
        """All shards in order into two tables, one shard in memory at a time."""
        self.files = account(self.photos, self.indices, self._unreadable())
        if not self.files["used"]:
            raise ValueError(f"none of the photos can be used; {told(self.files)}")
        tally = Tally(self.changes, self.measures, self.followed)
        about = {**self.facts, "interventions": [dump(change) for change in self.changes]}
        unreadable = len(self.indices) - self.files["used"]
        about |= {"photos": self.files["used"], "unreadable": unreadable, "files": self.files}
        schema = self._schema().with_metadata({b"cfviz": json.dumps(about, sort_keys=True).encode()})
        with (
            replacing(self.out / "photos.parquet") as part,
            pq.ParquetWriter(part, schema, compression="zstd") as writer,
        ):
            for k in range(self.shards):
                table = pq.read_table(self._path("shards", k, ".parquet"))
                writer.write_table(table.cast(schema))
                if not len(table):
                    continue
                said, belief = (np.stack(table[name].to_numpy()) for name in ("said", "belief"))
                measured = {name: table[name].to_numpy() for name in self.measures}
                under = {name: np.stack(table[f"under.{name}"].to_numpy()) for name in self.followed}
                tally.add(table["class"].to_numpy(), said, belief, measured, under)
        save(tally.table(about), self.out / "statistics.parquet")

    def _unreadable(self) -> list[int]:
        """The photos that no shard has a row for."""
        missing: list[int] = []
        for k in range(self.shards):
            rows = pq.read_table(self._path("shards", k, ".parquet"), columns=["photo"])["photo"]
            known = set(rows.to_pylist())
            chosen = self.indices[k * SHARD : (k + 1) * SHARD]
            missing += [int(i) for i in chosen if shown(self.photos.names[i]) not in known]
        return missing
