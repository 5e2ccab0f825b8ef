"""Exported weights: they load by themselves, and their card states facts but no path of the machine."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cfviz.bundled import bundled
from cfviz.cli import main
from cfviz.data.labels import wordnet_ids
from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import OURS, WEIGHTS
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.training import data
from cfviz.training import recipe as recipes
from cfviz.training import state as states
from cfviz.training.engine import Trainer
from cfviz.training.recipe import from_dict
from cfviz.training.ship import card, export
from cfviz.training.ship.made_with import commit, versions
from cfviz.training.start import build_model


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
    calibration = {"size": 32, **result.pop("calibration")}
    assert (result, calibration) == (facts["val"], facts["calibration"])
    assert (result["variant"], result["weights"]["sha256"]) == ("crossformer_nano", facts["sha256"])
    assert (result["group_size"], result["interval"], result["lda"]) == ([7] * 4, [8, 4, 2, 1], "regions")
    assert facts["gap"] == "Far."
    options = ["--limit", "1", "--size", "32", "--group-size", "1", "--interval", "adaptive", "--restrict"]
    assert main(["evaluate", "--data", folder, "--weights", out, "--cpu", *options]) == 0
    assert "/ 20" in capsys.readouterr().out
    assert main(["evaluate", "--data", folder, "--weights", out, "--cpu", "--interval", "far"]) == 2
    assert "expected adaptive" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(recipes.CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_command_in_a_card_reproduces_the_recipe(path: Path) -> None:
    changes = ["position_bias=rpb", "lr=1.0e-05", "teacher=null", "scale=[0.1, 1]", "start_weights=x"]
    for sets in ([], changes):
        made = recipes.load(path, sets)
        command = shlex.split(card.describe(made, {"step": 1, "seconds": 1.0}, Path("none"))["command"])
        config = command[command.index("--config") + 1]
        again = [command[n + 1] for n, word in enumerate(command) if word == "--set"]
        assert config == path.stem, "a name, which is good in any folder"
        assert recipes.load(config, again) == made


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
    assert recipes.load(out.with_name("on.recipe.yaml")).phases == from_dict(given).phases
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


def stopped(folder: Path, made: recipes.Recipe, **state: Any) -> Path:
    """A run's folder that holds the initial weights as its last state."""
    folder.mkdir(exist_ok=True)
    weights = build_model(made).state_dict()
    counts = {"epoch": 1, "step_in_epoch": 0, "step": 5, "seconds": 9.0}
    rest = {"ema": None, "optimizer": {}, "recipe": made.as_dict()}
    states.write(folder, {"model": weights, **rest, **counts, **state})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("bias", "G"), [("dpb", [2] * 4), ("rpb", [4] * 4)])
def test_a_stopped_run_is_exported_as_it_was_trained(
    recipe: recipes.Recipe, tmp_path: Path, bias: Any, G: list[int]
) -> None:
    """Its card used to name the size and the groups of a phase that it never reached."""
    made = replace(recipe, position_bias=bias)
    out = export.export(stopped(tmp_path / "run", made), tmp_path / "out.safetensors")
    facts, opened = card.read(out), load_checkpoint(out)
    assert (facts["img_size"], opened.img_size) == (32, 32)
    assert facts["group_size"] == list(opened.group_size or ()) == G, "a table keeps the G it was made for"
    said = out.with_suffix(".md").read_text("utf-8")
    assert "64 px, G 4, I adaptive, 1 epoch of 2 steps (planned, not begun)" in said
    assert "32 px, G 2, I adaptive, 1 epoch;" in said
    begun = stopped(tmp_path / "run", made, step_in_epoch=1)
    facts = card.read(export.export(begun, out))
    assert (facts["img_size"], facts["group_size"], facts["phases_begun"]) == (64, [4] * 4, 2)
    assert "1 epoch of 2 steps (0 finished)" in card.text(facts)


@pytest.mark.slow
def test_an_older_run_has_no_commit_and_no_processor(recipe: recipes.Recipe, tmp_path: Path) -> None:
    """The card used to name those of the export."""
    out = tmp_path / "out.safetensors"
    facts = card.read(export.export(stopped(tmp_path / "run", recipe), out))
    assert (facts["commit"], facts["processor"], "versions" in facts) == ("unknown", "unknown", False)
    assert facts["exported"] == {"commit": commit(), "versions": versions()}
    assert "commit unknown" in card.text(facts)
    assert "on an unknown processor" in card.text(facts)
    known = {"commit": 40 * "a", "processor": "an abacus", "versions": {"torch": "2"}}
    facts = card.read(export.export(stopped(tmp_path / "run", recipe, **known), out))
    assert {name: facts[name] for name in known} == known
    assert "commit aaaaaaaaaaaa" in card.text({**facts, "exported": {"commit": 40 * "a"}})
    assert "exported at" not in card.text({**facts, "exported": {"commit": 40 * "a"}})
    assert "aaaa, exported at commit bbbbbbbbbbbb" in card.text({**facts, "exported": {"commit": 40 * "b"}})


