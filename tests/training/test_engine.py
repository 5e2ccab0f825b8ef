"""A run may be stopped at any moment or spread over processes: the weights come out the same."""

import csv
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from cfviz.cli import main
from cfviz.training import teacher
from cfviz.training.engine import Trainer, build_model, precision_of
from cfviz.training.recipe import Recipe, from_dict
from cfviz.training.ship import card
from cfviz.training.ship.export import load_run
from cfviz.training.ship.made_with import versions
from cfviz.training.stem import fold_stem
from tests.processes.warm import Warm
from tests.training.conftest import make_settings


def states_equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def finished(run: Path) -> tuple[dict, dict]:
    """The weights and the moving average of a finished run."""
    state = torch.load(run / "last.pt", weights_only=True)
    assert (state["epoch"], state["step_in_epoch"]) == (2, 0)
    return state["model"], state["ema"]


class Killed(BaseException):
    """Stands for a machine that goes away."""


def kill_at(trainer: Trainer, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, saving after every step, until the machine goes away before a given step."""
    step = trainer._step

    def fragile(*args: torch.Tensor) -> torch.Tensor:
        if trainer.step == at:
            raise Killed
        loss = step(*args)
        trainer.save()
        return loss

    monkeypatch.setattr(trainer, "_step", fragile)
    with pytest.raises(Killed):
        trainer.fit()


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict, dict]]:
    """A function that trains with an optimizer to the end, once, and returns what `finished` does."""

    @cache
    def train(optimizer: str) -> tuple[dict, dict]:
        run = tmp_path_factory.mktemp(optimizer)
        Trainer(from_dict({**make_settings(photos), "optimizer": optimizer}), run, cpu=True).fit()
        return finished(run)

    return train


@pytest.mark.slow
@pytest.mark.parametrize(("at", "optimizer"), [(1, "adamw"), (3, "adamw"), (4, "adamw"), (3, "muon")])
def test_resuming_gives_the_same_weights_bit_for_bit(
    at: int,
    optimizer: str,
    recipe: Recipe,
    undisturbed: Callable[[str], tuple[dict, dict]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(recipe, optimizer=optimizer)
    trainer = Trainer(recipe, tmp_path / "run", cpu=True)
    kill_at(trainer, at, monkeypatch)
    random.random(), np.random.rand(), torch.rand(5)
    resumed = Trainer(recipe, tmp_path / "run", cpu=True)
    assert resumed.step == at
    resumed.fit()
    model, ema = finished(tmp_path / "run")
    whole = undisturbed(optimizer)
    assert states_equal(model, whole[0])
    assert states_equal(ema, whole[1])
    assert not states_equal(model, ema)


@pytest.mark.slow
def test_training_learns_and_writes_a_log(settings: dict, tmp_path: Path) -> None:
    plain = {"drop_path": 0.0, "mix_prob": 0.0, "transform": "light", "ema_decay": 0, "label_smoothing": 0.0}
    phases = [{"size": 32, "group_size": 2, "interval": "adaptive", "epochs": 6}]
    recipe = from_dict({**settings, **plain, "phases": phases, "lr": 3e-3})
    trainer = Trainer(recipe, tmp_path, cpu=True)
    assert trainer.fit() is trainer.bare
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert float(rows[-1]["held_out_top1"]) == 1.0
    assert int(rows[-1]["step"]) == trainer.total_steps == trainer.step


@pytest.mark.slow
def test_a_finished_run_keeps_its_recipe_and_says_so(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Another recipe used to overwrite it, and the card then listed settings that no step had used."""
    short = {**settings, "phases": [{**settings["phases"][0], "steps": 1}]}
    Trainer(from_dict(short), tmp_path, cpu=True).fit()
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=r"belongs to a finished run, .*\(lr 0\.001, now 0\.5\)"):
        Trainer(from_dict({**short, "lr": 0.5}), tmp_path, cpu=True)
    assert (tmp_path / "last.pt").read_bytes() == before
    capsys.readouterr()
    Trainer(from_dict({**short, "workers": 1, "checkpoint_minutes": 3}), tmp_path, cpu=True)
    assert "the run is finished: 1 epochs, 1 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_settings_changed_in_mid_run_are_recorded_for_the_card(settings: dict, tmp_path: Path) -> None:
    short = {**settings, "phases": [{**settings["phases"][0], "steps": 1}, settings["phases"][1]]}
    first = Trainer(from_dict(short), tmp_path, cpu=True)
    first._epoch()
    first.save()
    resumed = Trainer(from_dict({**short, "lr": 0.5}), tmp_path, cpu=True)
    wanted = [{"epoch": 1, "step": 1, "settings": {"lr": [0.001, 0.5]}}]
    assert resumed.changes == wanted
    resumed.save()
    assert Trainer(from_dict({**short, "lr": 0.5}), tmp_path, cpu=True).changes == wanted
    made, state, _ = load_run(tmp_path)
    facts = card.describe(made, state, tmp_path / "log.csv")
    assert card._changed(facts) == ["- From epoch 2 (step 2): lr 0.001 -> 0.5"]


