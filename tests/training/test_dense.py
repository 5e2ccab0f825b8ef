"""Detectors and segmenters measured on small folders in COCO's and ADE20K's format."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.cli import main
from cfviz.models.dense import factory
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.pipeline import Found
from cfviz.models.dense.variants import DENSE, SIX_SCALES
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.provenance import Provenance
from cfviz.training.measure import dense
from tests.processes.warm import PATIENCE, Warm

SHIPS = dict(DENSE)  # as they are outside these tests
BOXES = [(5, 5, 20, 15), (30, 10, 12, 30)]  # x, y, width, height; category ids 1 and 18


@pytest.fixture(autouse=True)
def _nano(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("retinanet", "semantic_fpn"):
        small = replace(DENSE[f"{kind}_crossformer_small"], backbone="crossformer_nano")
        monkeypatch.setitem(DENSE, f"{kind}_crossformer_nano", small)


@pytest.fixture(autouse=True)
def _opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that several commands of a test name is opened once."""
    monkeypatch.setattr(factory, "opened_dense", cache(factory.opened_dense))


def weights(kind: str, num_classes: int, path: Path) -> str:
    torch.manual_seed(0)
    model = make_dense(f"{kind}_crossformer_nano", num_classes=num_classes)
    state = {key: value for key, value in model.state_dict().items() if value.dim()}
    write_checkpoint(path, state, torch.float16, trained="a test", group_size=[7, 7, 7, 7])
    return str(path)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images = [{"id": n, "file_name": f"{n:012}.png", "height": 48, "width": 64} for n in (7, 9)]
    for image in images:
        Image.new("RGB", (64, 48), (image["id"], 0, 0)).save(folder / "val2017" / str(image["file_name"]))
    annotations = [
        {"id": 10 * n + i, "image_id": n, "category_id": (1, 18)[i], "bbox": box, "area": box[2] * box[3],
         "iscrowd": 0}
        for n in (7, 9)
        for i, box in enumerate(BOXES)
    ]  # fmt: skip
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    folder = tmp_path / "ade"
    for kind in ("images", "annotations"):
        (folder / kind / "validation").mkdir(parents=True)
    for n in range(2):
        Image.new("RGB", (40, 32), (90 * n, 10, 10)).save(folder / f"images/validation/{n}.jpg")
        labels = np.zeros((32, 40), np.uint8)
        labels[:, 10:], labels[:, 30:] = 1, 2
        Image.fromarray(labels).save(folder / f"annotations/validation/{n}.png")
    return folder


def perfect(*_: Any) -> Found:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in BOXES], np.float32)
    return Found(boxes, np.array([0.9, 0.8]), np.array([0, 16]), (48, 64))


@pytest.mark.slow
def test_a_perfect_detector_has_an_average_precision_of_100_and_a_stopped_run_goes_on(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def find(*args: Any) -> Found:
        seen.append(args)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return perfect()

    monkeypatch.setattr(dense, "find_in", find)
    path, record = weights("retinanet", 80, tmp_path / "w.safetensors"), tmp_path / "record.jsonl"
    argv = ["evaluate", "--task", "detect", "--data", str(coco), "--weights", path, "--cpu"]
    argv += ["--record", str(record)]
    assert main(argv) == 130
    with record.open("a") as file:
        file.write('{"key": "9", "res')  # cut off while writing
    assert main([*argv, "--json", "-"]) == 0
    assert len(seen) == 3, "the first photo was not looked at again"
    result = json.loads(capsys.readouterr().out)
    assert result["measured"]["box_ap"] == pytest.approx(100)
    assert (result["photos"], result["published"]) == (2, {"box_ap": 44.4})
    assert main(argv) == 0
    assert len(seen) == 3
    printed = capsys.readouterr().out
    assert "box AP               100.0       44.4" in printed
    assert "for their own weights, on COCO val2017" in printed
    record.write_text('{"model": "x"}\n')
    assert main(argv) == 2
    assert (
        "is the record of another measurement, or of files that have changed since; name"
        in capsys.readouterr().err
    )


def test_photos_of_another_size_than_was_annotated_are_refused(tmp_path: Path) -> None:
    item, path = dense.Item("7", tmp_path / "7.png", 7), tmp_path / "instances_val2017.json"
    dense._check_size(item, (48, 64), (48, 64), path)
    dense._check_size(item, (48, 64), (None, None), path)
    with pytest.raises(ValueError, match=r"7\.png has 48 x 64 .* instances_val2017\.json is for 96 x 128"):
        dense._check_size(item, (48, 64), (96, 128), path)


@pytest.mark.slow
def test_a_detector_that_finds_nothing_has_none(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), (48, 64))
    monkeypatch.setattr(dense, "find_in", lambda *_: none)
    path = weights("retinanet", 80, tmp_path / "w.safetensors")
    argv = ["evaluate", "--task", "detect", "--data", str(coco), "--weights", path, "--cpu", "--json", "-"]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["measured"]["box_ap"] == 0


