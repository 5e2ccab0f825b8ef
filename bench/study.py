"""The cost of a forward in a study, compared with a plain forward of the same batch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from bench.timing import Row, interleaved, ms, ratio
from cfviz.data.samples import gallery
from cfviz.models.factory import create_model
from cfviz.training.data import PhotoFolder
from cfviz.training.measure.study import BATCH, Study, read_interventions

PLAN = Path(__file__).resolve().parents[1] / "assets" / "results" / "study-nano.jsonl"


def rows(rounds: int) -> Iterator[Row]:
    """Run every eighth change of the shipped study on the gallery: reading, measuring and writing."""
    model, changes = create_model("crossformer_nano"), read_interventions(PLAN)[::8]
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos" / "n03028079_church"
        photos.mkdir(parents=True)
        for n, entry in enumerate(gallery()[:BATCH]):
            Image.open(entry.path).convert("RGB").save(photos / f"{n}.webp")
        data, runs = PhotoFolder(photos.parent), iter(range(10**6))

        def study() -> None:
            Study(model, data, ["n03028079"], changes, Path(folder) / f"{next(runs)}").run()

        x = torch.randn(BATCH, 3, 224, 224)

        def plain() -> None:
            with torch.inference_mode():
                for _ in range(1 + len(changes)):
                    model(x)

        times = interleaved({"study": study, "plain": plain}, max(2, rounds // 10))
    share = ratio(times, "plain", "study")
    note = f"{len(changes)} changes, {ms(times, 'study') / 1e3:.1f} s a batch of {BATCH}"
    yield Row(
        "study, throughput of its forwards over plain ones",
        f"{share:.2f}x  ({note})",
        ">= 0.6x",
        share >= 0.6,
    )