@pytest.mark.slow
def test_a_run_keeps_what_it_was_made_with(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card used to name the commit of the export."""

    def at(commit: str) -> Trainer:
        monkeypatch.setattr("cfviz.training.engine.commit", lambda: commit)
        return Trainer(from_dict(short), tmp_path, cpu=True)

    short = {**settings, "phases": [{**settings["phases"][0], "steps": 1}, settings["phases"][1]]}
    first = at("old")
    first._epoch()
    kept = torch.load(tmp_path / "last.pt")
    assert (kept["commit"], kept["changes"]) == ("old", [])
    assert kept["versions"]["torch"] == versions()["torch"]
    assert at("old").changes == []
    changed = [{"epoch": 1, "step": 1, "settings": {"commit": ["old", "new"]}}]
    assert at("new").changes == changed
    older = {name: value for name, value in kept.items() if name not in ("commit", "versions")}
    torch.save(older, tmp_path / "last.pt")
    unknown = at("new").changes[0]["settings"]
    assert unknown["commit"] == ["unknown", "new"]
    assert unknown["torch"] == ["unknown", versions()["torch"]]
    finished = {**older, "epoch": 2, "processor": "an abacus"}
    torch.save(finished, tmp_path / "last.pt")
    at("newest").save()  # trains nothing
    kept = torch.load(tmp_path / "last.pt")
    assert (kept["changes"], kept["processor"], "commit" in kept) == ([], "an abacus", False)


def test_mixing_blends_whole_targets(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe, tmp_path, cpu=True)
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 32, 32).clone()
    target = torch.eye(4)
    mixed, blended = trainer._mix(x.clone(), target)
    torch.testing.assert_close(blended.sum(1), torch.ones(4))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), blended @ torch.arange(4.0))
    again, _ = trainer._mix(x.clone(), target)
    assert torch.equal(mixed, again)


class Certain(nn.Module):
    """A teacher that gives tench (class 0 of ImageNet) logit 3 and church (497) logit 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 1000)
        logits[:, 0], logits[:, 497] = 3.0, 1.0
        return logits


@pytest.mark.slow
def test_soft_labels_of_a_teacher_enter_the_target(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "create_teacher", lambda name: (Certain(), 16, 0.5, 0.5))
    given = {**settings, "teacher": "toy", "distill": 0.25, "temperature": 2.0, "label_smoothing": 0.2}
    with pytest.raises(ValueError, match="teacher_labels"):
        Trainer(from_dict(given), tmp_path / "run", cpu=True)
    given["teacher_labels"] = str(tmp_path / "soft.npy")
    soft = Trainer(from_dict(given), tmp_path / "run", cpu=True).soft
    p = 1 / (1 + np.exp(-1))  # a difference of 2 at temperature 2
    expected = 0.75 * torch.tensor([0.9, 0.1]) + 0.25 * torch.tensor([p, 1 - p])
    torch.testing.assert_close(soft[0], expected.float())
    np.save(given["teacher_labels"], np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"is \(3, 2\), expected \(24, 2\)"):
        Trainer(from_dict(given), tmp_path / "run", cpu=True)