@pytest.mark.slow
def test_label_maps_are_measured(ade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights("semantic_fpn", 3, tmp_path / "w.safetensors")
    argv = ["evaluate", "--task", "segment", "--data", str(ade), "--weights", path, "--cpu", "--limit", "1"]
    with pytest.MonkeyPatch.context() as patch:
        half = np.zeros((32, 40), np.int64)
        patch.setattr(dense, "label_in", lambda *_: half)  # class 0 everywhere
        assert main([*argv, "--json", "-"]) == 0
    measured = json.loads(capsys.readouterr().out)["measured"]
    assert measured["iou"] == [pytest.approx(100 * 20 / 30), 0, None]
    assert measured["miou"] == pytest.approx(100 * 20 / 30 / 2)
    assert measured["pixel_accuracy"] == pytest.approx(100 * 20 / 30)


def test_areas_are_counted_where_there_is_a_class() -> None:
    truth, found = np.array([[0, 1, -1], [1, 1, -1]]), np.array([[0, 0, 2], [1, 1, 2]])
    rows = dense.areas(found, truth, 4)
    assert rows == [[0, 1, 2, 1], [1, 2, 2, 3]]
    told = dense.mean_iou([rows, rows], 4)
    assert told["iou"] == [50, pytest.approx(200 / 3), None, None]
    assert told["miou"] == pytest.approx((50 + 200 / 3) / 2)


@pytest.mark.slow
def test_folders_that_do_not_fit_get_one_sentence(
    coco: Path, ade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*argv: str) -> str:
        assert main(["evaluate", *argv]) == 2
        err = capsys.readouterr().err.splitlines()
        return err[-1]

    detector = weights("retinanet", 80, tmp_path / "d.safetensors")
    segmenter = weights("semantic_fpn", 1, tmp_path / "s.safetensors")
    detect = ("--task", "detect", "--cpu", "--weights", detector, "--data")
    segment = ("--task", "segment", "--cpu", "--weights", segmenter, "--data")
    assert "is not in COCO's format" in said(*detect, str(ade))
    assert "is not in ADE20K's format" in said(*segment, str(coco))
    assert "this is RetinaNet; expected a segmenter" in said("--task", "segment", *detect[2:], str(ade))
    assert "has class 2, but the model has 1" in said(*segment, str(ade))
    (ade / "images/validation/0.jpg").write_bytes(b"no photo")
    assert "0.jpg: " in said(*segment, str(ade))
    (coco / "val2017" / "000000000009.png").unlink()
    assert "1 of 2 photos are missing" in said(*detect, str(coco))
    (ade / "annotations/validation/1.png").unlink()
    assert "1 of 2 photos have no label map" in said(*segment, str(ade))
    assert "--lda is for classifiers" in said(*detect, str(coco), "--lda", "whole")
    assert "--record is for --task detect" in said("--data", str(coco), "--record", "x")
    monkeypatch.setattr(dense, "find_spec", lambda _: None)
    assert "pycocotools is not installed: pip install pycocotools" in said(*detect, str(coco))


@pytest.mark.slow
def test_workers_and_processes_measure_the_same_and_go_on_together(
    ade: Path, tmp_path: Path, warm: Warm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "semantic_fpn_crossformer_nano"
    monkeypatch.setitem(DENSE, name, SHIPS[name])  # as the new processes know it
    path, record = weights("semantic_fpn", 3, tmp_path / "w.safetensors"), tmp_path / "record.jsonl"
    draw = np.random.default_rng(0)
    for n in range(2, 5):
        Image.fromarray(draw.integers(0, 256, (32, 40, 3), np.uint8)).save(ade / f"images/validation/{n}.png")
        labels = draw.integers(0, 4, (32, 40)).astype(np.uint8)
        Image.fromarray(labels).save(ade / f"annotations/validation/{n}.png")
    argv = [
        "evaluate",
        "--task",
        "segment",
        "--data",
        str(ade),
        "--weights",
        path,
        "--cpu",
        "--scales",
        "0.5,1",
    ]
    assert main([*argv, "--record", str(record), "--json", "-"]) == 0
    alone = json.loads(capsys.readouterr().out)
    lines = record.read_text().splitlines()
    assert (alone["photos"], alone["scales"], len(lines)) == (5, [0.5, 1], 6)
    assert main([*argv, "--workers", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == alone

    record.write_text("\n".join(lines[:3]) + '\n{"key": "1", "res')  # stopped after two, in the third line
    two = warm.ranks(
        2,
        ["-m", "cfviz", *argv, "--record", str(record), "--json", "-"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert [process.wait(PATIENCE) for process in two] == [0, 0], [process.stderr for process in two]
    told = [process.stdout for process in two]
    assert json.loads("".join(told)) == alone, "one process prints, and it counts all photos"
    again = record.read_text().splitlines()
    assert again[:3] == lines[:3]
    assert sorted(again[3:]) == sorted(lines[3:])


@pytest.mark.slow
def test_six_scales_stand_beside_the_figure_published_for_six(ade: Path, tmp_path: Path) -> None:
    model = make_dense("upernet_crossformer_small")
    measured = {"miou": 48.0, "pixel_accuracy": 80.0, "iou": []}
    six = dense.result_of(model, ade, 2, measured, SIX_SCALES)
    assert six["published"] == {"miou": 48.4}
    assert "at the scales 0.5, 0.75, 1, 1.25, 1.5, 1.75" in dense.table(six)
    assert dense.table(six).endswith("on ADE20K's 2,000 validation photos, at 6 scales.")
    assert dense.result_of(model, ade, 2, measured)["published"] == {"miou": 47.6}
    other = dense.result_of(model, ade, 2, measured, (0.5, 1.0))
    assert other["published"] == {}
    assert "Published" not in dense.table(other)


def test_scales_that_are_none_get_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for scales in ("0", "x", "0.5,", "99", "nan"):
        with pytest.raises(SystemExit):
            main(["evaluate", "--task", "segment", "--data", "x", "--scales", scales])
        assert f"{scales!r} is not six, nor numbers from 0.25 to 4" in capsys.readouterr().err
    for task in ("classify", "detect"):
        assert main(["evaluate", "--task", task, "--data", "x", "--scales", "six"]) == 2
        assert "--scales is for --task segment" in capsys.readouterr().err


def small(kind: str, dataset: str, num_classes: int) -> Any:
    """What measuring asks of a model whose answers a test gives."""
    return SimpleNamespace(
        kind=kind, task="detect" if kind == "retinanet" else "segment", sides=(64, 64),
        num_classes=num_classes, pretrained_cfg={"architecture": f"{kind}_crossformer_nano"},
        provenance=Provenance("file", "0" * 64, dataset=dataset), backbone=None,
    )  # fmt: skip


def rewrite(coco: Path, **changes: Any) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def objects(first: int, second: int) -> list[dict[str, Any]]:
    return [
        {"id": 10 * n + i, "image_id": n, "category_id": (first, second)[i], "bbox": box,
         "area": box[2] * box[3], "iscrowd": 0}
        for n in (7, 9)
        for i, box in enumerate(BOXES)
    ]  # fmt: skip


def test_categories_under_cocos_numbers_but_with_other_names_are_not_taken_for_cocos(
    coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "find_in", perfect)
    detector = small("retinanet", "coco", 80)
    rewrite(
        coco, categories=[{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}], annotations=objects(2, 1)
    )
    named = dense.measure_detector(detector, str(coco), dense.Run())
    assert named is not None
    assert named["measured"]["box_ap"] == pytest.approx(100)
    rewrite(
        coco,
        categories=[{"id": 1, "name": "aeroplane"}, {"id": 15, "name": "person"}],
        annotations=objects(15, 1),
    )
    with pytest.raises(ValueError, match=r"categories that the model does not know: aeroplane$"):
        dense.measure_detector(detector, str(coco), dense.Run())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"categories": None}, "lists no categories with id and name"),
        ({"categories": [{"id": 1}]}, "lists no categories with id and name"),
        ({"categories": [{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}]}, "categories with one name"),
        ({"annotations": None}, "lists no annotations"),
        ({"annotations": [{"id": 1, "image_id": 7}]}, "annotation 1 of 1 has no area"),
        ({"annotations": objects(1, 3)}, "annotation 2 of 4 is of category 3, which is not listed"),
        ({"images": [{"id": 7, "file_name": f"{n:012}.png"} for n in (7, 9)]}, "id to .*07.png and .*9"),
    ],
)  # fmt: skip
def test_annotations_that_cannot_be_read_get_one_sentence(coco: Path, changes: Any, said: str) -> None:
    rewrite(coco, **changes)
    with pytest.raises(ValueError, match=said):
        dense.measure_detector(small("retinanet", "coco", 80), str(coco), dense.Run())


@pytest.mark.parametrize("finds", [True, False])
def test_a_size_that_no_object_has_has_no_average_precision(
    coco: Path, monkeypatch: pytest.MonkeyPatch, finds: bool
) -> None:
    """It was -100 %, and 0 % if nothing was found."""
    none = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), (48, 64))
    monkeypatch.setattr(dense, "find_in", lambda *_: perfect() if finds else none)
    result = dense.measure_detector(small("retinanet", "coco", 80), str(coco), dense.Run())
    assert result is not None
    figures = result["measured"]
    assert [figures["box_ap"], figures["box_ap_small"]] == pytest.approx([100 * finds] * 2)
    assert [figures["box_ap_medium"], figures["box_ap_large"]] == [None, None]
    assert "\nbox AP large             –\n" in dense.table({**result, "published": {"box_ap": 1}})
    assert dense.mean_iou([], 2) == {"miou": None, "pixel_accuracy": None, "iou": [None, None]}


