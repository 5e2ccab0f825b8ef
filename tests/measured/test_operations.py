"""What a forward computes, as a figure, as sentences and as files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cfviz.cli import main
from cfviz.figures.live.message import opened
from cfviz.measured.operations import as_text, figure, how_measured, measure_operations, sentence
from cfviz.models.factory import create_model
from cfviz.models.probes.operations import operations
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["semantic_fpn_crossformer_nano", "retinanet_crossformer_nano"])
def test_detectors_and_segmenters_are_measured_with_their_backbone(name: str, tmp_path: Path) -> None:
    measured = measure_operations("gallery:coffee", name, passes=3, sides=(96, 64))
    found = measured.found
    assert found.size == (64, 96)
    assert len(found.stages) == 4
    parts = {one.path[0]: one for one in found.root.children}
    backbone = operations(create_model("crossformer_nano"), torch.zeros(3, 64, 96), 3)
    assert [one.macs for one in found.stages] == [one.macs for one in backbone.stages]
    assert parts["backbone"].macs == sum(one.macs for one in found.stages)
    assert parts["neck"].macs > 0
    for lang in ("en", "zh-Hant"):
        assert percent(parts["backbone"].seconds / found.root.seconds, 0) in sentence(found, lang)
    assert name in measured.page()
    out = tmp_path / "o.json"
    task = "segment" if name.startswith("semantic") else "detect"
    assert main([task, "gallery:coffee", "--model", name, "--sides", "96x64", "--operations", str(out)]) == 0
    assert json.loads(out.read_text("utf-8"))["size"] == [64, 96]
    assert main([task, "gallery:coffee", "--model", name, "--operations", str(tmp_path / "o.txt")]) == 2
