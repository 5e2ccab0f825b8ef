"""Trainings with and without cooling layers: in turns as one by one, and what is told of them is measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.cli import main
from cfviz.measured.amplitude import over_photos
from cfviz.measured.cooling import compare, photos_seen, train_in_turns, twins
from cfviz.training.engine import Trainer
from cfviz.training.recipe import Recipe, load
from cfviz.training.ship.export import load_run, shaped

pytestmark = pytest.mark.slow
CLASSES = ("n01440764_tench", "n03028079_church")
SETTINGS = (
    "model_args={embed_dim: 16, depths: [1, 1, 4, 1], num_heads: [1, 2, 4, 8]}",
    "phases=[{size: 32, group_size: [4, 4, 2, 1], interval: [2, 1, 1, 1], epochs: 1}]",
    "cache=null", "batch_size=4", "micro_batch=4", "hold_out=0.3", "precision=no",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(9):
            pixels = rng.integers(0, 120, (40, 48, 3))
            pixels[..., 2 * label] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def recipe_for(photos: Path) -> Recipe:
    return load("nano_pp", list(SETTINGS), str(photos))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_run(run)[2]


def test_turns_change_no_number_and_can_be_taken_up_again(photos: Path, tmp_path: Path) -> None:
    recipe = recipe_for(photos)
    assert train_in_turns(recipe, tmp_path / "runs", 2, cpu=True, turn=1)
    assert train_in_turns(recipe, tmp_path / "runs", cpu=True)
    for name, one in twins(recipe).items():
        alone = Trainer(one, tmp_path / f"alone-{name}", cpu=True)
        alone.fit()
        assert alone.step == alone.total_steps == load_run(tmp_path / "runs" / name)[1]["step"]
        mine, theirs = weights(tmp_path / "runs" / name), weights(tmp_path / f"alone-{name}")
        assert all(torch.equal(mine[key], value) for key, value in theirs.items())
    with pytest.raises(ValueError, match=r"cooling is at step \d+, after --steps 1; expected no fewer"):
        train_in_turns(recipe, tmp_path / "runs", 1, cpu=True)


def test_photos_are_counted_with_the_batch_of_each_phase(photos: Path) -> None:
    both = (
        "phases=[{size: 32, group_size: 4, epochs: 2, batch_size: 8}, {size: 64, group_size: 4, epochs: 3}]"
    )
    recipe = load("nano_pp", [*SETTINGS, both], str(photos))  # 8, then 4
    state = {"files": {"trained_on": 17}, "epoch": 3, "step_in_epoch": 1}
    assert photos_seen(recipe, state) == 2 * 2 * 8 + 4 * 4 + 4


def test_photos_of_other_classes_are_refused_before_the_training(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "val").mkdir()
    shutil.copytree(photos / CLASSES[0], tmp_path / "val" / CLASSES[0])
    argv = [
        "amplitude",
        "--data",
        str(photos),
        "--val",
        str(tmp_path / "val"),
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main(argv) == 2
    assert "has other class folders than" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_command_trains_measures_and_writes_what_was_measured(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "runs"
    command = ["amplitude", "--data", str(photos), "--val", str(photos), "--out", str(out), "--cpu"]
    command += ["--limit", "3", "--steps", "2", *(word for one in SETTINGS for word in ("--set", one))]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "2 steps, measured on 6 photos" in told.err
    found: dict[str, Any] = json.loads((out / "amplitude.json").read_text("utf-8"))
    assert found["trained"] == {"steps": 2, "of": 3, "photos_seen": 8}
    assert found["blocks"] == ["1.1", "2.1", "3.1", "3.2", "3.3", "3.4", "4.1"]
    assert found["recipe"]["model_args"]["depths"] == [1, 1, 4, 1]
    some = [photos / name / f"{i}.png" for name in CLASSES for i in (0, 4, 8)]
    own = {}
    for name in ("cooling", "without"):
        recipe, state, trained = load_run(out / name)
        model = shaped(recipe, state).eval()
        model.load_state_dict(trained)
        assert model.stages[2].block_list[2].cooling == (name == "cooling")
        own[name] = over_photos(some, model, 32)
    for key, one in own["cooling"].items():
        apart = own["without"][key] - one
        np.testing.assert_allclose(found[key]["cooling"], one.mean(0), rtol=1e-3)
        np.testing.assert_allclose(found[key]["difference"], apart.mean(0), rtol=1e-3, atol=1e-9)
        error = apart.std(0, ddof=1) / 6**0.5
        np.testing.assert_allclose(found[key]["standard_error"], error, rtol=1e-3, atol=1e-9)
    assert "3.3" in told.out
    assert found["untrained"]["photos"] == 2
    assert main(command) == 0  # trains nothing more
    assert json.loads((out / "amplitude.json").read_text("utf-8")) == found


def test_a_model_too_shallow_for_a_cooling_layer_is_refused(photos: Path, tmp_path: Path) -> None:
    shallow = replace(recipe_for(photos), model_args={"depths": [1, 1, 1, 1]})
    with pytest.raises(ValueError, match=r"depths \(1, 1, 1, 1\) has no block with a cooling layer"):
        train_in_turns(shallow, tmp_path, 1, cpu=True)


def test_models_of_unequal_training_are_not_compared(photos: Path, tmp_path: Path) -> None:
    recipe = recipe_for(photos)
    train_in_turns(recipe, tmp_path, 1, cpu=True)
    Trainer(twins(recipe)["cooling"], tmp_path / "cooling", cpu=True).fit(2)
    with pytest.raises(ValueError, match="cooling at step 2 and without at step 1: models of equal training"):
        compare(tmp_path, photos)
