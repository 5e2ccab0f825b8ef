"""Your own classes, from folders to a prediction: their names and no others are used at every step."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cfviz
from cfviz.cli import main
from cfviz.data.labels import dataset_of_folders, folder_label, wordnet_id, wordnet_ids
from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.checkpoints import load_checkpoint, write_checkpoint
from cfviz.run import class_names
from cfviz.training import data
from cfviz.training.engine import Trainer
from cfviz.training.measure.evaluation import columns_of
from cfviz.training.recipe import from_dict
from cfviz.training.ship import card, export
from cfviz.ui.widgets import weights as upload_door
from tests.ui.test_untrusted_input import Upload

FIVE = ["ant_nest", "ant_queen", "bee", "cat", "n02111889_samoyed"]


def _folders(root: Path, names: list[str], count: int = 3) -> Path:
    for n, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((40, 48, 3), 12 * n + i, np.uint8)).save(root / name / f"{i}.png")
    return root


def _trained(settings: dict, root: Path, run: Path, classes: int) -> Path:
    phases = [{"size": 32, "group_size": 2, "interval": "adaptive", "epochs": 1, "steps": 1}]
    given = {**settings, "data": str(root), "num_classes": classes, "phases": phases, "hold_out": 0.0}
    Trainer(from_dict(given), run, cpu=True).fit()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("names", [["cat", "dog"], FIVE])
def test_own_names_reach_the_card_evaluate_and_the_app(
    settings: dict, tmp_path: Path, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = _folders(tmp_path / "pets" / "train", names)
    run = _trained(settings, root, tmp_path / "run", len(names))
    out = tmp_path / "pets.safetensors"
    assert main(["export-weights", str(run), "--out", str(out), "--val", str(root), "--cpu"]) == 0
    said = out.with_suffix(".md").read_text("utf-8")
    assert f"training photos of pets, {len(names)} classes: {names[0].replace('_', ' ')}" in said
    assert "magenet" not in said
    assert "target" not in said
    checkpoint = load_checkpoint(out)
    assert (checkpoint.classes, checkpoint.dataset) == (tuple(names), None)
    assert checkpoint.trained.startswith("pets, ")
    capsys.readouterr()
    assert main(["evaluate", "--weights", str(out), "--data", str(root), "--size", "32", "--cpu"]) == 0
    assert names[0] in capsys.readouterr().out
    photo = str(root / names[0] / "0.png")
    for source in (out, run / "last.pt"):
        assert main(["predict", photo, "--weights", str(source), "--size", "32", "--top", "2", "--json"]) == 0
        top = json.loads(capsys.readouterr().out)["predictions"][0]["top"]
        assert {entry["label"] for entry in top} <= {folder_label(name) for name in names}
    taken = upload_door._opened(Upload(out.read_bytes(), "pets.safetensors"))
    assert class_names(cfviz.models.build(taken)) == [folder_label(name) for name in names]


@pytest.mark.slow
def test_the_command_in_a_card_runs_as_it_is_printed(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _folders(tmp_path / "pets" / "train", ["cat", "dog"])
    run = _trained(settings, Path("pets/train"), tmp_path / "run", 2)
    assert main(["export-weights", str(run), "--out", "mine.safetensors", "--cpu"]) == 0
    assert "its card is mine.md" in capsys.readouterr().err
    facts = card.read("mine.safetensors")
    assert f"`{facts['command']}`, commit" in Path("mine.md").read_text("utf-8")
    assert main(shlex.split(facts["command"])[3:]) == 0
    again = export.load_run("RUN")[0]
    assert again == export.load_run(run)[0]
    # a run elsewhere on this machine leaves no trace of where
    made = from_dict({**again.as_dict(), "data": str(tmp_path / "pets" / "train")})
    card.write_recipe(tmp_path / "far.safetensors", made)
    assert "data: pets/train\n" in Path("far.recipe.yaml").read_text("utf-8")
    assert str(tmp_path) not in Path("far.recipe.yaml").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_an_older_run_with_the_default_data_set_does_not_claim_it(
    settings: dict, tmp_path: Path, kept: bool
) -> None:
    """Before runs recorded their classes, recipes named imagenette20 unless told otherwise."""
    count = 20 if kept else 3
    root = _folders(tmp_path / "pets" / "train", [f"kind_{n:02}" for n in range(count)], 2)
    run = _trained({**settings, "dataset": "imagenette20"}, root, tmp_path / "run", count)
    state = torch.load(run / "last.pt", weights_only=False)
    state.pop("classes", None)
    torch.save(state, run / "last.pt")
    out = export.export(run, tmp_path / "mine.safetensors")
    told = out.with_suffix(".json").read_text("utf-8") + out.with_suffix(".md").read_text("utf-8")
    assert ("imagenette20" in told) is kept
    for path in (run / "last.pt", out):
        checkpoint = load_checkpoint(path)
        assert checkpoint.dataset == ("imagenette20" if kept else None)
        assert str(checkpoint.trained).startswith("imagenette20" if kept else "pets")
    if not kept:  # a file that was exported while the default was still believed
        facts = {"dataset": "imagenette20", "trained": "imagenette20, a short first training (1 epochs)"}
        for more in ({}, {"training": {"by": "run", "data": "imagenette20", "epochs": [1]}}):
            shape = {"variant": checkpoint.variant, "model_args": dict(checkpoint.model_args)}
            write_checkpoint(out, checkpoint.state_dict, **facts, **more, **shape)
            checkpoint = load_checkpoint(out)
            assert checkpoint.dataset is None
            assert checkpoint.trained == "own photos, a short first training (1 epochs)"
        assert class_names(cfviz.models.build(checkpoint)) == ["class 0", "class 1", "class 2"]


@pytest.mark.slow
def test_evaluate_runs_at_the_size_of_training(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _folders(tmp_path / "pets" / "train", ["cat", "dog"])
    run = _trained(settings, root, tmp_path / "run", 2)
    out = export.export(run, tmp_path / "pets.safetensors")
    capsys.readouterr()
    for source in (out, run / "last.pt"):
        command = ["evaluate", "--data", str(root), "--weights", str(source), "--cpu", "--json", "-"]
        assert main(command) == 0
        told, said = capsys.readouterr()
        assert json.loads(told)["size"] == 32
        assert "32 px, at which these weights were trained" in said
    measured = export.measure(out, run, val=data.PhotoFolder(root))
    assert measured["val"]["size"] == 32


@pytest.mark.slow
def test_twenty_own_folders_are_not_imagenette(settings: dict, tmp_path: Path) -> None:
    names = [f"kind_{n:02}" for n in range(20)]
    run = _trained(settings, _folders(tmp_path / "mine", names, 1), tmp_path / "run", 20)
    out = export.export(run, tmp_path / "mine.safetensors")
    checkpoint = load_checkpoint(out)
    assert (checkpoint.dataset, checkpoint.classes) == (None, tuple(names))
    assert class_names(cfviz.models.build(checkpoint)) == names
    assert "imagenette" not in out.with_suffix(".json").read_text("utf-8").lower()


def test_folders_are_recognised_by_their_wordnet_ids() -> None:
    twenty = [f"{name}_x" for name in wordnet_ids("imagenette20")]
    assert dataset_of_folders(twenty) == "imagenette20"
    assert dataset_of_folders(twenty[:-1]) is None
    assert dataset_of_folders(twenty[::-1]) is None, "the order is that of the outputs"
    assert dataset_of_folders(["cat"] * 20) is None
    assert [wordnet_id(name) for name in ("n02111889", "n02111889_a", "n021118890", "night")] == [
        *("n02111889", "n02111889"),
        *(None, None),
    ]
    assert folder_label("n02111889_x") == "Samoyed"
    assert folder_label("n02111889", "zh-Hant") == "薩摩耶犬"
    assert folder_label("my_dog") == "my_dog"


def test_folders_are_matched_by_name_and_then_by_wordnet_id() -> None:
    assert columns_of(["my_dog", "my_cat"], ["my_cat", "my_dog"]).tolist() == [1, 0]
    assert columns_of(["n02111889_dogs"], ["bee", "n02111889_samoyed"]).tolist() == [1]
    with pytest.raises(ValueError, match="no class for my_cow; expected folders named by the name"):
        columns_of(["my_cow"], ["my_cat", "my_dog"])


@pytest.fixture
def unrecorded(tmp_path: Path):
    """A function that writes weights with a given number of classes and no record of them."""

    def write(classes: int) -> Path:
        torch.manual_seed(0)
        path = tmp_path / f"{classes}.safetensors"
        write_checkpoint(path, CrossFormer(**VARIANTS["crossformer_nano"], num_classes=classes).state_dict())
        return path

    return write


@pytest.mark.slow
def test_a_thousand_unrecorded_classes_are_numbers_and_guesses(unrecorded, capsys) -> None:
    path = unrecorded(1000)
    model = cfviz.models.build(load_checkpoint(path))
    assert class_names(model)[258] == "class 258 (Samoyed?)"
    assert class_names(model, "zh-Hant")[258] == "類別 258（薩摩耶犬？）"
    assert "assumed" in model.provenance.notes[0].sentence()
    photo = Image.fromarray(np.zeros((40, 40, 3), np.uint8))
    assert all(name.endswith("?)") for _, name, _ in cfviz.inspect(photo, model, 32).top(3))


@pytest.mark.slow
def test_a_record_of_another_data_set_gives_numbers_not_imagenets_names(tmp_path: Path) -> None:
    path = tmp_path / "places.safetensors"
    state = CrossFormer(**VARIANTS["crossformer_nano"], num_classes=1000).state_dict()
    write_checkpoint(path, state, dataset="places1000")
    assert class_names(cfviz.models.build(load_checkpoint(path)))[:2] == ["class 0", "class 1"]


@pytest.mark.slow
def test_evaluate_does_not_believe_a_data_set_with_another_number_of_classes(
    unrecorded, tmp_path: Path, capsys
) -> None:
    root = _folders(tmp_path / "three", ["a", "b", "c"], 1)
    path = unrecorded(3)
    write_checkpoint(path, load_checkpoint(path).state_dict, dataset="imagenet-1k")
    command = ["evaluate", "--data", str(root), "--size", "32", "--cpu", "--weights", str(path)]
    assert main(command) == 0
    assert "alphabetical order" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_without_recorded_names_takes_the_order_of_folders_and_says_so(
    unrecorded, tmp_path: Path, capsys
) -> None:
    root = _folders(tmp_path / "three", ["a", "b", "c"], 1)
    command = ["evaluate", "--data", str(root), "--size", "32", "--cpu", "--weights"]
    assert main([*command, str(unrecorded(3))]) == 0
    assert "assuming the alphabetical order" in capsys.readouterr().err
    assert main([*command, str(unrecorded(4))]) == 2
    assert "4 classes and does not record their names" in capsys.readouterr().err
    assert main([*command, str(unrecorded(0))]) == 2
    assert "no classifier" in capsys.readouterr().err


def test_the_export_records_the_classes_of_the_folders(settings: dict, photos: Path) -> None:
    """Two folders with WordNet ids are those two classes of ImageNet, not the first two of a list."""
    recipe = from_dict(settings)
    state = {"classes": data.PhotoFolder(photos).classes}
    assert export.classes(recipe, state) == {"classes": ["n01440764_tench", "n03028079_church"]}
