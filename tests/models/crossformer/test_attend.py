"""Attention per run of groups that share a mask equals, to rounding, attention with one mask per group."""

import pytest
import timm
import torch

import cfviz.models.registry  # noqa: F401
from cfviz.models.crossformer import attend as module
from cfviz.models.crossformer.attend import attend, spread
from cfviz.models.crossformer.linear import linear

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@BOTH
@torch.inference_mode()
def test_runs_of_groups_equal_single_groups(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    which = torch.tensor([0, 0, 1, 0, 0, 1, 2, 2, 3])
    q, k, v = torch.randn(3, 2 * len(which), 4, 9, 8, dtype=dtype).unbind(0)
    bias = torch.randn(4, 4, 9, 9, dtype=dtype)
    monkeypatch.setattr(module, "IN_PARTS", 0)
    whole = attend(q, k, v, bias, which, 0.3)
    monkeypatch.setattr(module, "GATHERED", 0)
    step = {torch.float32: 1e-6, torch.bfloat16: 2**-7}[dtype]
    torch.testing.assert_close(attend(q, k, v, bias, which, 0.3), whole, rtol=step, atol=step)
    exact = torch.softmax(q.double() @ k.double().mT * 0.3 + spread(bias, which, len(q)).double(), -1)
    torch.testing.assert_close(whole.double(), exact @ v.double(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("P", [1, 3])
@pytest.mark.parametrize("part", [1, 3000, 10**9])  # bytes: single groups, some at once with a rest, all
@torch.inference_mode()
def test_a_few_groups_at_a_time_give_attention_to_rounding(
    P: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    which = torch.tensor([0, 0, 1, 2, 2]) if P > 1 else None
    q, k, v = torch.randn(10, 9, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)  # as they leave a linear layer
    bias = torch.randn(P, 4, 9, 9)
    calls = []
    small = module._in_parts
    monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(module, "_in_parts", lambda *given: calls.append(1) or small(*given))
    found = attend(q, k, v, bias, which, 0.3)
    logits = q.double() @ k.double().mT * 0.3 + spread(bias, which, 10).double()
    exact = logits.softmax(-1) @ v.double()
    assert calls
    torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=2e-6)
    assert found.transpose(1, 2).is_contiguous()  # the caller reads it so without a copy


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 160), (256, 256)])
@torch.inference_mode()
def test_a_padded_map_gives_the_same_result_in_runs(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = timm.create_model("crossformer_nano").eval()
    x = torch.randn(2, 3, *size)
    whole = model(x)
    monkeypatch.setattr(module, "IN_PARTS", 0)
    monkeypatch.setattr(module, "GATHERED", 0)
    torch.testing.assert_close(model(x), whole, rtol=1e-5, atol=1e-5)


@BOTH
@pytest.mark.parametrize("gelu", [False, True])
@torch.inference_mode()
def test_the_fused_product_equals_the_plain_one_to_rounding(dtype: torch.dtype, gelu: bool) -> None:
    torch.manual_seed(0)
    layer, act = torch.nn.Linear(32, 48), torch.nn.GELU() if gelu else None
    x = torch.randn(5, 7, 32)
    exact = torch.nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    exact = torch.nn.functional.gelu(exact) if gelu else exact
    found = linear(layer.to(dtype), x.to(dtype), act)
    assert found.dtype == dtype
    step = {torch.float32: 2e-6, torch.bfloat16: 2**-7}[dtype]
    torch.testing.assert_close(found.double(), exact, rtol=step, atol=2 * step)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("P", [1, 4])
def test_gradients_equal_those_of_plain_attention(
    P: int, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    if large:
        monkeypatch.setattr(module, "GATHERED", 0)
        monkeypatch.setattr(module, "spread", None)  # no bias is copied per group
    which = torch.tensor([0, 0, 1, 3, 2]) if P > 1 else None
    inputs = [torch.randn(10, 4, 9, 8, dtype=torch.double, requires_grad=True) for _ in range(3)]
    bias = torch.randn(P, 4, 9, 9, dtype=torch.double, requires_grad=True)
    q, k, v = inputs
    plain = torch.softmax(q @ k.mT * 0.3 + spread(bias, which, len(q)), -1) @ v
    found = attend(q, k, v, bias, which, 0.3)
    torch.testing.assert_close(found, plain)
    weight = torch.randn_like(plain)
    expected = torch.autograd.grad((plain * weight).sum(), [*inputs, bias])
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), [*inputs, bias]), expected)
