"""Exported weights: they load by themselves, and their card states facts but no path of the machine."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cfviz.bundled import bundled
from cfviz.cli import main
from cfviz.data.labels import wordnet_ids
from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import OURS, WEIGHTS
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.training import data, recipe
from cfviz.training.engine import Trainer
from cfviz.training.recipe import from_dict
from cfviz.training.ship import card, export


@pytest.fixture
def toy_run(settings: dict, photos: Path, tmp_path: Path) -> Path:
    """A run of one step with a full crossformer_nano, on 20 class folders of two photos."""
    root = tmp_path / "twenty"
    source = next((photos / "n01440764_tench").iterdir()).read_bytes()
    for name in wordnet_ids("imagenette20"):
        (root / f"{name}_name").mkdir(parents=True)
        for i in range(2):
            (root / f"{name}_name" / f"{i}.png").write_bytes(source)
    phases = [{"size": 32, "group_size": 7, "epochs": 1, "steps": 1}]
    given = {**settings, "data": str(root), "num_classes": 20, "model_args": {}, "phases": phases}
    Trainer(from_dict(given), tmp_path / "run", cpu=True).fit()
    return tmp_path / "run"


@pytest.mark.slow
def test_a_run_is_exported_and_measured(toy_run: Path, tmp_path: Path) -> None:
    val = data.PhotoFolder(tmp_path / "twenty")
    out = export.export(toy_run, tmp_path / "weights" / "toy.safetensors", limits="It knows nothing.")
    facts = export.measure(out, toy_run, val=val, size=32)
    checkpoint = load_checkpoint(out)
    assert (checkpoint.variant, checkpoint.num_classes) == ("crossformer_nano", 20)
    assert checkpoint.group_size == (7, 7, 7, 7)
    assert checkpoint.trained_group == (7, 4, 2, 1)  # at 32 px the maps are no larger
    assert facts["trained_group"] == [7, 4, 2, 1]
    assert checkpoint.dataset == "imagenette20"
    assert "1 epochs" in checkpoint.trained
    assert facts["sha256"] == checkpoint.sha256
    assert out.stat().st_size == facts["bytes"]
    _, state, average = export.load_run(toy_run)
    for name, value in checkpoint.state_dict.items():
        assert torch.equal(value, average[name].half().float())
    assert state["ema"].keys() == average.keys()
    assert facts["val"]["top1"]["n"] == 40
    assert set(facts["val"]["groups"]) >= {"Imagenette half", "Imagewoof half"}
    written = out.with_suffix(".json").read_text() + out.with_suffix(".md").read_text()
    assert str(tmp_path) not in written
    assert "It knows nothing." in written
    assert "target 85%" in written
    assert card.read(out) == json.loads(json.dumps(facts))


@pytest.mark.slow
def test_evaluate_gives_the_figures_of_the_card(
    toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "toy.safetensors")
    folder = str(tmp_path / "twenty")
    assert (
        main(["export-weights", str(toy_run), "--out", out, "--val", folder, "--cpu", "--note", "gap=Far."])
        == 0
    )
    capsys.readouterr()
    assert main(["evaluate", "--data", folder, "--weights", out, "--cpu", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    facts = card.read(out)
    assert result == facts["val"]
    assert facts["gap"] == "Far."
    options = ["--limit", "1", "--size", "32", "--group-size", "1", "--interval", "adaptive", "--restrict"]
    assert main(["evaluate", "--data", folder, "--weights", out, "--cpu", *options]) == 0
    assert "/ 20" in capsys.readouterr().out
    assert main(["evaluate", "--data", folder, "--weights", out, "--cpu", "--interval", "far"]) == 2
    assert "expected adaptive" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(recipe.CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_command_in_a_card_reproduces_the_recipe(path: Path) -> None:
    changes = ["position_bias=rpb", "lr=1.0e-05", "teacher=null", "scale=[0.1, 1]", "start_weights=x"]
    for sets in ([], changes):
        made = recipe.load(path, sets)
        command = shlex.split(card.describe(made, {"step": 1, "seconds": 1.0}, Path("none"))["command"])
        config = command[command.index("--config") + 1]
        again = [command[n + 1] for n, word in enumerate(command) if word == "--set"]
        assert config == path.stem, "a name, which is good in any folder"
        assert recipe.load(config, again) == made


@pytest.mark.slow
def test_a_second_sitting_records_where_it_started(toy_run: Path, settings: dict, tmp_path: Path) -> None:
    before = card.read(WEIGHTS / "crossformer_nano.json")
    phases = [{"size": 32, "group_size": 7, "epochs": 1, "steps": 1}]
    given = {
        **settings,
        "data": str(tmp_path / "twenty"),
        "num_classes": 20,
        "model_args": {},
        "phases": phases,
    }
    given |= {"start_weights": "crossformer_nano", "redraw": ["layers.0.blocks.*.attn.pos.*"]}
    given |= {"dataset": "imagenette20"}
    Trainer(from_dict(given), tmp_path / "on", cpu=True).fit()
    out = export.export(tmp_path / "on", tmp_path / "on.safetensors")
    facts, text = card.read(out), out.with_suffix(".md").read_text()
    assert facts["start"]["sha256"] == before["sha256"]
    assert f"Started from: {before['trained']}; SHA-256 `{before['sha256']}`" in text
    assert "on.recipe.yaml" in facts["command"]  # none that comes with cfviz has these phases
    assert recipe.load(out.with_name("on.recipe.yaml")).phases == from_dict(given).phases
    given |= {"start_weights": str(out)}
    Trainer(from_dict(given), tmp_path / "again", cpu=True).fit()
    again = export.export(tmp_path / "again", tmp_path / "again.safetensors")
    trained = load_checkpoint(again).trained
    assert re.search(r"a short training in \d+ sittings \([\d, ]+, 1 and 1 epochs\)", trained)
    assert card.read(again)["start"]["sha256"] == facts["sha256"]


PHASES = [
    {"size": 96, "group_size": 6, "epochs": 2},
    {"size": 128, "group_size": 8, "epochs": 1},
    {"size": 224, "group_size": 7, "epochs": 1},
]


@pytest.mark.parametrize(
    ("epoch", "step", "before", "largest"),
    [
        (4, 0, None, [8, 8, 8, 7]),
        (3, 0, None, [8, 8, 8, 4]),  # at 128 px the last map is 4 x 4
        (2, 0, None, [6, 6, 6, 3]),  # stopped before the second phase
        (2, 5, None, [8, 8, 8, 4]),  # stopped within it
        (0, 0, None, [6, 6, 6, 3]),
        (4, 0, [10, 0, 6, 14], [10, 8, 8, 14]),
    ],
)
def test_the_largest_groups_of_training_follow_from_the_phases(
    epoch: int, step: int, before: list[int] | None, largest: list[int]
) -> None:
    made = from_dict({"data": "photos", "phases": PHASES})
    assert export.trained_group(made, {"epoch": epoch, "step_in_epoch": step}, before) == largest
    each = from_dict({"data": "photos", "phases": [{"size": 224, "group_size": [4, 4, 14, 7], "epochs": 1}]})
    assert export.trained_group(each, {"epoch": 1}) == [4, 4, 14, 7]
    phase = {"size": 448, "group_size": 7, "epochs": 1, "lda": "whole"}
    whole = from_dict({"data": "photos", "phases": [phase]})
    assert export.trained_group(whole, {"epoch": 1}) == [14, 14, 14, 14], "112 tokens a side, 8 apart"


def test_layers_drawn_anew_have_seen_no_groups(tiny_model: Callable[..., CrossFormer]) -> None:
    made = from_dict({"data": "photos", "phases": PHASES, "redraw": ["layers.0.blocks.*.attn.pos.*"]})
    start = {"trained_group": [10, 10, 10, 10]}
    assert export.earlier_group(made, tiny_model(), start) == [0, 10, 10, 10]
    assert export.earlier_group(made, tiny_model(), {"trained_group": None}) is None
    assert export.earlier_group(made, tiny_model(), None) is None


def test_the_bundled_cards_record_the_largest_groups() -> None:
    for path in (WEIGHTS / f"{name}.json" for name in OURS):
        facts = card.read(path)
        if "trained_group" not in facts:  # written before cards recorded it
            continue
        phases = from_dict({"data": "photos", "phases": facts["recipe"]["phases"]})
        own = export.trained_group(phases, {"epoch": facts["epochs"]})
        assert all(mine <= G for G, mine in zip(facts["trained_group"], own, strict=True)), path.name
        assert list(load_checkpoint(path.stem).trained_group or ()) == facts["trained_group"]


@pytest.mark.slow
def test_a_large_run_without_held_out_photos_can_be_exported(
    settings: dict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The limit of ten megabytes is for bundled weights; an empty slice used to end in an error of torch."""
    phases = [{"size": 32, "group_size": 7, "epochs": 1, "steps": 1}]
    large = {"embed_dim": 64, "depths": [2, 1, 1, 1], "num_heads": [2, 4, 8, 16]}
    given = {**settings, "model_args": large, "phases": phases, "hold_out": 0}
    Trainer(from_dict({**given, "ema_decay": 0}), tmp_path / "run", cpu=True).fit()
    out = tmp_path / "weights" / "tiny.safetensors"
    assert main(["export-weights", str(tmp_path / "run"), "--out", str(out), "--cpu"]) == 0
    assert out.stat().st_size > 10_000_000
    assert "not measured, since no photos were held out; name some with --val" in capsys.readouterr().err
    assert "held_out" not in card.read(out)
    assert card.read(out)["float16"]["photos"] == 24
    assert not list((tmp_path / "weights").glob("*.part"))


@pytest.mark.parametrize("name", OURS)
def test_bundled_cards_are_written_from_their_facts(name: str) -> None:
    """The Markdown once kept sentences that the code no longer writes."""
    path = bundled(f"weights/{name}.md")
    assert path.read_text("utf-8") == card.text(card.read(path))


def test_bundled_weights_are_small() -> None:
    for path in WEIGHTS.glob("*.safetensors"):
        assert path.stat().st_size <= 10_000_000, path.name


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no last.pt"):
        export.export(tmp_path, tmp_path / "x.safetensors")
