"""Parts of timm's models switched off: as the module itself with its weights set to zero by hand."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

import cfviz
from cfviz.models.others.ablation import Part, effects, from_url, parts, switched_off
from cfviz.models.others.reading import layers_of
from tests.models.others.conftest import MODELS


def image(size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(3, *size, generator=torch.Generator().manual_seed(1))


def awake(model: Any) -> Any:
    """A copy whose branches all add something: those of Swin V2 begin at zero."""
    copy = deepcopy(model)
    with torch.no_grad():
        for module in copy.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1)
    return copy


def by_hand(model: Any, size: tuple[int, int], off: Part) -> Any:
    """A copy of the model in which the part's own weights are zero, or its block does not shift."""
    copy = deepcopy(model)
    layer = layers_of(copy, *size)[off.stage][off.block]  # type: ignore[index]
    attn = layer.module
    with torch.no_grad():
        if off.kind == "head":  # without values, a head adds nothing
            made = attn.kv if hasattr(attn, "kv") else attn.qkv
            n, nH = (2 if hasattr(attn, "kv") else 3), attn.num_heads
            rows = torch.arange(len(made.weight))
            if getattr(attn, "head_first", False):
                mine = rows.view(nH, n, -1)[off.index, -1]
            else:
                mine = rows.view(n, nH, -1)[-1, off.index]
            made.weight[mine] = 0
            bias = getattr(attn, "v_bias", None)
            if bias is not None:
                bias.view(nH, -1)[off.index] = 0
            elif made.bias is not None:
                made.bias[mine] = 0
        elif off.kind == "bias":
            if hasattr(attn, "cpb_mlp"):  # then it is the same for all pairs, which softmax ignores
                attn.cpb_mlp[2].weight.zero_()
            elif hasattr(attn, "rel_pos"):
                attn.rel_pos.relative_position_bias_table.zero_()
            else:
                attn.relative_position_bias_table.zero_()
        else:
            layer.block.shift_size, layer.block.attn_mask = (0, 0), None
    return copy


def chosen(layers: Any) -> list[Part]:
    """The last head, bias and shift of each stage."""
    found = {(one.kind, one.stage): one for one in parts(layers)}
    return list(found.values())


def test_what_is_switched_off_is_as_if_its_weights_were_zero(other: Any) -> None:
    model, size = awake(other[0]), other[1]
    layers, x = layers_of(model, *size), image(size)
    some = chosen(layers)
    found = effects(model, x, [(), *((one,) for one in some)], layers, batch=3)
    with torch.inference_mode():
        np.testing.assert_allclose(found[0], model(x[None])[0].numpy(), atol=1e-5)
        for one, logits in zip(some, found[1:], strict=True):
            expected = by_hand(model, size, one)(x[None])[0].numpy()
            np.testing.assert_allclose(logits, expected, atol=2e-5)
            with switched_off(model, [one], layers):
                np.testing.assert_allclose(model(x[None])[0].numpy(), expected, atol=2e-5)
    moved = np.abs(found[1:] - found[0]).max(1)
    assert moved.max() > 1e-4
    for name, module in model.named_modules():
        assert not module._forward_hooks, name
        assert not module._forward_pre_hooks, name


@pytest.mark.parametrize("name", ["swin, padded", "swin v2", "swin, any size"])
def test_all_shifts_and_a_head_together(name: str) -> None:
    make, size = MODELS[name]
    torch.manual_seed(0)
    model = awake(make().eval())
    layers, x = layers_of(model, *size), image(size)
    head, every = Part("head", 1, 1, 2), [one for one in parts(layers) if one.kind == "shift"]
    assert len(every) == 2
    expected = model
    for one in (head, *every):
        expected = by_hand(expected, size, one)
    with torch.inference_mode():
        wanted = expected(x[None])[0].numpy()
    found = effects(model, x, [from_url("x.x.shift_2.2.h3"), (head, *every), ()], layers)
    np.testing.assert_allclose(found[0], wanted, atol=2e-5)
    np.testing.assert_allclose(found[1], wanted, atol=2e-5)
    assert np.abs(found[2] - wanted).max() > 1e-4


def test_a_photo_is_classified_without_them_and_its_attention_is_not_shown() -> None:
    make, size = MODELS["swin, padded"]
    model, photo = make().eval(), np.random.default_rng(0).integers(0, 256, (120, 180, 3), np.uint8)
    plain = cfviz.inspect(photo, model, watch="logits").logits
    with switched_off(model, [Part("head", 0, 0, 0)], layers_of(model, *size)):
        less = cfviz.inspect(photo, model, watch="logits").logits
        with pytest.raises(
            ValueError, match='switched off here, so its attention is not read; watch="logits"'
        ):
            cfviz.inspect(photo, model)
        seen: list[Any] = []
        thread = threading.Thread(
            target=lambda: seen.append(cfviz.inspect(photo, model, watch="logits").logits)
        )
        thread.start()
        thread.join()
    assert np.abs(less - plain).max() > 1e-5
    np.testing.assert_array_equal(seen[0], plain)  # another thread's forward is its own
    np.testing.assert_array_equal(cfviz.inspect(photo, model, watch="logits").logits, plain)


def test_a_layer_of_its_own_is_refused() -> None:
    make, size = MODELS["vit"]
    model = make().eval()
    layers, usual = layers_of(model, *size), model.blocks[1].attn.forward
    model.blocks[1].attn.forward = lambda x, **how: 2 * usual(x, **how)
    with pytest.raises(ValueError, match="Attention attends in a way of its own"):
        effects(model, image(size), [(Part("head", 0, 1, 0),)], layers)
    assert not model.blocks[1].attn._forward_hooks


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("vit", Part("shift"), "no x.x.shift .*; none of its layers has a shift"),
        ("pvt v2", Part("bias", 0, 0), "no 1.1.bias .*none of its layers has a position bias"),
        ("swin, padded", Part("shift", 0, 0), "no 1.1.shift .*it has 1.2.shift to 2.2.shift"),
        ("vit", Part("head", 0, 9, 0), "no 1.10.h1 .*it has 1.1.h1 to 1.2.h2"),
    ],
)
def test_parts_that_are_not_there_are_refused(name: str, part: Part, message: str) -> None:
    make, size = MODELS[name]
    model = make().eval()
    with pytest.raises(ValueError, match=message):
        effects(model, image(size), [(part,)], layers_of(model, *size))


def test_parts_as_words() -> None:
    some = (Part("head", 0, 1, 2), Part("bias", 1, 0), Part("shift"))
    text = "_".join(one.to_url() for one in some)
    assert text == "1.2.h3_2.1.bias_x.x.shift"
    assert from_url(text) == some
    assert from_url("") == ()
    for wrong in ("1.2.h0", "0.1.bias", "1.2.h", "1.2.bias3", "1.x.shift", "x.x.h3", "nonsense", "1.2.mlp"):
        with pytest.raises(ValueError, match=r"expected|name both"):
            from_url(wrong)
    with pytest.raises(ValueError, match="expected one of head, bias, shift"):
        Part("mlp", 0, 0)
    with pytest.raises(ValueError, match="a head has one"):
        Part("bias", 0, 0, 1)
