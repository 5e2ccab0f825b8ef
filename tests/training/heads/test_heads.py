"""Training of heads on composed scenes: a few steps on tiny scenes, resumed, shipped, opened and measured."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cfviz
from cfviz.cli import main
from cfviz.data.labels import labels, wordnet_ids
from cfviz.models.dense.factory import opened_dense
from cfviz.models.weights import checkpoints
from cfviz.models.weights.checkpoints import CheckpointError
from cfviz.training import state as states
from cfviz.training.dense import engine, evaluate, features, ship
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
    run = engine.fit(recipe(task, photos), tmp_path / "run", lambda line: None)
    file = ship.export(run, folder / f"{name}.safetensors", "0123456789abcdef")
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
    assert figures["scenes"] == 6
    measure = "miou" if task == "segment" else "box_ap"
    for row in evaluate.ABLATIONS:
        value, low, high = figures[row][measure]
        assert low <= value <= high
        assert 0 <= value <= 100 or measure == "box_ap"  # without things AP is -1
    ship.put(file, {**ship.read(file), "measured": figures})
    card = file.with_suffix(".md").read_text("utf-8")
    assert "What it cannot do: photos as people take them." in card
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
