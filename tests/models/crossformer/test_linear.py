"""The fused product is the plain one to rounding, is counted, and steps aside where it may not run."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from cfviz.models.crossformer import linear
from cfviz.models.crossformer.linear import Linear, Mlp


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(3, 24), (2, 5, 24), (1, 2, 3, 24)])
def test_equals_the_plain_layer(gelu, shape):
    layer, x = Linear(24, 40, gelu), torch.randn(shape)
    plain = F.linear(x, layer.weight, layer.bias)
    plain = F.gelu(plain) if gelu else plain
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(layer(x), plain)  # with gradients it is the plain layer


def test_autocast_and_other_formats_take_the_plain_layer(monkeypatch):
    def refuse(*args):
        raise AssertionError("the fused product ran")

    monkeypatch.setattr(linear, "_FUSED", refuse)
    layer, x = Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        assert layer.half()(x.half()).dtype == torch.float16


def test_without_onednn_it_still_works(monkeypatch):
    monkeypatch.setattr(linear, "_FUSED", None)
    mlp, x = Mlp(8, 32), torch.randn(2, 8)
    with torch.no_grad():
        expected = F.linear(F.gelu(F.linear(x, mlp.fc1.weight, mlp.fc1.bias)), mlp.fc2.weight, mlp.fc2.bias)
        assert torch.equal(mlp(x), expected)


@pytest.mark.parametrize("gradients", [False, True])
def test_torch_counts_its_operations(gradients):
    with torch.set_grad_enabled(gradients), FlopCounterMode(display=False) as counter:
        Mlp(8, 32)(torch.randn(5, 8))
    assert counter.get_total_flops() == 2 * 2 * 5 * 8 * 32