def test_a_record_is_refused_once_a_file_has_changed(
    coco: Path, ade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "find_in", perfect)
    monkeypatch.setattr(dense, "label_in", lambda *_: np.zeros((32, 40), np.int64))
    detector, segmenter = small("retinanet", "coco", 80), small("semantic_fpn", "ade20k", 3)
    boxes, pixels = dense.Run(tmp_path / "boxes.jsonl"), dense.Run(tmp_path / "pixels.jsonl")
    for limit in (1, None):  # a record goes on with more photos
        assert dense.measure_detector(detector, str(coco), boxes, limit)
        assert dense.measure_segmenter(segmenter, str(ade), pixels, limit)
    rewrite(coco, annotations=objects(1, 18)[:3])
    labels = ade / "annotations/validation/1.png"
    Image.new("L", (40, 32), 2).save(labels)
    with pytest.raises(ValueError, match=r"boxes\.jsonl is the record of .* files that have changed since"):
        dense.measure_detector(detector, str(coco), boxes)
    with pytest.raises(ValueError, match=r"pixels\.jsonl is the record of .* files that have changed since"):
        dense.measure_segmenter(segmenter, str(ade), pixels)


def test_two_photos_with_one_label_map_are_refused(ade: Path) -> None:
    Image.new("RGB", (40, 32)).save(ade / "images/validation/1.png")
    with pytest.raises(ValueError, match=r"one label map would count for .*1\.jpg and .*1\.png; leave one"):
        dense.ade_folder(str(ade))
