"""The script for a GPU runs anywhere, keeps to its time and counts what it leaves out."""

from __future__ import annotations

from time import monotonic

import pytest

from bench.gpu import PARTS, Place, measured

PLACE = Place("cpu", "crossformer_nano", 32, None)


@pytest.mark.slow
def test_every_part_gives_figures_without_a_gpu() -> None:
    rows = {row.what: row.value for row in measured(PLACE, [1], ["float32"], monotonic() + 60)}
    assert [what.removeprefix("float32, batch 1: ") for what in rows] == [
        "forward",
        "forward, all attention watched",
        "training step",
        "attention of stage 1 over its memory traffic",
        "waits for the device in a forward",
    ]
    assert "photos/s" in rows["float32, batch 1: forward"]
    assert rows["float32, batch 1: waits for the device in a forward"] == "not checked: no GPU"


def test_what_there_is_no_time_for_is_counted() -> None:
    rows = list(measured(PLACE, [1, 64], ["float32", "float16"], monotonic() - 1))
    assert [(row.what, row.value) for row in rows] == [("left out, the time was over", str(4 * len(PARTS)))]
