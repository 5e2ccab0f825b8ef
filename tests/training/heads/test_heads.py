"""Training of heads on composed scenes: a few steps on tiny scenes, resumed, shipped, opened and measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cfviz
from cfviz.bundled import ASSETS
from cfviz.cli import main
from cfviz.data.labels import labels, wordnet_ids
from cfviz.models.dense import factory
from cfviz.models.dense.factory import opened_dense
from cfviz.models.weights import checkpoints
from cfviz.models.weights.checkpoints import CheckpointError
from cfviz.training import state as states
from cfviz.training.dense import engine, evaluate, features, ship
from cfviz.training.dense.precision import Precision
from cfviz.training.dense.recipe import DenseRecipe, load, names
from cfviz.training.folder import PhotoFolder

SIDE = 96
NAMES = {"segment": "semantic_fpn_crossformer_nano", "detect": "retinanet_crossformer_nano"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three plain photos in each of the twenty class folders."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in wordnet_ids("imagenette20"):
        (root / name).mkdir()
        for i in range(3):
            pixels = np.full((70, 80, 3), rng.integers(0, 256, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PART", 4)
    monkeypatch.setattr(evaluate, "DRAWS", 8)
    monkeypatch.setattr(evaluate, "BOX_DRAWS", 4)


def recipe(task: str, photos: Path, **changes: Any) -> DenseRecipe:
    few = {"scenes": 6, "held_out": 4, "steps": 4, "batch_size": 2, "hold_out": 0.4, "side": SIDE}
    return DenseRecipe(str(photos), NAMES[task], **{"checkpoint_minutes": 0.0, **few, **changes})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return states.read(run)["ema"]


@pytest.mark.slow
@pytest.mark.parametrize("task", NAMES)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    task: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {"scenes_cache": str(tmp_path / "scenes"), "cache": str(tmp_path / "photos")}
    whole = engine.fit(recipe(task, photos, **cache), tmp_path / "whole", lambda line: None)

    def stop(model: Any, scenes: Any, chosen: Any, rng: Any) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(chosen)
        return loss(model, scenes, chosen, rng)

    seen, loss = [], engine.loss_of
    monkeypatch.setattr(engine, "loss_of", stop)
    with pytest.raises(KeyboardInterrupt):
        engine.fit(recipe(task, photos, **cache), tmp_path / "stopped", lambda line: None)
    monkeypatch.setattr(engine, "loss_of", loss)
    resumed = engine.fit(recipe(task, photos, **cache), tmp_path / "stopped", lambda line: None)
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    assert not any(key.startswith("backbone.") for key in first)
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(ValueError, match="is a run of another recipe"):
        engine.fit(recipe(task, photos, lr=1e-4, **cache), tmp_path / "stopped", lambda line: None)
    with pytest.raises(ValueError, match="holds other scenes, or those of another backbone"):
        engine.fit(recipe(task, photos, **{**cache, "hold_out": 0.3}), tmp_path / "new", lambda line: None)
    others = tmp_path / "others"  # as many, but one of them is another one
    shutil.copytree(photos, others)
    Image.new("RGB", (90, 90)).save(next(others.rglob("2.png")))
    with pytest.raises(ValueError, match="holds other scenes, or those of another backbone"):
        engine.fit(
            recipe(task, others, scenes_cache=cache["scenes_cache"]), tmp_path / "new", lambda line: None
        )


@pytest.mark.slow
@pytest.mark.parametrize("task", NAMES)
def test_heads_are_shipped_without_their_backbone_and_opened_with_it(
    task: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, folder = NAMES[task], tmp_path / "weights"
    folder.mkdir()
    run = engine.fit(recipe(task, photos), tmp_path / "run", lambda line: None, "0123456789abcdef")
    file = ship.export(run, folder / f"{name}.safetensors")
    assert file.stat().st_size < 4e6
    bundled, own = checkpoints.bundled, {f"weights/{name}{end}": folder / f"{name}{end}" for end in ENDS}
    monkeypatch.setattr(checkpoints, "bundled", lambda path: own.get(path) or bundled(path))
    monkeypatch.setattr(checkpoints, "SHIPPED", (*checkpoints.SHIPPED, name))
    model = opened_dense(f"bundled:{name}", name)
    nano = cfviz.create_model("crossformer_nano")
    for key, value in nano.state_dict().items():
        if not key.startswith(("norm.", "head.")):
            assert torch.equal(value, model.backbone.state_dict()[key]), key
    for key, value in weights(run).items():
        if value.is_floating_point():
            assert torch.equal(model.state_dict()[key], value.half().float()), key
    known = model.provenance
    assert (known.source, known.predicts) == ("bundled", True)
    assert known.trained == "scenes of imagenette20, a short first training (1.3 epochs)"
    assert list(known.classes or ()) == labels("imagenette20" if task == "detect" else "scenes")
    assert model.backbone.lda == "regions"

    figures = evaluate.evaluated(model, PhotoFolder(photos), 6, side=SIDE)
    assert (figures["scenes"], figures["side"], figures["draws"]) == (6, SIDE, 8 if task == "segment" else 4)
    measure = "miou" if task == "segment" else "box_ap"
    for row in evaluate.ABLATIONS:
        value, low, high = figures[row][measure]
        assert 0 <= low <= value <= high <= 100
    ship.put(file, {**ship.read(file), "measured": figures})
    card = file.with_suffix(".md").read_text("utf-8")
    assert "What it cannot do: photos as people take them." in card
    assert "--set side=96 " in card
    assert ", commit 0123456789ab\n" in card
    assert str(tmp_path) not in card + file.with_suffix(".json").read_text("utf-8")

    told = ship.read(file)
    ship.put(file, {**told, "backbone_sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=r"it was trained on crossformer_nano 000000000000, and the"):
        opened_dense(f"bundled:{name}", name)


ENDS = (".safetensors", ".json")


def test_recipes_that_come_with_cfviz_are_read_strictly(tmp_path: Path) -> None:
    assert {load(name).model for name in names()} == set(NAMES.values())
    for wrong, said in (
        ("model=upernet_crossformer_small", "model is 'upernet_crossformer_small', expected retinanet_"),
        ("epochs=3", "there is no setting epochs"),
        ("steps=0", "steps is 0, expected 1 or more"),
    ):
        with pytest.raises(ValueError, match=said):
            load("semantic_fpn_nano", [wrong])
    assert {"data", "model", "cache"} <= asdict(load("retinanet_nano")).keys()


def test_the_commands_say_what_is_missing(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["train-dense", "--out", str(tmp_path / "run")]
    for more, said in (
        (["--data", str(tmp_path / "none")], "name imagenette20's photos with --data"),
        (["--data", str(photos), "--weights", "w.pth"], "expected a name that ends in .safetensors"),
    ):
        assert main([*run, *more]) == 2
        assert said in capsys.readouterr().err


def test_photos_of_other_classes_are_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lay in the first folder counted as a tench."""
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (70, 80)).save(tmp_path / "photos" / name / "0.png")
    monkeypatch.setattr(factory, "opened_dense", lambda *_: model_of(NAMES["detect"], "0" * 64))
    data = str(tmp_path / "photos")
    for argv in (
        ["evaluate-dense", "--model", NAMES["detect"]],
        ["train-dense", "--out", str(tmp_path / "run")],
    ):
        assert main([*argv, "--data", data]) == 2
        assert (
            "the photos are in 2 class folders (a, b); expected imagenette20's 20" in capsys.readouterr().err
        )
    with pytest.raises(ValueError, match="in 2 class folders"):
        evaluate.evaluated(model_of(NAMES["detect"], "0" * 64), PhotoFolder(data), 1)


