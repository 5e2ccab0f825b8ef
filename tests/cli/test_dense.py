"""`detect` and `segment`: what they print and write, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.cli import main
from cfviz.data.coco import as_results, encode_mask, image_id
from cfviz.figures.pictures import boxes_over, class_colour, label_picture, labels_over
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.variants import DENSE, list_dense
from cfviz.models.variants import SHIPPED
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.run import dense_class_names

SMALL = ("--sides", "96x64")
SHIPS = dict(DENSE)  # as they are outside these tests


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """A function that writes a file of weights of a kind, around the smallest backbone."""

    def file(kind: str, num_classes: int) -> Path:
        path = tmp_path_factory.getbasetemp() / f"{kind}-{num_classes}.safetensors"
        if not path.exists():
            torch.manual_seed(0)
            model = make_dense(f"{kind}_crossformer_nano", num_classes=num_classes)
            state = {key: value for key, value in model.state_dict().items() if value.dim()}
            if kind == "mask_rcnn":
                state["roi_head.bbox_head.fc_cls.weight"] *= 30
            if kind == "retinanet":
                state["bbox_head.retina_cls.bias"][:] = 0
            write_checkpoint(path, state, torch.float16, trained="a test", group_size=[7, 7, 7, 7])
        return path

    return file


@pytest.fixture(autouse=True, scope="module")
def _nano() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("retinanet", "mask_rcnn", "semantic_fpn", "upernet"):
            small = replace(DENSE[f"{kind}_crossformer_small"], backbone="crossformer_nano")
            patch.setitem(DENSE, f"{kind}_crossformer_nano", small)
        yield


@pytest.fixture
def photo(tmp_path: Path) -> str:
    numbers = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(numbers).save(tmp_path / "000000000139.png")
    return str(tmp_path / "000000000139.png")


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    try:
        code: object = main(argv)
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_detections_are_printed_and_written(
    kind: str, weights: Any, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = ["detect", photo, "--weights", str(weights(kind, 80)), *SMALL, "--threshold", "0.05"]
    assert main([*argv, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == f"{kind}_crossformer_nano"
    (result,) = told["results"]
    assert result["photo_size"] == [48, 64]
    found = result["found"]
    assert found, "the weights were scaled so that something is found"
    coco = json.loads((out / "detections.json").read_text())
    assert len(coco) == len(found)
    for one, row in zip(coco, found, strict=True):
        assert one["image_id"] == 139
        x1, y1, x2, y2 = row["box"]
        assert one["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.02)
        assert one.get("segmentation", {"size": [48, 64]})["size"] == [48, 64]
        assert ("segmentation" in one) == (kind == "mask_rcnn")
    with Image.open(out / "000000000139.png") as picture:
        assert picture.size == (64, 48)
    assert main([*argv, "--lang", "zh-Hant"]) == 0
    printed = capsys.readouterr().out
    assert f"{found[0]['score']:.1%}" in printed
    assert "a test" in printed
    assert main([*argv[:-1], "1"]) == 0
    assert "nothing above the threshold" in capsys.readouterr().out


@pytest.mark.slow
def test_label_maps_are_printed_and_written(
    weights: Any, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = ["segment", photo, "--weights", str(weights("semantic_fpn", 150)), *SMALL, "--out", str(out)]
    assert main([*argv, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert sum(row["share"] for row in result["classes"]) == pytest.approx(1)
    with Image.open(out / "000000000139.png") as picture:
        labels = np.array(picture)
    assert labels.shape == (48, 64)
    shares = {row["index"]: row["share"] for row in result["classes"]}
    assert shares == {int(k): pytest.approx((labels == k).mean()) for k in np.unique(labels)}
    assert (out / "000000000139.labelled.png").exists()
    assert main(argv) == 0
    assert f"{result['classes'][0]['share']:.1%}" in capsys.readouterr().out


@pytest.mark.slow
def test_without_learned_weights_there_is_no_answer(
    weights: Any, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "retinanet_crossformer_small"
    said = fails(capsys, "detect", photo)
    assert "no model is named: add --model retinanet_crossformer_nano, whose weights come with cfviz" in said
    said = fails(capsys, "detect", photo, "--model", "retinanet_crossformer_nano", "--weights", "none")
    assert "have learned nothing to detect: leave --weights out" in said
    assert f"{name} ships no weights: add --weights official" in fails(
        capsys, "detect", photo, "--model", name
    )
    said = fails(capsys, "detect", photo, "--model", name, "--weights", "none")
    assert "random weights have learned nothing to detect: add --weights official" in said
    path = tmp_path / "random.safetensors"
    model = make_dense("semantic_fpn_crossformer_nano", num_classes=3)
    write_checkpoint(path, {k: v for k, v in model.state_dict().items() if v.dim()}, trained="")
    assert "holds random weights, which have learned" in fails(
        capsys, "segment", photo, "--weights", str(path)
    )


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_the_help_names_the_models_whose_weights_come_along(
    task: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([task, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    (name,) = [name for name in list_dense(task) if name in SHIPPED]
    assert f"(weights of {name} come with cfviz)" in said
    assert "Weights must be named" not in said


@pytest.mark.slow
def test_an_answer_of_weights_that_know_scenes_alone_says_what_it_is_worth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, said = "semantic_fpn_crossformer_nano", []
    monkeypatch.setitem(DENSE, name, SHIPS[name])
    for photo in ("gallery:horses", "gallery:berlin-cathedral"):
        argv = ["segment", photo, "--model", name, *SMALL]
        assert main([*argv, "--json"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert main(argv) == 0
        assert result["remark"] in capsys.readouterr().out
        said.append(result["remark"])
    assert "shows none of the 20 classes" in said[0]
    assert "were trained on 20 classes in composed scenes alone" in said[1]


@pytest.mark.slow
def test_models_for_another_task_and_wrong_options_are_refused(
    weights: Any, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(capsys, "detect", photo, "--model", "upernet_crossformer_small", "--weights", "official")
    assert (
        "upernet_crossformer_small is for `cfviz segment`; here it may be retinanet_crossformer_small" in said
    )
    path = str(weights("semantic_fpn", 150))
    said = fails(capsys, "detect", photo, "--weights", path)
    assert "holds semantic_fpn_crossformer_nano, which is for `cfviz segment`" in said
    assert "has no layers of a detector" in fails(
        capsys, "detect", photo, "--weights", "bundled:crossformer_nano"
    )
    said = fails(capsys, "segment", photo, "--model", "vit", "--weights", path)
    assert "--model vit is none of semantic_fpn_crossformer_small" in said
    for sides in ("0x0", "800", "64x96", "axb", "64x16"):
        assert "is not a long and a short side" in fails(capsys, "segment", photo, "--sides", sides)
    for score in ("0", "2", "x", "nan"):
        assert "is not a score from 0.05 to 1" in fails(capsys, "detect", photo, "--threshold", score)
    deep = str(tmp_path / "no" / "such")
    assert "there is no folder" in fails(capsys, "segment", photo, "--out", deep)
    assert "is a file, expected the name of a folder" in fails(capsys, "segment", photo, "--out", photo)
    assert not (tmp_path / "no").exists()
    other = tmp_path / "b"
    other.mkdir()
    twice = ("segment", photo, str(other / "000000000139.jpg"), "--out", str(other))
    assert "would both be written as 000000000139.png" in fails(capsys, *twice)
    assert "itself, which would be replaced" in fails(capsys, "segment", photo, "--out", str(tmp_path))
    assert "nothing.jpg" in fails(capsys, "segment", "nothing.jpg", "--weights", path, *SMALL)


def test_detectors_and_segmenters_are_listed_with_published_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "--task", "detect"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("mask_rcnn_crossformer_base"))
    assert row.split()[1:] == ["71.5", "M", "47.2", "42.7", "official"]
    assert main(["models", "--task", "segment", "--json"]) == 0
    listed = {model["model"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert listed["upernet_crossformer_large"]["miou_multi_scale"] == 51.4


# ---------------------------------------------------------------- COCO's format, and pictures


def test_masks_are_written_as_pycocotools_reads_them() -> None:
    from pycocotools.mask import decode

    draw = np.random.default_rng(0)
    masks = [
        draw.random((h, w)) < p for h, w, p in ((1, 1, 0.5), (7, 5, 0.5), (40, 60, 0.02), (300, 200, 0.97))
    ]
    masks += [np.zeros((3, 4), bool), np.ones((3, 4), bool), np.pad(np.ones((50, 70), bool), 30)]
    for mask in masks:
        assert (decode(encode_mask(mask)) == mask).all()


def test_results_have_cocos_numbers() -> None:
    boxes, scores, labels = np.array([[1.0, 2, 5, 9]]), np.array([0.5]), np.array([79])
    (one,) = as_results(7, boxes, scores, labels, None)
    assert one == {"image_id": 7, "category_id": 90, "bbox": [1, 2, 4, 7], "score": 0.5}
    assert as_results(7, boxes, scores, np.array([0]), None, [5])[0]["category_id"] == 5
    assert [image_id(name, 3) for name in ("a/000000000139.jpg", "cat.jpg", "gallery:cat", "²")] == [
        139,
        3,
        3,
        3,
    ]


@pytest.mark.slow
def test_classes_in_a_file_keep_their_names(weights: Any) -> None:
    model = make_dense("semantic_fpn_crossformer_nano", num_classes=3)
    assert dense_class_names(model, "zh-Hant") == ["類別 0", "類別 1", "類別 2"]
    model.provenance = replace(model.provenance, classes=("a", "b", "c"))
    assert dense_class_names(model, "zh-Hant") == dense_class_names(model, "en") == ["a", "b", "c"]


def test_pictures_keep_the_photos_size_and_colour_each_class_alike() -> None:
    photo = Image.new("RGB", (60, 40), (10, 20, 30))
    labels = np.zeros((40, 60), np.int64)
    labels[:, 30:] = 149
    laid = np.array(labels_over(photo, labels))
    assert laid.shape == (40, 60, 3)
    assert len(np.unique(laid.reshape(-1, 3), axis=0)) == 2
    assert len({class_colour(index) for index in range(150)}) == 150
    picture = label_picture(labels, 150)
    assert (picture.mode, np.array(picture).tolist()) == ("P", labels.tolist())
    assert np.array(label_picture(labels, 300)).dtype == np.uint16
    inside = np.zeros((40, 60), bool)
    inside[10:20, 10:30] = True
    boxes = np.array([[10.0, 10, 30, 20], [70, 5, 60, 3]])
    drawn = np.array(boxes_over(photo, boxes, [1, 2], ["cat 90%", "dog"], lambda i: inside & (i == 0)))
    assert drawn.shape == (40, 60, 3)
    assert boxes_over(photo, boxes[:0], [], []).tobytes() == photo.tobytes()
