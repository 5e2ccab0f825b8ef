"""What a forward computes, as a figure, as sentences and as files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cfviz.cli import main
from cfviz.figures.live.message import opened
from cfviz.measured.operations import as_text, figure, how_measured, measure_operations, sentence
from cfviz.words import figure_words, percent


@pytest.mark.slow
def test_the_figure_the_sentence_and_the_files_tell_the_same(tiny_model: Any) -> None:
    model = tiny_model(cooling=True, depths=(4, 1, 1, 1))
    measured = measure_operations("gallery:coffee", model, size=64, passes=3)
    found, rows = measured.found, opened(figure(measured.found, "en")).header["rows"]
    every = list(found.root.walk())
    assert [row["ms"] for row in rows] == [1e3 * one.seconds for one in every]
    for row, one in zip(rows, every, strict=True):
        parent = every[row["parent"]] if row["parent"] >= 0 else None
        assert (parent is None) == (one is found.root)
        assert parent is None or one in parent.children
    for lang in ("en", "zh-Hant"):
        words = figure_words("operations", lang)
        assert not {row["kind"] for row in rows if f"kind_{row['kind']}" not in words}
        assert percent(max(stage.seconds for stage in found.stages) / found.root.seconds, 0) in sentence(
            found, lang
        )
        assert found.device in how_measured(found, lang)
        assert found.device in measured.page(lang)
    table = list(csv.DictReader(io.StringIO(as_text(found, ".csv"))))
    assert [int(row["macs"]) for row in table] == [one.macs for one in every]
    assert json.loads(as_text(found, ".json"))["operations"][0]["macs"] == found.root.macs
    with pytest.raises(ValueError, match=r"\.json or \.csv"):
        as_text(found, ".txt")


@pytest.mark.slow
def test_the_command_writes_the_operations_of_the_first_photo(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "operations.json"
    assert main(["predict", "gallery:coffee", "--size", "64x96", "--operations", str(out)]) == 0
    written = json.loads(out.read_text("utf-8"))
    assert written["size"] == [64, 96]
    assert written["operations"][0]["kind"] == "model"
    assert "passes" in capsys.readouterr().err
    assert main(["predict", "gallery:coffee", "--operations", str(tmp_path / "o.txt")]) == 2
    assert "expected the name of a .json or .csv file" in capsys.readouterr().err
