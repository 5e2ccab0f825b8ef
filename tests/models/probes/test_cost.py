"""The cost of a model: its own parameters and multiply-adds, whatever its settings."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cfviz.models.factory import create_model
from cfviz.models.probes.cost import _macs, cost

WAYS = [{"position_bias": kind} for kind in ("dpb", "rpb", "none")]
WAYS += [{"in_chans": 1, "num_classes": 7}, {"group_size": (4, 4, 7, 7), "interval": "adaptive"}]
WAYS += [{"lda": "whole"}, {"lda": "whole", "group_size": (2, 2, 2, 2), "interval": (16, 5, 2, 1)}]


@pytest.mark.slow
@pytest.mark.parametrize("config", WAYS, ids=lambda config: "-".join(map(str, config.values())))
@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_nano_rpb"])
def test_parameters_and_multiply_adds_are_the_models_own(name: str, config: dict) -> None:
    model = create_model(name, weights=None, **config)
    costs = cost(model, 64, 96)
    assert costs["total"].params == sum(p.numel() for p in model.parameters())
    assert costs["total"].params == sum(part.params for key, part in costs.items() if key != "total")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.to("meta")(torch.zeros(1, config.get("in_chans", 3), 64, 96, device="meta"))
    assert costs["total"].macs == counter.get_total_flops() // 2


@pytest.mark.slow
def test_a_table_of_the_trained_size_is_counted_in_inference_mode() -> None:
    """When its module returned the table itself, PyTorch's counter failed and took the comparison down."""
    model = create_model("crossformer_nano_rpb", weights=None)
    counts = cost(model, 224, 224)
    with torch.inference_mode():
        assert cost(model, 224 + 32, 224) != counts
        _macs.cache_clear()
        assert cost(model, 224, 224) == counts


@pytest.mark.slow
def test_a_forward_in_another_thread_is_not_counted() -> None:
    """PyTorch's tally by module follows all threads: stages got the numbers of a page's forward."""
    model = create_model("crossformer_nano", weights=None)
    alone, over, image = cost(model, 64, 64), threading.Event(), torch.zeros(1, 3, 96, 96)

    def forwards() -> None:
        while not over.is_set():
            model(image)

    other = threading.Thread(target=forwards)
    other.start()
    try:
        for _ in range(5):
            _macs.cache_clear()
            assert cost(model, 64, 64) == alone
    finally:
        over.set()
        other.join()


@pytest.mark.slow
def test_a_backbone_and_a_regrouped_model_keep_their_parameters() -> None:
    model = create_model("crossformer_nano_rpb", weights=None, num_classes=0)
    whole = sum(p.numel() for p in model.parameters())
    model.set_grouping(14)
    costs = cost(model)
    assert (costs["total"].params, costs["head"].macs) == (whole, 0)
