"""A study: many changes to one model, measured over a folder of photos in shards, so that it can be resumed.

Photos are split into shards of a fixed size, and process k modulo the number of processes computes shard k. A
shard is written atomically and depends only on its photos. The merged tables are therefore the same whichever
process computes a shard and however often the study is interrupted, and no photo is counted twice.
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

from cfviz.data.left_out import told
from cfviz.framing import Size, as_pair
from cfviz.hooks import capture
from cfviz.jobs import replacing, report, write
from cfviz.models.crossformer import CrossFormer
from cfviz.models.crossformer.origin import weights_id
from cfviz.models.interventions.apply import apply, needed
from cfviz.models.interventions.effects import begin_of, point_before, rest_from
from cfviz.models.interventions.language import Intervention, check, dump, parse
from cfviz.models.interventions.means import Means
from cfviz.training.data import EvalSet, Marked, Photos, loader
from cfviz.training.folder import account, identity, shown

from . import evaluation
from .study_measures import columns, measuring, summaries, summary
from .study_table import Tally, save

SHARD, BATCH = 32, 16
SCHEMA = 3
Change = tuple[Intervention, ...]


def read_interventions(path: str | Path) -> list[Change]:
    """Read changes from a file, one per line as JSON: an intervention, or a list of interventions to combine.

    Raises:
        ValueError: If a line is invalid or repeated, or the file has no changes.
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
                f"{Path(path).name}, line {number}: {'repeated' if change else 'empty'}: {text[:60]}"
            )
        found[dump(change)] = change
    if not found:
        raise ValueError(f"{Path(path).name} contains no interventions")
    return list(found.values())


@dataclass
class Study:
    """A study in progress in a folder.

    Args:
        model: The model to change.
        photos: A folder or a cache.
        ids: WordNet ids of the model's outputs.
        changes: See `read_interventions`.
        out: Folder for shards and results.
        size: Side of the input in pixels, or its height and width.
        limit: Maximum number of photos per class.
        about: Further facts to record in the results; they must be the same when a study resumes.
        accelerator: The processes that share the work.
        workers: Number of processes that read photos.
        progress: File to report progress to.

    Raises:
        ValueError: If the folder contains another study, or a change names a part that the model lacks.
    """

    model: CrossFormer
    photos: Photos
    ids: list[str]
    changes: Sequence[Change]
    out: Path
    size: Size = 224
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
            "weights": weights_id(self.model),
            **self.model.group_settings,
            "photos": len(self.indices),
            "data": identity(self.photos, self.indices, contents=True),
            "changes": hashlib.sha256(changes.encode()).hexdigest(),
            "size": self.size if isinstance(self.size, int) else list(self.size),
        }

    # ------------------------------------------------------------ the run

    def run(self) -> Path:
        """Compute the missing shards, then merge all of them.

        Returns:
            Path of the table, `statistics.parquet`; `photos.parquet` beside it has one row per photo.
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
        """Claim the folder for this study, or check that it already belongs to it."""
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
            raise ValueError(f"{path} is not the record of a study; name another folder with --out")
        for name in sorted(set(there) | set(self.facts)):
            if there.get(name) != self.facts.get(name):
                raise ValueError(
                    f"{self.out.name} holds a study with other {name}; name another folder with --out"
                )

    def _each(self, folder: str, ending: str, make: Callable[[int], None]) -> None:
        """Compute this process's share of the missing shards, then wait for the other processes."""
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
        """The readable photos of a shard, in batches: their indices, x (B, 3, H, W), their classes."""
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
        means, groups = Means(), self.model.groupings(*as_pair(self.size))
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
        """The means over all photos, summed in shard order, so that the processes do not affect rounding."""
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
        """Write a row per photo of a shard: name, class, predictions, probabilities, measures."""
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
        """Run the unchanged model, then each change from the point where it begins.

        Returns:
            Logits (1 + V, B, classes), the measures of the unchanged model, and all 1 + V summaries (see
            `study_measures.summary`).
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
        """Merge all shards in order into two tables, with one shard in memory at a time."""
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
        """Indices of the photos without a row in any shard."""
        missing: list[int] = []
        for k in range(self.shards):
            rows = pq.read_table(self._path("shards", k, ".parquet"), columns=["photo"])["photo"]
            known = set(rows.to_pylist())
            chosen = self.indices[k * SHARD : (k + 1) * SHARD]
            missing += [int(i) for i in chosen if shown(self.photos.names[i]) not in known]
        return missing
