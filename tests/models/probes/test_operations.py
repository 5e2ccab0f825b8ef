"""The tree of operations: what a forward computes, counted by hand and by `cost`, and times that add up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cfviz.models.factory import create_model
from cfviz.models.probes.cost import cost
from cfviz.models.probes.operations import Operation, Operations, operations

BY_HEAD = {"lda": "whole", "interval": (1, 1, 1, 1)}  # groups of the whole map: attention head by head
CASES = [{}, {"cooling": True, "depths": (4, 1, 1, 1)}, {"position_bias": "rpb", "lda": "whole"}, BY_HEAD]


def photo(height: int = 64, width: int = 96, channels: int = 3) -> torch.Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(0))


def at(found: Operations, *path: str) -> Operation:
    return next(one for one in found.root.walk() if one.path == path)


def kept_bias(model: Any, found: Operations, height: int, width: int) -> int:
    """Multiply-adds of the position biases that the measured passes took from the cache."""
    total = 0
    for s, stage in enumerate(model.groupings(height, width)):
        for b, g in enumerate(stage):
            one = at(found, f"stage.{s}", f"block.{b}", "attn", "bias")
            if one.kind == "bias_kept":
                layers = (m for m in model.stages[s].block_list[b].attn.pos.modules() if type(m) is nn.Linear)
                total += (2 * g.Gh - 1) * (2 * g.Gw - 1) * sum(layer.weight.numel() for layer in layers)
    return total


def test_a_blocks_counts_and_shapes_by_hand(tiny_model: Callable[..., Any]) -> None:
    """Stage 1 of 64 x 96 px: 16 x 24 tokens of 16 channels, padded to 21 x 28, 12 groups of 49."""
    found = operations(tiny_model(), photo(), 3)
    C, tokens, BG, N = 16, 16 * 24, 12, 49

    def block(*path: str) -> Operation:
        return at(found, "stage.0", "block.0", *path)

    macs = {
        ("norm1",): 0, ("group",): 0, ("attn", "qkv"): BG * N * C * 3 * C,
        ("attn", "attend", "qk"): BG * N * N * C, ("attn", "attend", "softmax"): 0,
        ("attn", "attend", "weighted"): BG * N * N * C, ("attn", "proj"): BG * N * C * C,
        ("mlp", "fc1"): tokens * C * 4 * C, ("mlp", "fc2"): tokens * C * 4 * C, ("residual",): 0,
    }  # fmt: skip
    assert {path: block(*path).macs for path in macs} == macs
    assert block().macs == sum(macs.values())
    map_, groups, heads = (1, 16, 24, C), (BG, N, C), (BG, 1, N, C)
    shapes = {
        (): (map_, map_), ("norm1",): (map_, map_), ("group",): (map_, groups), ("attn",): (groups, groups),
        ("attn", "attend"): (heads, heads), ("ungroup",): (groups, map_), ("mlp",): (map_, map_),
        ("mlp", "fc1"): (map_, (1, 16, 24, 4 * C)),
    }  # fmt: skip
    assert {path: (block(*path).inputs[0], block(*path).output) for path in shapes} == shapes
    assert block("norm1").written == 4 * tokens * C
    assert block("attn", "qkv").written == 4 * BG * N * 3 * C
    assert block("attn", "attend", "softmax").written == 4 * BG * N * N
    assert block("residual").written == 2 * 4 * tokens * C
    assert block("attn", "qkv").params == 3 * C * C + 3 * C
    assert at(found, "stage.0", "cel", "conv.3").macs == tokens * 3 * 32 * 32 * C // 8
    assert at(found, "head", "classifier").macs == 8 * C * 7


@pytest.mark.parametrize("config", CASES, ids=str)
def test_counts_are_those_of_cost(tiny_model: Callable[..., Any], config: dict) -> None:
    model, (H, W) = tiny_model(**config), (96, 64)
    found, costs = operations(model, photo(H, W), 3), cost(model, H, W)
    assert found.root.macs + kept_bias(model, found, H, W) == costs["total"].macs
    assert found.root.params == costs["total"].params
    for s, stage in enumerate(found.stages):
        cel = at(found, f"stage.{s}", "cel")
        assert (cel.params, cel.macs) == (costs[f"cel.{s}"].params, costs[f"cel.{s}"].macs)
        assert stage.params == cel.params + costs[f"stage.{s}"].params
    kinds = {one.kind for one in found.root.walk()}
    assert {"model", "stage", "cel", "block", "norm", "attn", "qk", "softmax", "weighted", "mlp"} <= kinds
    assert ("cooling" in kinds) == bool(config.get("cooling"))
    assert not kinds & {
        "__len__",
        "add",
        "le",
        "mul",
        "__mul__",
        "baddbmm",
        "bmm",
        "_linear_pointwise",
    }  # nothing is left under the name that it has in PyTorch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_pp_small", "crossformer_base"])
def test_the_variants_cost_what_their_operations_add_up_to(name: str) -> None:
    model = create_model(name, weights=None).eval()
    found = operations(model, photo(160, 224), 3)
    total = cost(model, 160, 224)["total"]
    assert found.root.macs + kept_bias(model, found, 160, 224) == total.macs
    assert found.root.params == total.params


def test_times_add_up(tiny_model: Callable[..., Any]) -> None:
    found = operations(tiny_model(), photo(), 3)
    for one in found.root.walk():
        assert 0 < one.low <= one.seconds <= one.high or one is not found.root
        assert one.rest >= -1e-12
        if one.children:
            assert one.seconds == pytest.approx(sum(child.seconds for child in one.children) + one.rest)
            for name in ("macs", "written", "calls"):
                assert getattr(one, name) == sum(getattr(child, name) for child in one.children)
    assert found.plain > 0
    assert found.passes == 3
    rows = found.rows()
    assert [row["path"] for row in rows[:2]] == ["", "stage.0"]
    assert rows[0]["ms"] == pytest.approx(1e3 * found.root.seconds)


@pytest.mark.slow
def test_nothing_is_left_in_the_model_and_other_threads_notice_nothing(
    tiny_model: Callable[..., Any],
) -> None:
    model, x = tiny_model(), photo()
    with torch.inference_mode():
        before = model(x[None])
    attributes = {name: dict(module.__dict__) for name, module in model.named_modules()}
    inside: list[torch.Tensor] = []
    calls = [operations(model, x, 3).root.calls]

    def other() -> None:
        with torch.inference_mode():
            for _ in range(12):
                inside.append(model(x[None]))

    thread = threading.Thread(target=other)
    thread.start()
    while thread.is_alive():
        calls.append(operations(model, x, 3).root.calls)
    thread.join()
    assert len(set(calls)) == 1  # the other thread's operations are not counted
    assert all(torch.equal(one, before) for one in inside)
    for name, module in model.named_modules():
        assert module.__dict__.keys() == attributes[name].keys()
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_any_other_model_is_told_by_its_modules() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.blocks = nn.Conv2d(3, 4, 2, stride=2), nn.Sequential(nn.Linear(8, 5), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("bchw,bcvw->bhv", y := self.blocks(self.conv(x)), y)

    found = operations(Pair().eval(), photo(16, 16), 3)
    kinds = [one.kind for one in found.root.walk()]
    assert kinds == ["model", "Conv2d", "Linear", "ReLU", "einsum"]
    macs = {"/".join(one.path): one.macs for one in found.root.walk()}
    assert macs["conv"] == 4 * 8 * 8 * 3 * 2 * 2
    assert macs["blocks.0"] == 4 * 8 * 8 * 5
    assert macs["einsum"] == 8 * 8 * 4 * 5


def test_what_cannot_be_measured_is_refused(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="training mode"):
        operations(model.train(), photo(), 3)
    model.eval()
    with pytest.raises(ValueError, match="one photo"):
        operations(model, photo()[None], 3)
    with pytest.raises(ValueError, match="at least 3"):
        operations(model, photo(), 2)

    class Fickle(nn.Linear):
        turn = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.turn += 1
            return super().forward(x).relu() if self.turn % 3 else super().forward(x)

    with pytest.raises(ValueError, match="not compute the same operations"):
        operations(Fickle(8, 4).eval(), photo(4, 8), 3)