def test_scenes_have_the_classes_of_the_model(photos: Path) -> None:
    with pytest.raises(ValueError, match="the model has 80 classes; scenes need one of 21"):
        evaluate.evaluated(model_of("x", None), PhotoFolder(photos), 1)


def model_of(name: str, sha256: str | None) -> Any:
    told = SimpleNamespace(sha256=sha256)
    return SimpleNamespace(pretrained_cfg={"architecture": name}, provenance=told, num_classes=80)


def shipped(task: str = "detect") -> dict[str, Any]:
    return json.loads((ASSETS / "weights" / f"{NAMES[task]}.json").read_text("utf-8"))


def test_a_card_of_other_weights_is_refused_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, told = tmp_path / "mine.safetensors", {**shipped(), "measured": None}
    ship.put(mine, told)
    assert ship.card_of(mine, model_of(NAMES["detect"], told["sha256"])) == told
    monkeypatch.setattr(factory, "opened_dense", lambda *_: model_of(NAMES["detect"], "f" * 64))
    classifier = tmp_path / "classifier.json"
    shutil.copy(ASSETS / "weights" / "crossformer_nano.json", classifier)
    for card, said in (
        (
            mine,
            f"is the card of {NAMES['detect']} (SHA-256 {told['sha256'][:12]}); what would be measured is ",
        ),
        (classifier, "is not the card of heads that train-dense made"),
        (tmp_path / "none.json", "none.json cannot be read (No such file or directory)"),
    ):
        argv = ["evaluate-dense", "--model", NAMES["detect"], "--data", "nowhere", "--card", str(card)]
        assert main(argv) == 2
        assert said in capsys.readouterr().err
    figures = shipped("segment")["measured"]
    figures["whole"]["iou"] = [1.0]
    with pytest.raises(ValueError, match="zip"):
        ship.put(mine, {**told, "measured": figures})
    assert ship.read(mine) == told


