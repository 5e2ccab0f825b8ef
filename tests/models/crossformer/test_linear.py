"""The fused product equals the plain one to rounding, and gives way where it may not run."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cfviz.models.crossformer import linear as module
from cfviz.models.crossformer.linear import Mlp, linear


@pytest.mark.parametrize("gelu", [None, nn.GELU()])
@pytest.mark.parametrize("shape", [(3, 24), (2, 5, 24), (1, 2, 3, 24)])
def test_the_fused_product_equals_the_plain_layer(gelu, shape):
    layer, x = nn.Linear(24, 40), torch.randn(shape)
    plain = F.linear(x, layer.weight, layer.bias)
    plain = F.gelu(plain) if gelu else plain
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, x, gelu), plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(linear(layer, x, gelu), plain)  # with gradients the plain layer runs


@pytest.fixture
def no_fusion(monkeypatch):
    def refuse(*args):
        raise AssertionError("the fused product ran")

    monkeypatch.setattr(module, "_FUSED", refuse)


def test_autocast_and_other_formats_use_the_plain_layer(no_fusion):
    layer, x = nn.Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(layer, x).dtype == torch.bfloat16
        assert linear(layer.half(), x.half()).dtype == torch.float16


@torch.no_grad()
def test_another_activation_is_not_mistaken_for_gelu(no_fusion):
    layer, x = nn.Linear(8, 8), torch.randn(2, 8)
    for act in (nn.ReLU(), nn.GELU(approximate="tanh")):
        assert torch.equal(linear(layer, x, act), act(layer(x)))


def test_the_layer_works_without_onednn(monkeypatch):
    monkeypatch.setattr(module, "_FUSED", None)
    mlp, x = Mlp(8, 32), torch.randn(2, 8)
    with torch.no_grad():
        expected = F.linear(F.gelu(F.linear(x, mlp.fc1.weight, mlp.fc1.bias)), mlp.fc2.weight, mlp.fc2.bias)
        assert torch.equal(mlp(x), expected)


@torch.no_grad()
def test_computing_in_parts_gives_the_same_to_rounding(monkeypatch):
    mlp, x = Mlp(8, 32), torch.randn(3, 10, 8)
    whole = mlp(x)
    monkeypatch.setattr(module, "PART", 32 * 4 * 7)
    torch.testing.assert_close(mlp(x), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gradients", [False, True])
def test_pytorchs_counter_counts_the_fused_product(gradients):
    with torch.set_grad_enabled(gradients), FlopCounterMode(display=False) as counter:
        Mlp(8, 32)(torch.randn(5, 8))
    assert counter.get_total_flops() == 2 * 2 * 5 * 8 * 32
