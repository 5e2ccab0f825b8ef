"""Linear probes: they find what is there, go on where they stopped, and belong to one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from cfviz.cli import main
from cfviz.models.probes.linear import ABOUT, FOLDER, normalised, open_probes
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.run import inspect
from cfviz.training import probes

from .conftest import CLASSES


def test_a_probe_finds_two_clouds_apart_and_nothing_where_nothing_is() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    noise = torch.randn(400, 6, generator=random)
    apart = noise + 4 * labels[:, None] * torch.eye(6)[1]  # the classes differ in one channel
    weight, bias = probes.fit(apart, labels, 2, 1e-3)
    assert ((apart @ weight.T + bias).argmax(1) == labels).float().mean() > 0.95
    assert int((weight[1] - weight[0]).abs().argmax()) == 1
    weight, bias = probes.fit(noise[:200], labels[:200], 2, 1e-1)
    new = torch.randn(2000, 6, generator=random)
    assert abs(((new @ weight.T + bias).argmax(1) == torch.arange(2000) % 2).float().mean() - 0.5) < 0.06


def test_photos_come_in_rounds_and_a_higher_limit_goes_on() -> None:
    labels = np.repeat([0, 1, 2], [4, 6, 9])
    few, every = probes.order_of(labels, 2), probes.order_of(labels)
    assert list(every[:6]) == list(few)
    assert sorted(labels[few]) == [0, 0, 1, 1, 2, 2]
    assert sorted(every) == list(range(19))


def test_the_mean_of_tokens_has_bounds_over_photos() -> None:
    tokens = np.zeros((2, 4, 2), np.float16)
    tokens[0, :, 1], tokens[1, :2, 1] = 1, 1  # of the second photo, half are taken for class 1
    held = probes.Features({}, {"b": tokens}, np.array([1, 0]), {})
    weight, bias = torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([0.5, 0.0])
    found = probes.measured(weight, bias, held, "token", "b")
    assert (found["n"], found["value"]) == (2, 0.75)
    assert found["low"] < 0.75 < found["high"] <= 1


@pytest.fixture
def weights(tiny_model, tmp_path: Path) -> Path:
    """The file of a small model with two classes."""
    model = tiny_model(num_classes=2)
    args = {"num_classes": 2, "embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
    path = tmp_path / "small.safetensors"
    facts: dict[str, Any] = {"variant": "crossformer_nano", "model_args": args, "classes": list(CLASSES)}
    write_checkpoint(path, model.state_dict(), img_size=64, **facts)
    return path


@pytest.mark.slow
def test_the_command_learns_measures_and_resumes(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """The classes differ in colour, which the first block passes on: its probe is right on every photo."""
    out, run = tmp_path / "probes.safetensors", tmp_path / "run"
    command = ["probes", "--data", str(photos), "--val", str(photos), "--weights", str(weights)]
    command += ["--size", "64", "--run", str(run), "--out", str(out)]
    monkeypatch.setattr(probes, "PART", 8)
    assert main([*command, "--limit", "8", "--val-limit", "8"]) == 0
    made = {path: path.stat().st_mtime_ns for path in run.rglob("*.npz")}
    assert len(made) == 4
    assert main(command) == 0
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())
    found = open_probes(out)
    assert len(found.points) == 8
    assert found.accuracy(0, 0)["value"] == 1
    assert found.accuracy(0, 0)["n"] == 24
    card = out.with_suffix(".md").read_text("utf-8")
    assert "24 validation photos; chance is 50.0%" in card
    assert "- Files to measure on: 24 of 24 files used\n" in card
    assert "| 1.1 | 100.0 % |" in card

    photo = next((photos / CLASSES[1]).iterdir())
    trace = inspect(photo, _opened(weights), 64, watch=found.points)
    first, *_ = read = found.read(trace)
    assert [(one.stage, one.block) for one in read] == [(s, b) for s in range(4) for b in range(2)]
    assert first.photo.argmax() == 1
    assert first.tokens.shape == (16, 16, 2)
    assert np.allclose(first.tokens.sum(-1), 1)
    flat = normalised(trace[found.points[0]])
    torch_flat = probes.normalised(torch.from_numpy(trace[found.points[0]].copy()))
    assert np.allclose(flat, torch_flat.numpy(), atol=1e-5)

    other = inspect(photo, "crossformer_nano", 64, watch=found.points[:2])
    with pytest.raises(ValueError, match="made for other weights"):
        found.read(other)
    capsys.readouterr()
    assert main([*command[:-6], "--size", "32", "--run", str(run), "--out", str(out)]) == 2
    assert "features of other photos or weights" in capsys.readouterr().err


@pytest.mark.slow
def test_too_few_photos_and_broken_ones_are_refused_in_a_sentence(
    photos: Path, weights: Path, tmp_path: Path, capsys
) -> None:
    command = ["probes", "--weights", str(weights), "--size", "64", "--out", str(tmp_path / "p.safetensors")]
    few = ["--data", str(photos), "--val", str(photos), "--limit", "2", "--run", str(tmp_path / "few")]
    assert main([*command, *few]) == 2
    assert "got 4 photos to learn from and 24 to measure on; expected at least 10" in capsys.readouterr().err
    for name in CLASSES:
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "a.png").write_bytes(next((photos / name).iterdir()).read_bytes()[:200])
    broken = ["--data", str(tmp_path / "broken"), "--val", str(photos), "--run", str(tmp_path / "none")]
    assert main([*command, *broken]) == 2
    assert "none of these 2 photos can be read" in capsys.readouterr().err
    wrong = ["--data", str(photos), "--val", str(photos), "--run", str(tmp_path / "x"), "--out", "p.bin"]
    assert main([*command, *wrong]) == 2
    assert "a name that ends in .safetensors" in capsys.readouterr().err


@pytest.mark.slow
def test_photos_left_out_are_counted_and_named(photos: Path, weights: Path, tmp_path: Path, capsys) -> None:
    """A photo that broke off was left out of what was learned and measured, and nothing said so."""
    mixed, out = tmp_path / "mixed", tmp_path / "p.safetensors"
    shutil.copytree(photos, mixed)
    whole = next((mixed / CLASSES[0]).iterdir())
    (mixed / CLASSES[0] / "broken.png").write_bytes(whole.read_bytes()[:200])
    command = ["probes", "--weights", str(weights), "--size", "64", "--out", str(out)]
    command += ["--data", str(photos), "--val", str(mixed), "--run", str(tmp_path / "run")]
    for _ in range(2):  # computed, and read again
        assert main(command) == 0
        said = capsys.readouterr().err
        assert f"{mixed}: 24 of 25 files used, 1 skipped:" in said
        assert "broken.png: " in said
    card = out.with_suffix(".md").read_text("utf-8")
    assert "- Files to learn from: 24 of 24 files used\n" in card
    assert "- Files to measure on: 24 of 25 files used, 1 skipped:\n" in card
    (part,) = (tmp_path / "run" / "val").glob("*.npz")
    with np.load(part) as file:
        kept = {name: file[name] for name in file.files if name != "readable"}
    np.savez(part, **kept)  # as an earlier version wrote it
    assert main(command) == 2
    assert "does not say which photos it left out" in capsys.readouterr().err


def _opened(weights: Path) -> Any:
    from cfviz.models.factory import create_model

    return create_model("crossformer_nano", weights)


def test_a_file_that_holds_no_probes_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no linear probes"):
        open_probes(weights)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be opened as linear probes"):
        open_probes(broken)


@pytest.mark.parametrize("lost", ["classes", "blocks", "weights", "size", "learned", "measured", "accuracy"])
def test_probes_whose_facts_are_incomplete_are_refused(lost: str, tmp_path: Path) -> None:
    bundled = next(FOLDER.glob("*.safetensors"))
    with safe_open(bundled, "numpy") as file:
        about = json.loads(file.metadata()[ABOUT])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del about[lost]
    path = tmp_path / "damaged.safetensors"
    save_file(tensors, path, metadata={ABOUT: json.dumps(about)})
    with pytest.raises(ValueError, match=r"is damaged: its facts are incomplete"):
        open_probes(path)