def test_a_card_says_what_the_recipe_and_the_measurement_say() -> None:
    told = shipped()
    assert "`python -m cfviz train-dense --config retinanet_nano --out RUN`" in ship.text(told)
    told["recipe"] |= {"side": 96, "warmup": 0, "ema_decay": 0.0, "hold_out": 0.125, "lr": 1e-4}
    told["measured"] |= {
        "side": 128,
        "draws": 7,
        "no_lda": {"box_ap": [1.5, None, None], "box_ap50": [None] * 3},
    }
    told["measured"] |= dict.fromkeys(evaluate.ABLATIONS, told["measured"]["no_lda"])
    card = ship.text(told)
    for said in (
        "scenes of 96 x 96 px, composed of imagenette20", "scenes of 128 x 128 px, composed of validation",
        "lr 0.0001 with cosine, ", "no moving average", "12.5% of the photos", " 7 draws of the scenes",
        "--set side=96 --set hold_out=0.125 --set lr=0.0001 --set warmup=0 --set ema_decay=0.0 --out RUN`",
        "| no position bias | 1.5 | – |",
    ):  # fmt: skip
        assert said in card
    assert "shared with other work" not in card


def test_intervals_lie_within_the_scale_and_are_left_out_where_nothing_varies() -> None:
    draws = [(0.0, 99.0, 1.0), (3.0, 100.0, np.nan)]
    told = evaluate._told(("low", "high", "rare"), (0.5, 99.5, 2.0), draws)
    assert told == {"low": [0.5, 0.0, 3.44], "high": [99.5, 98.52, 100.0], "rare": [2.0, None, None]}
    assert evaluate._told(("alone",), (np.nan,), []) == {"alone": [None, None, None]}
    assert evaluate._draws(1, 5) == []


@pytest.mark.parametrize("finds", [1, 0])
def test_a_size_that_no_thing_has_is_not_a_number(finds: int) -> None:
    box, label = np.array([[2.0, 2, 12, 12]]), np.array([3])
    found = [{"boxes": box[:finds], "scores": np.ones(finds), "labels": label[:finds]}] * 2
    figures = Precision([(box, label, np.array([100.0]))] * 2, found, 20).of(np.arange(2))
    assert figures[:4] == pytest.approx([100 * finds] * 4)
    assert np.isnan(figures[4:]).all()
