"""The parts of a logit add up to it, and each is what the stream would lack without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cfviz.hooks import capture, edit
from cfviz.models.factory import create_model
from cfviz.models.probes.logit_parts import LogitParts, Part, logit_parts

COOLED = {"cooling": True, "depths": (4, 1, 1, 4)}  # cooling layers in the first and the last stage


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))


def total(found: LogitParts, stage: int = 0) -> float:
    return sum(part.value for part in found.since(stage))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        COOLED,
        {"global_pool": "max"},
        {"global_pool": "avgmax"},
        {"position_bias": "rpb", "lda": "whole"},
        {"group_size": 3},
    ],
    ids=str,
)
def test_the_parts_add_up_to_the_logit(tiny_model, photo, settings: dict[str, Any]) -> None:
    model = tiny_model(**settings)
    with torch.inference_mode():
        logits = model(photo[None])[0].numpy()
    for minus in (None, 5):
        found = logit_parts(model, photo, 3, minus)
        wanted = float(logits[3]) - (float(logits[5]) if minus is not None else 0)
        assert found.logit == pytest.approx(wanted, abs=1e-6)
        assert abs(found.rest) < 1e-5
        for stage in range(4):
            assert total(found, stage) == pytest.approx(wanted, abs=1e-5)


def test_the_sum_can_begin_at_any_stage_that_there_is(tiny_model, photo) -> None:
    found = logit_parts(tiny_model(), photo, 0)
    assert [part.map.shape for part in found.passed] == [(8, 12)] * 2 + [(4, 6)] * 2 + [(2, 3)] * 2
    assert {part.stage for part in found.since(2)} == {2, 3, None}
    with pytest.raises(ValueError, match="the stage is 4; expected 0 to 3"):
        found.since(4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_tiny", "crossformer_pp_small"])
@pytest.mark.parametrize("size", [(224, 224), (160, 288)])
def test_the_variants_add_up(name: str, size: tuple[int, int]) -> None:
    model = create_model(name, weights="auto" if name == "crossformer_nano" else None)
    photo = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    found = logit_parts(model, photo, 7)
    assert abs(found.rest) < 1e-4
    assert total(found, 3) == pytest.approx(found.logit, abs=1e-4)


def test_two_layers_that_write_the_same_share_the_logit(tiny_model, photo) -> None:
    """One MLP writes v and a later one 2v, and nothing else writes: the logit is divided 1 to 2."""
    model = tiny_model()
    v = torch.randn(128, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for merging in (model.patch_embed, *(stage.downsample for stage in model.stages[:3])):
            for conv in getattr(merging, "projs", None) or merging.reductions:
                nn.init.zeros_(conv.weight)
                nn.init.zeros_(conv.bias)
        for stage in model.stages:
            for block in stage.block_list:
                for layer in (block.attn.proj, block.mlp.fc2):
                    nn.init.zeros_(layer.weight)
                    nn.init.zeros_(layer.bias)
        model.stages[3].block_list[0].mlp.fc2.bias.copy_(v)
        model.stages[3].block_list[1].mlp.fc2.bias.copy_(2 * v)
        model.head.bias.fill_(0.25)
    found = logit_parts(model, photo, 4)
    row = model.head.weight[4].detach().double()
    wanted = float(row @ torch.nn.functional.layer_norm(v.double() * 3, (128,), eps=1e-5))
    values = {(p.kind, p.stage, p.block): p.value for p in found.parts if abs(p.value) > 1e-9}
    assert values == {
        ("mlp", 3, 0): pytest.approx(wanted / 3, abs=1e-6),
        ("mlp", 3, 1): pytest.approx(2 * wanted / 3, abs=1e-6),
        ("bias", None, None): pytest.approx(0.25),
    }
    maps = [part.map for part in found.parts if part.kind == "mlp" and part.stage == 3]
    assert all(np.ptp(one) < 1e-9 for one in maps)  # the same from each token


class Held(nn.Module):
    """A LayerNorm that divides by a deviation given once and for all."""

    def __init__(self, norm: nn.LayerNorm, x: torch.Tensor) -> None:
        super().__init__()
        self.deviation = (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        self.gain, self.shift = norm.weight, norm.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(-1, keepdim=True)) / self.deviation * self.gain + self.shift


def without(model: Any, photo: torch.Tensor, part: Part) -> float:
    """The change of a logit if a part is not added to the stream, norms and all other parts held."""
    norms = {"patch_embed.norm": model.patch_embed.norm, "norm": model.norm}
    norms |= {f"layers.{s}.downsample.norm": model.stages[s].downsample.norm for s in range(3)}
    norms |= {name: one for name, one in model.named_modules() if name.endswith("ex_ln")}
    inputs: dict[str, torch.Tensor] = {}
    hooks = [
        norm.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0].clone()}))
        for name, norm in norms.items()
    ]
    with torch.no_grad(), capture(model, "layers.*.blocks.*.*_branch", "*.attn.heads") as seen:
        before = model(photo[None])[0, 3]
    for hook in hooks:
        hook.remove()
    for name, norm in norms.items():
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, Held(norm, inputs[name]))
    held = {name: (lambda x, kept=kept: kept) for name, kept in seen.items() if name.endswith("_branch")}
    place = f"layers.{part.stage}.blocks.{part.block}."
    if part.kind == "mlp":
        held[f"{place}mlp_branch"] = torch.zeros_like
    if part.kind == "kernel":
        held[f"patch_embed.kernels.{part.index}"] = torch.zeros_like
    if part.kind == "head":
        del held[f"{place}attn_branch"]
        less = seen[f"{place}attn.heads"].clone()
        less[:, part.index] = 0
        held[f"{place}attn.heads"] = lambda x: less
    with torch.no_grad(), edit(model, held):
        return float(model(photo[None])[0, 3] - before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [("mlp", 0, 1, None), ("head", 0, 2, 0), ("head", 3, 0, 5), ("kernel", 0, None, 2), ("mlp", 3, 1, None)],
    ids=str,
)
def test_a_part_is_what_the_stream_lacks_without_it(tiny_model, golden_fill, photo, place: tuple) -> None:
    model = golden_fill(tiny_model(**COOLED))
    parts = logit_parts(model, photo, 3).parts
    (part,) = (p for p in parts if (p.kind, p.stage, p.block, p.index) == place)
    assert abs(part.value) > 1e-3
    assert without(model, photo, part) == pytest.approx(-part.value, abs=1e-5)


@pytest.mark.slow
def test_what_cannot_be_split_is_refused_in_a_sentence(tiny_model, photo) -> None:
    cases = [
        (tiny_model(num_classes=0), 0, "ends in LayerNorm, pooling 'avg' and Identity"),
        (tiny_model(global_pool=""), 0, "pooling ''"),
        (tiny_model(), 7, "target is 7; the model has classes 0 to 6"),
        (tiny_model().train(), 0, "training mode"),
    ]
    for model, target, reason in cases:
        with pytest.raises(ValueError, match=reason):
            logit_parts(model, photo, target)


def test_a_sum_that_misses_the_logit_is_refused(tiny_model, photo) -> None:
    model = tiny_model()
    with (
        edit(model, {"layers.1.blocks.0.attn_branch": lambda x: 2 * x}),  # what the heads do not explain
        pytest.raises(ValueError, match=r"the parts add up to .* and the logit is"),
    ):
        logit_parts(model, photo, 0)