def test_a_card_says_what_its_recipe_says() -> None:
    facts = card.read(WEIGHTS / "crossformer_nano.json")
    made = facts["recipe"]

    def said(phases: dict[int, Any] | None = None, **changes: Any) -> str:
        own = [{**phase, **(phases or {}).get(n, {})} for n, phase in enumerate(made["phases"])]
        return card.text({**facts, "recipe": {**made, "phases": own, **changes}})

    assert "with warm-up and cosine" in said()
    assert "lr 0.0008 with cosine" in said(warmup_epochs=0)
    assert "no moving average" in said(ema_decay=0)
    assert "none held out" in said(hold_out=0)
    each = said({0: {"batch_size": 32}, 2: {"ema_decay": 0.9}})
    assert "2 epochs, batch 32, moving average 0.998;" in each
    assert "3 epochs, batch 64, moving average 0.998;" in each
    assert "200 steps, batch 64, moving average 0.9; 1570 steps" in each
    assert "label smoothing 0.05, bf16" in each
    found = {**facts["calibration"], "temperature": 1, "bins": []}
    even = card.text({**facts, "calibration": found})
    assert "The model is as sure as it is right" in even
    assert "Too few photos for a table." in even
    assert "measured once" not in each, "nothing records how often"
    changes = [{"epoch": 1, "step": 4, "settings": {"commit": [40 * "a", 40 * "b"], "torch": ["1", "2"]}}]
    later = "- From epoch 2 (step 5): commit aaaaaaaaaaaa -> bbbbbbbbbbbb, torch 1 -> 2"
    assert later in card.text({**facts, "changes": changes})


@pytest.mark.parametrize(
    ("folders", "seen"),
    [(wordnet_ids("imagenette20"), "from which these photos are taken"), (["n01440764"], "is not known")],
)
def test_a_teacher_knows_the_photos_of_a_known_data_set_only(folders: list[str], seen: str) -> None:
    made = from_dict({"data": "photos", "phases": PHASES, "teacher": "resnet18", "num_classes": len(folders)})
    facts = card.describe(made, {"step": 1, "seconds": 1.0, "classes": folders}, Path("none"))
    assert seen in facts["teacher"]


@pytest.mark.parametrize("note", ["trained=x", "held_out=x", "run=x", "foo=bar", "limits", "limits=  ", "=x"])
def test_a_note_has_a_name_that_the_card_prints(note: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Any name was taken: it overwrote a fact, ended in a traceback, or was never printed."""
    with pytest.raises(SystemExit) as ended:
        main(["export-weights", "run", "--out", "x.safetensors", "--note", note])
    assert ended.value.code == 2
    assert "one of the keys choice, schedule, limits, gap" in capsys.readouterr().err


def test_what_an_export_cannot_use_is_refused(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="no note 'trained'; expected one of choice"):
        export.export(tmp_path, tmp_path / "x.safetensors", trained="x")
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        export.export(tmp_path, tmp_path / "x.json")
    command = ["export-weights", str(tmp_path), "--out", str(tmp_path / "x.safetensors")]
    assert main([*command, "--note", "gap=a", "--note", "gap=b"]) == 2
    assert "--note with the same key" in capsys.readouterr().err
    assert main([*command, "--others", str(photos)]) == 2
    assert "--others needs --val" in capsys.readouterr().err
    twice = ["--val", str(photos), "--others", str(photos), "--others", str(photos)]
    assert main([*command, *twice]) == 2
    assert "the same name" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_run_is_measured_at_its_size_with_what_its_probabilities_are_worth(
    recipe: recipes.Recipe, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The calibration stood where nothing reads it, and no command measured other photos."""
    run = stopped(tmp_path / "run", recipe)
    out = str(tmp_path / "out.safetensors")
    given = ["--val", str(photos), "--others", str(photos), "--cpu"]
    assert main(["export-weights", str(run), "--out", out, *given]) == 0
    facts, said = card.read(out), Path(out).with_suffix(".md").read_text("utf-8")
    assert (facts["val"]["size"], facts["calibration"]["size"]) == (32, 32)
    assert "calibration" not in facts["val"]
    assert "## How often it is right when it is so sure" in said
    same = facts["novelty"]["maximum logit"]["sets"][photos.name]
    assert (same["auroc"], same["pictures"]) == (0.5, 24), "the same photos cannot be told apart"
    assert f"| energy | {photos.name} | 0.50 |" in said


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
