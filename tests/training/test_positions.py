"""A run records its position biases while they learn: each step once, however often the run is stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cfviz.models.crossformer.model import DynamicPosBias
from cfviz.training import positions
from cfviz.training.engine import Trainer
from cfviz.training.positions import NAME, Positions, Recorder, read
from cfviz.training.recipe import Recipe


class Model(nn.Module):
    """A block whose position bias is named as in a CrossFormer, and a layer that is not recorded."""

    def __init__(self) -> None:
        super().__init__()
        attn = nn.ModuleDict({"pos": DynamicPosBias(32, 2), "qkv": nn.Linear(4, 4)})
        self.layers = nn.ModuleList([nn.ModuleDict({"attn": attn})])

    @property
    def attn(self) -> nn.ModuleDict:
        return self.layers[0]["attn"]

    def learn(self) -> None:
        with torch.no_grad():
            for value in self.parameters():
                value += 1


def recorder(folder: Path, every: int = 2, last: int = 9, told: list | None = None) -> Recorder:
    return Recorder(folder, {"run": 1}, every, last, (told if told is not None else []).append)


def trained(folder: Path, steps: int, start: int = 0, every: int = 2) -> Positions:
    """What a run of a model that starts at `start` has recorded after some steps."""
    model, made = Model(), recorder(folder, every)
    made.resume(start, model)
    for step in range(start + 1, steps + 1):
        model.learn()
        made.note(step, model)
        if step % 3 == 0:
            made.measured(step, step / 10)
    made.write()
    return read(folder / NAME)


def test_position_biases_are_recorded_with_accuracy_at_their_own_steps(tmp_path: Path) -> None:
    found = trained(tmp_path, 9)
    assert found.steps.tolist() == [0, 2, 4, 6, 8, 9]  # the last is recorded too
    assert found.held_steps.tolist() == [3, 6, 9]
    assert np.allclose(found.held_top1, [0.3, 0.6, 0.9])
    assert found.facts == {"run": 1, "every": 2}
    assert all(".attn.pos." in name for name in found.parameters)
    weight = found.parameters["layers.0.attn.pos.pos_proj.weight"]
    assert weight.shape == (6, 2, 2)
    assert np.allclose(weight - weight[:1], found.steps[:, None, None])


def test_a_run_that_resumes_goes_on_with_the_file_and_doubles_no_step(tmp_path: Path) -> None:
    """The run got to step 7 and recorded 6; `last.pt` has step 5."""
    trained(tmp_path, 7)
    found = trained(tmp_path, 9, start=5)
    assert found.steps.tolist() == [0, 2, 4, 6, 8, 9]
    assert found.held_steps.tolist() == [3, 6, 9]


def test_a_new_run_in_an_old_folder_replaces_the_file(tmp_path: Path) -> None:
    trained(tmp_path, 9)
    assert trained(tmp_path, 2).steps.tolist() == [0, 2]


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_record_never_ends_a_run(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=f"{NAME} is not the {NAME} of a training run"):
        read(tmp_path / NAME)
    told: list[str] = []
    made = recorder(tmp_path, told=told)
    made.resume(4, Model())
    assert made.steps == [4]
    assert len(told) == 1
    assert "begins anew at step 4" in told[0]


def test_the_record_of_another_model_is_not_continued(tmp_path: Path) -> None:
    trained(tmp_path, 4)
    other, told = Model(), []
    other.attn["pos"] = DynamicPosBias(64, 2)
    made = recorder(tmp_path, told=told)
    made.resume(4, other)
    assert made.steps == [4]
    assert "has other parameters than the model" in told[0]


def test_a_long_run_keeps_every_second_record_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "MOST", 4)
    found = trained(tmp_path, 9, every=1)
    assert found.steps.tolist() == [0, 4, 8, 9]
    assert found.facts["every"] == 4
    again = trained(tmp_path, 9, start=4, every=1)  # the pause is kept, not begun anew
    assert again.steps.tolist() == [0, 4, 8, 9]


def test_numbers_that_are_not_finite_are_not_recorded(tmp_path: Path) -> None:
    model, made = Model(), recorder(tmp_path, every=1)
    made.resume(0, model)
    model.attn["pos"].pos_proj.weight.data.fill_(float("nan"))
    made.note(1, model)
    assert made.steps == [0]


def test_a_model_without_a_position_bias_leaves_no_file(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    made.resume(0, nn.Linear(2, 2))
    made.measured(1, 0.5)
    made.write()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    told: list[str] = []
    made = recorder(tmp_path, told=told)
    made.resume(0, Model())
    with monkeypatch.context() as patch:
        patch.setattr(positions, "save_file", full)
        made.write()
    assert "No space left on device" in told[0]
    made.write()  # it is tried again
    assert read(tmp_path / NAME).steps.tolist() == [0]


def test_half_precision_is_close_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    found = trained(tmp_path, 4)
    found.write(tmp_path / "half", np.float16)
    for name, value in read(tmp_path / "half").parameters.items():
        assert value.dtype == np.float16
        assert np.allclose(value, found.parameters[name], rtol=5e-4, atol=1e-7)
    large = {name: value + 1e6 for name, value in found.parameters.items()}
    with pytest.raises(ValueError, match="too large for float16"):
        replace(found, parameters=large).write(tmp_path / "large", np.float16)


def test_steps_out_of_order_are_refused(tmp_path: Path) -> None:
    found = trained(tmp_path, 4)
    with pytest.raises(ValueError, match="occur twice"):
        replace(found, steps=np.asarray([0, 2, 2]))
    with pytest.raises(ValueError, match="expected each parameter as often"):
        replace(found, steps=np.asarray([0, 2]))


class Killed(BaseException):
    """Stands for a machine that goes away."""


@pytest.mark.slow
def test_a_training_that_is_killed_records_what_an_undisturbed_one_does(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, position_every=1)
    Trainer(recipe, tmp_path / "whole", cpu=True).fit()
    whole = read(tmp_path / "whole" / NAME)
    trainer = Trainer(recipe, tmp_path / "run", cpu=True)
    step, save = trainer._step, trainer.save

    def fragile(*args: torch.Tensor) -> torch.Tensor:
        if trainer.step == 2:
            trainer.positions.write()  # as if the machine went away between the two files
            raise Killed
        loss = step(*args)
        if trainer.step == 1:
            save()
        return loss

    monkeypatch.setattr(trainer, "_step", fragile)
    monkeypatch.setattr(trainer, "save", lambda: None)
    with pytest.raises(Killed):
        trainer.fit()
    assert read(tmp_path / "run" / NAME).steps.tolist() == [0, 1, 2]
    Trainer(recipe, tmp_path / "run", cpu=True).fit()
    found = read(tmp_path / "run" / NAME)
    assert found.steps.tolist() == whole.steps.tolist() == list(range(len(whole.steps)))
    assert found.held_steps.tolist() == whole.held_steps.tolist()
    assert found.held_top1.tolist() == whole.held_top1.tolist()
    for name, value in whole.parameters.items():
        assert np.array_equal(found.parameters[name], value), name
    assert found.facts["data"] == whole.facts["data"]
    assert str(tmp_path) not in str(found.facts)