@pytest.mark.slow
def test_maps_of_a_teacher_enter_the_loss_and_survive_a_kill(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "maps.npy"
    given = {**settings, "transform": "light", "mixup": 0, "cutmix": 0, "teacher_maps": str(path)}
    with pytest.raises(ValueError, match="no teacher maps at"):
        Trainer(from_dict(given), tmp_path / "run", cpu=True)
    rng = np.random.default_rng(0)
    np.save(path, rng.normal(size=(24, 4, 4, 2)).astype(np.float16))
    with pytest.raises(ValueError, match=r"is \(24, 4, 4, 2\), expected \(24, h, w, more than 2 channels\)"):
        Trainer(from_dict(given), tmp_path / "run", cpu=True)
    np.save(path, rng.normal(size=(24, 4, 4, 5)).astype(np.float16))
    whole = Trainer(from_dict(given), tmp_path / "whole", cpu=True)
    before = whole.reader.weight.clone()
    whole.fit()
    assert not torch.equal(before, whole.reader.weight)
    trainer = Trainer(from_dict(given), tmp_path / "run", cpu=True)
    kill_at(trainer, 3, monkeypatch)
    resumed = Trainer(from_dict(given), tmp_path / "run", cpu=True)
    resumed.fit()
    assert states_equal(finished(tmp_path / "run")[0], finished(tmp_path / "whole")[0])
    assert torch.equal(resumed.reader.weight, whole.reader.weight)


def test_another_number_of_classes_is_refused(settings: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 2 classes; the recipe says num_classes=5"):
        Trainer(from_dict({**settings, "num_classes": 5}), tmp_path, cpu=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adamm"}, r"optimizer 'adamm' cannot be used .*; did you mean adamw?"),
        (
            {"model_args": {"wdth": 3}},
            r"model_args {'wdth': 3} do not fit crossformer_nano: .*argument 'wdth'",
        ),
        ({"model_args": {"depths": 3}}, "model_args {'depths': 3} do not fit crossformer_nano"),
        ({"auto_augment": "wild"}, "auto_augment 'wild' is not a policy of timm"),
        ({"auto_augment": "rand-m9-far1"}, "auto_augment 'rand-m9-far1' is not a policy of timm"),
    ],
)
def test_names_unknown_to_timm_are_refused(
    change: dict, message: str, settings: dict, tmp_path: Path
) -> None:
    """A wrong argument of the model or name of a policy used to end in a traceback."""
    with pytest.raises(ValueError, match=message):
        Trainer(from_dict({**settings, **change}), tmp_path / "run", cpu=True)


@pytest.mark.slow
def test_a_recipe_that_shortens_the_current_epoch_is_refused(
    settings: dict, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = Trainer(recipe, tmp_path, cpu=True)
    trainer.step = trainer.step_in_epoch = 2
    trainer.save()
    shorter = [{"size": 32, "group_size": 2, "epochs": 1, "steps": 2}]
    with pytest.raises(ValueError, match="is at step 2 of epoch 1, which has 2 steps"):
        Trainer(from_dict({**settings, "phases": shorter}), tmp_path, cpu=True)


@pytest.mark.slow
def test_a_run_that_diverges_stops_and_keeps_the_last_finite_state(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to run to its end with exit code 0 and save a checkpoint full of NaN."""
    trainer = Trainer(from_dict(settings), tmp_path / "run", cpu=True)
    step = trainer._step

    def poisoned(*args: torch.Tensor) -> torch.Tensor:
        loss = step(*args)
        return loss * torch.nan if trainer.step == 3 else loss

    monkeypatch.setattr(trainer, "_step", poisoned)
    with pytest.raises(
        ValueError, match=r"by step 3 \(epoch 1, learning rate .*last.pt keeps step 2; lower lr"
    ):
        trainer.fit()
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["step"] == 2
    assert all(value.isfinite().all() for value in state["model"].values() if value.is_floating_point())
    assert Trainer(from_dict(settings), tmp_path / "run", cpu=True).step == 2


def test_weights_that_diverge_are_not_saved(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**settings, "lr": 1e30, "warmup_epochs": 0, "checkpoint_minutes": 5, "clip_grad": None}
    config = tmp_path / "wild.yaml"
    config.write_text(yaml.safe_dump(given))
    assert main(["train", "--config", str(config), "--out", str(tmp_path / "run"), "--cpu"]) == 2
    said = capsys.readouterr().err
    assert "stopped being finite numbers" in said
    assert "nothing was saved yet" in said
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.slow
def test_states_that_cannot_be_resumed_are_refused(settings: dict, tmp_path: Path) -> None:
    made = from_dict(settings)
    trainer = Trainer(made, tmp_path, cpu=True)
    trainer.save()
    path = tmp_path / "last.pt"
    whole, state = path.read_bytes(), torch.load(path, weights_only=True)
    for content in (b"", whole[: len(whole) // 2], b"\x80\x02rest"):
        path.write_bytes(content)
        for attempt in (lambda: Trainer(made, tmp_path, cpu=True), lambda: load_run(tmp_path)):
            with pytest.raises(ValueError, match=r"last.pt is damaged or incomplete"):
                attempt()
    torch.save({"weights": 1}, path)
    with pytest.raises(ValueError, match="is not the state of a training run"):
        Trainer(made, tmp_path, cpu=True)
    torch.save({**state, "model": {"x": torch.tensor([torch.nan])}}, path)
    with pytest.raises(ValueError, match="are not finite numbers"):
        load_run(tmp_path)
    torch.save({**state, "classes": ["cat", "dog"]}, path)
    with pytest.raises(ValueError, match="was trained on other classes"):
        Trainer(made, tmp_path, cpu=True)
    path.write_bytes(whole)
    wider = {**settings["model_args"], "embed_dim": 32}
    with pytest.raises(ValueError, match=r"saved by a run with another recipe \(.*size mismatch"):
        Trainer(from_dict({**settings, "model_args": wider}), tmp_path, cpu=True)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not a folder"):
        Trainer(made, tmp_path / "file", cpu=True)


@pytest.mark.slow
def test_a_moving_average_may_start_when_a_run_is_resumed(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Trainer(from_dict({**settings, "ema_decay": 0}), tmp_path, cpu=True)
    first.step = 1
    first.save()
    with torch.no_grad():
        next(first.bare.parameters()).add_(1)
    first.save()
    then = Trainer(from_dict(settings), tmp_path, cpu=True)
    assert "the moving average starts here" in capsys.readouterr().out
    assert states_equal(then.ema.module.state_dict(), first.bare.state_dict())


def test_too_few_photos_for_a_batch_are_refused(settings: dict, tmp_path: Path) -> None:
    """This used to end in an assertion of the scheduler."""
    with pytest.raises(ValueError, match=r"gives \d+ photos to train on .* lower batch_size"):
        Trainer(from_dict({**settings, "batch_size": 64}), tmp_path, cpu=True)


@pytest.mark.slow
def test_a_teacher_of_other_photos_is_refused(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "create_teacher", lambda name: (Certain(), 16, 0.5, 0.5))
    given = {**settings, "teacher": "toy", "teacher_labels": str(tmp_path / "soft.npy")}
    Trainer(from_dict(given), tmp_path / "run", cpu=True)
    other = tmp_path / "photos"
    shutil.copytree(settings["data"], other)
    Trainer(from_dict({**given, "data": str(other)}), tmp_path / "run", cpu=True)  # a copy of the same photos
    next(other.rglob("03.png")).rename(next(other.rglob("03.png")).with_name("99.png"))
    with pytest.raises(ValueError, match=r"soft.npy was made for other photos"):
        Trainer(from_dict({**given, "data": str(other)}), tmp_path / "run", cpu=True)


def test_the_folded_stem_computes_the_same(recipe: Recipe) -> None:
    model = build_model(recipe).eval()
    parameters = dict(model.named_parameters())
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        plain = model(x)
        state = torch.get_rng_state()
        folded = fold_stem(model)(x)
    torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-6)
    assert {name: id(p) for name, p in model.named_parameters()} == {n: id(p) for n, p in parameters.items()}
    assert torch.equal(torch.get_rng_state(), state), "the weights of the student must not depend on it"


@pytest.mark.slow
def test_a_run_computes_in_bfloat16_where_the_device_multiplies_it_and_keeps_its_format(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was bfloat16 everywhere: with AVX2 alone, a forward takes five times as long as in float32."""
    free = replace(recipe, precision="auto")
    for has, wanted in (({"avx2": True}, "no"), ({"avx2": True, "avx512_bf16": True}, "bf16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert precision_of(free, tmp_path, cpu=True) == wanted
        for said in ("no", "bf16"):
            assert precision_of(replace(recipe, precision=said), tmp_path, cpu=True) == said
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    first = Trainer(free, tmp_path, cpu=True)
    first.save()
    assert first.recipe.precision == "no"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert precision_of(free, tmp_path, cpu=True) == "no", "as it began"
    then = Trainer(free, tmp_path, cpu=True)
    assert (then.recipe.precision, then.changes) == ("no", [])
    assert load_run(tmp_path)[1]["recipe"]["precision"] == "no"


# --- whole processes -------------------------------------------------------------------------------------


def command(config: Path, out: Path) -> list[str]:
    return ["-m", "cfviz", "train", "--config", str(config), "--out", str(out), "--cpu", "--threads", "1"]


@pytest.fixture
def config(settings: dict, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_weights(config: Path, tmp_path: Path, warm: Warm) -> None:
    for out in ("whole", "killed"):
        process = warm.popen(command(config, tmp_path / out), env=ENVIRONMENT)
        if out == "whole":
            assert process.wait(300) == 0
            continue
        while not (tmp_path / "killed" / "last.pt").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    warm.run(command(config, tmp_path / "killed"), env=ENVIRONMENT, check=True)
    for one, other in zip(finished(tmp_path / "whole"), finished(tmp_path / "killed"), strict=True):
        assert states_equal(one, other)


@pytest.mark.slow(6)
def test_two_processes_follow_the_curve_of_one(settings: dict, tmp_path: Path, warm: Warm) -> None:
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump({**settings, "drop_path": 0.0, "warmup_epochs": 0}))
    one, two = tmp_path / "one", tmp_path / "two"
    warm.run(command(config, one), env=ENVIRONMENT, check=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = {**ENVIRONMENT, "PYTHON_EXEC": warm.executable}
    warm.run([*launcher, *command(config, two)], env=env, check=True)
    curves = []
    for run in (one, two):
        with (run / "log.csv").open(newline="") as file:
            curves.append([[float(row["loss"]), float(row["held_out_loss"])] for row in csv.DictReader(file)])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)
    assert load_run(one)[1]["step"] == load_run(two)[1]["step"]
