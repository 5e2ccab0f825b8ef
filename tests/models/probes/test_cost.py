"""The cost of a model: its own parameters and multiply-adds, whatever its settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cfviz.models.factory import create_model
from cfviz.models.probes.cost import cost

WAYS = [{"position_bias": kind} for kind in ("dpb", "rpb", "none")]
WAYS += [{"in_chans": 1, "num_classes": 7}, {"group_size": (4, 4, 7, 7), "interval": "adaptive"}]
WAYS += [{"lda": "whole"}, {"lda": "whole", "group_size": (2, 2, 2, 2), "interval": (16, 5, 2, 1)}]


@pytest.mark.slow
@pytest.mark.parametrize("config", WAYS, ids=lambda config: "-".join(map(str, config.values())))
@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_nano_rpb"])
def test_parameters_and_multiply_adds_are_the_models_own(name: str, config: dict) -> None:
    with torch.device("meta"):
        model = create_model(name, weights=None, **config)
    costs = cost(model, 64, 96)
    assert costs["total"].params == sum(p.numel() for p in model.parameters())
    assert costs["total"].params == sum(part.params for key, part in costs.items() if key != "total")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.zeros(1, config.get("in_chans", 3), 64, 96, device="meta"))
    assert costs["total"].macs == counter.get_total_flops() // 2


@pytest.mark.slow
@pytest.mark.parametrize("config", [{}, {"position_bias": "rpb"}, {"lda": "whole"}, {"cooling": True}])
def test_each_part_costs_what_pytorch_counts(tiny_model: Any, config: dict) -> None:
    model = tiny_model(**config).to("meta")
    counter, counts = FlopCounterMode(display=False), {}

    def count(name: str, module: nn.Module) -> None:
        begun: list[int] = []
        module.register_forward_pre_hook(lambda *_: begun.append(counter.get_total_flops()))
        module.register_forward_hook(
            lambda *_: counts.update({name: (counter.get_total_flops() - begun.pop()) // 2})
        )

    count("cel.0", model.patch_embed)
    for s, stage in enumerate(model.stages):
        count(f"stage.{s}", stage.blocks)
        if stage.downsample is not None:
            count(f"cel.{s + 1}", stage.downsample)
    count("head", model.head)
    count("total", model)
    with torch.no_grad(), counter:
        model(torch.zeros(1, 3, 96, 64, device="meta"))
    assert counts == {name: part.macs for name, part in cost(model, 96, 64).items()}


@pytest.mark.slow
def test_a_backbone_and_a_regrouped_model_keep_their_parameters() -> None:
    model = create_model("crossformer_nano_rpb", weights=None, num_classes=0)
    whole = sum(p.numel() for p in model.parameters())
    model.set_grouping(14)
    costs = cost(model)
    assert (costs["total"].params, costs["head"].macs) == (whole, 0)
