"""Attention per run of groups that share a mask equals, to rounding, attention with one mask per group."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch

import cfviz.models.registry  # noqa: F401
from cfviz.geometry import MASKED
from cfviz.hooks import capture, edit
from cfviz.models.crossformer import attend as module
from cfviz.models.crossformer.attend import attend, spread, windows
from cfviz.models.crossformer.linear import linear
from cfviz.models.crossformer.model import Attention, PosBias, _position_bias

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


def inputs(P: int) -> tuple[Any, ...]:
    """Queries, keys and values of ten groups, as they leave a linear layer, P biases and whose they are."""
    torch.manual_seed(0)
    q, k, v = torch.randn(10, 9, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v, torch.randn(P, 4, 9, 9), torch.tensor([0, 0, 1, 2, 2]) if P > 1 else None


def exact(q: Any, k: Any, v: Any, bias: Any, which: Any) -> torch.Tensor:
    logits = q.double() @ k.double().mT * 0.3 + spread(bias, which, len(q)).double()
    return logits.softmax(-1) @ v.double()


def by_head(given: tuple[Any, ...], patch: pytest.MonkeyPatch) -> tuple[torch.Tensor, list[bool]]:
    """What `attend` computes one head at a time; and of each computation, whether maxima were subtracted."""
    steep, sums = [], module._sums
    with patch.context() as patched:
        patched.setattr(module, "BY_HEAD", 0)
        patched.setattr(module, "IN_PARTS", 0)
        patched.setattr(module, "_sums", lambda *a: steep.append(a[-1]) or sums(*a))
        found = attend(*given, 0.3)
    assert steep
    return found, steep


@pytest.mark.parametrize("P", [1, 3])
@pytest.mark.parametrize("rows", [1, 200, 10**9])  # bytes: single queries, some at once with a rest, all
@torch.inference_mode()
def test_one_head_at_a_time_gives_attention_to_rounding(
    P: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = inputs(P)
    monkeypatch.setattr(module, "ROWS", rows)
    found, steep = by_head(given, monkeypatch)
    assert not any(steep)
    torch.testing.assert_close(found.double(), exact(*given), rtol=2e-6, atol=2e-6)
    assert found.transpose(1, 2).is_contiguous()  # the caller reads it so without a copy


@pytest.mark.parametrize(
    ("case", "step"),  # the step of float32 at logits as large as these
    [("steep", 1e-3), ("far below", 1e-4), ("padding alone", 0.2), ("large values", 2e-6)],
)
@torch.inference_mode()
def test_powers_neither_overflow_nor_vanish(case: str, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^130 is infinite in float32 and 2^-150 zero; a softmax meets neither."""
    given = inputs(3)
    q, _, v, bias, _ = given
    if case == "steep":
        q *= 300
    elif case == "far below":
        bias[1, 2] -= 300
    elif case == "padding alone":
        bias[2] += MASKED
    else:
        v *= 1e37
    (found, steep), expected = by_head(given, monkeypatch), exact(*given)
    found = found.double()
    assert any(steep)
    assert len(steep) < 2 * 4 * 10, "a head's other groups are not computed twice"
    size = expected.abs().max()
    torch.testing.assert_close(found / size, expected / size, rtol=step, atol=step)


@torch.inference_mode()
def test_a_number_that_is_not_one_stays_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(3)
    good, _ = by_head(given, monkeypatch)
    given[0][3, 1, 4, 0] = torch.nan
    bad, _ = by_head(given, monkeypatch)
    rows = bad.isnan().any(-1)
    assert rows.nonzero().tolist() == [[3, 1, 4]]
    torch.testing.assert_close(bad[~rows], good[~rows], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", ["dpb", "rpb", "none"])
@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (4, 3), (3, 7)])
@torch.inference_mode()
def test_windows_of_one_table_are_the_bias_bit_for_bit(kind: Any, sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pos = _position_bias(kind, 64, 4, 3)
    together, found = pos.bias(*sides), windows(pos.by_offset(*sides))
    assert torch.equal(found.reshape(together.shape).flip(-1), together)
    strips = sides[1] * (2 * sides[0] - 1) * sides[1]
    assert found.untyped_storage().nbytes() == 4 * 4 * strips, "not the biases of all pairs"
    assert sides == (1, 1) or found.stride(-1) == 1, "a query's biases lie together"


@torch.inference_mode()
def test_large_groups_make_one_heads_bias_at_a_time_unless_it_is_watched(
    tiny_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = tiny_model(group_size=3, interval=(3, 2, 1, 1), lda="whole"), torch.randn(1, 3, 96, 160)
    point, made, plain = "layers.0.blocks.1.attn.bias", [], PosBias.bias
    add = {point: lambda bias: bias + 300 * torch.eye(bias.shape[-1])}

    def results() -> tuple[Any, ...]:
        made.clear()
        found, count = net(x), len(made)
        with capture(net, point) as seen:
            again, watched = net(x), len(made) - count
        with edit(net, add):
            return found, again, net(x), seen[point], (count, watched)

    monkeypatch.setattr(PosBias, "bias", lambda *given: made.append(1) or plain(*given))
    expected = results()
    for module_ in net.modules():
        if isinstance(module_, Attention):
            module_.cache.clear()
    monkeypatch.setattr(module, "BY_HEAD", 1)
    found = results()
    assert found[-1] == (0, 1), "none, then the watched block's alone"
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[2], found[0], rtol=1e-4, atol=1e-4), "the edit works"


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
