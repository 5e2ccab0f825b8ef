"""Starting from weights, layers drawn anew, separate learning rates, and batches in parts."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import cfviz.models.registry  # noqa: F401
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.training.engine import Trainer
from cfviz.training.recipe import Recipe, from_dict
from cfviz.training.start import build_model, groups_of, make_optimizer, settled

NANO = {"model": "crossformer_nano", "model_args": {}, "num_classes": 20}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a nano with another seed."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_file(timm.create_model("crossformer_nano", num_classes=20).state_dict(), str(path))
    return path


@pytest.mark.slow
def test_a_run_starts_from_weights_and_draws_only_named_layers_anew(recipe: Recipe, weights: Path) -> None:
    start = replace(recipe, **NANO, start_weights=str(weights))
    kept = build_model(start).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in load_file(weights).items())
    redrawn = build_model(replace(start, redraw=["layers.0.blocks.*.attn.pos.*"])).state_dict()
    changed = {name for name in kept if not torch.equal(kept[name], redrawn[name])}
    linear = {name for name in kept if name.startswith("layers.0") and ".attn.pos." in name}
    norms = {name for name in linear if name.split(".")[-2] == "0"}  # a LayerNorm starts at one and zero
    assert changed == linear - norms


@pytest.mark.slow
@pytest.mark.parametrize(("given", "lda"), [({}, "whole"), ({"lda": "regions"}, "regions")])
def test_initial_weights_keep_their_form_of_attention_unless_the_recipe_names_one(
    recipe: Recipe, weights: Path, tmp_path: Path, given: dict[str, str], lda: str
) -> None:
    path = tmp_path / "whole.safetensors"
    write_checkpoint(path, load_file(weights), lda="whole")
    start = replace(recipe, **{**NANO, "model_args": given}, start_weights=str(path))
    assert build_model(start).lda == lda


def test_a_phase_names_its_form_of_attention_and_null_takes_the_runs(
    recipe: Recipe, weights: Path, tmp_path: Path
) -> None:
    """What a phase leaves out does not depend on the phase before it: a resumed run computes the same."""
    phases = [{"size": 64, "group_size": 7, "epochs": 1, "interval": "adaptive", "lda": "whole"}]
    phases.append({"size": 64, "group_size": 7, "epochs": 1})
    made = from_dict({"data": "photos", "phases": phases})
    assert [groups_of(made, phase) for phase in made.phases] == [
        (7, "adaptive", "whole"), (7, (8, 4, 2, 1), "regions"),
    ]  # fmt: skip
    path = tmp_path / "whole.safetensors"
    write_checkpoint(path, load_file(weights), lda="whole")
    onward = settled(replace(made, start_weights=str(path)))
    assert groups_of(onward, made.phases[1])[2] == "whole"
    assert onward.model_args == {"lda": "whole"}, "so that last.pt, card and exported weights say it"
    for given in ({}, {"lda": "regions"}):
        same = replace(made, model_args=given, start_weights=str(weights))
        assert settled(same) is same


def test_weights_that_do_not_fit_are_refused(recipe: Recipe, weights: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        build_model(replace(recipe, **NANO, start_weights=str(weights), position_bias="rpb"))
    with pytest.raises(ValueError, match="ships no weights: name official:crossformer_small"):
        build_model(replace(recipe, start_weights="crossformer_small"))
    with pytest.raises(ValueError, match=r"layers\.9"):
        build_model(replace(recipe, redraw=["layers.9.*"]))


def test_the_position_bias_can_have_its_own_learning_rate(recipe: Recipe) -> None:
    model = build_model(replace(recipe, position_lr=5.0))
    optimizer = make_optimizer(replace(recipe, position_lr=5.0), model)
    names = {id(p): name for name, p in model.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            seen[names[id(p)]] = group["lr_scale"], group["weight_decay"]
    assert seen.keys() == {name for name, _ in model.named_parameters()}
    assert {scale for name, (scale, _) in seen.items() if ".attn.pos." in name} == {5.0}
    assert {scale for name, (scale, _) in seen.items() if ".attn.pos." not in name} == {1.0}
    assert seen["head.weight"][1] == recipe.weight_decay
    assert seen["head.bias"][1] == 0.0


@pytest.mark.parametrize("kind", ["dpb", "rpb"])
def test_muon_leaves_position_biases_to_adamw(recipe: Recipe, kind: str) -> None:
    model = build_model(replace(recipe, position_bias=kind))
    optimizer = make_optimizer(replace(recipe, optimizer="muon"), model)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    muon = {name for name, p in model.named_parameters() if "momentum_buffer" in optimizer.state[p]}
    adamw = {name for name, p in model.named_parameters() if "exp_avg" in optimizer.state[p]}
    assert muon | adamw == {name for name, _ in model.named_parameters()}
    assert {name for name in muon if ".qkv.weight" in name} == {
        name for name, _ in model.named_parameters() if ".qkv.weight" in name
    }
    assert not {name for name in muon if ".attn.pos." in name}


@pytest.mark.slow
def test_a_batch_in_parts_has_the_same_gradient(recipe: Recipe, tmp_path: Path) -> None:
    plain = replace(recipe, drop_path=0.0)
    x, box, index = torch.randn(4, 3, 32, 32), torch.zeros(4, 4), torch.arange(4)
    found = []
    for size in (None, 3):
        trainer = Trainer(replace(plain, micro_batch=size), tmp_path / str(size), cpu=True)
        trainer.model.train()
        loss = trainer._gradients(x, trainer.soft[index], box, index)
        found.append((loss, {name: p.grad for name, p in trainer.bare.named_parameters()}))
    torch.testing.assert_close(found[0][0], found[1][0])
    for name, grad in found[0][1].items():
        torch.testing.assert_close(grad, found[1][1][name], rtol=1e-4, atol=1e-6, msg=name)
