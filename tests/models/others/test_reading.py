"""What is read from any model of timm is what its own modules compute, and nothing stays in the model."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import swin_transformer, vision_transformer
from torch import nn

from cfviz.analysis.reach import reach
from cfviz.geometry.schemes import PADDING
from cfviz.models.others import reading
from cfviz.models.others.families.layer import Layer
from tests.models.others.conftest import MODELS


def image(size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def everywhere(layers: list[list[Layer]]) -> list[tuple[int, int]]:
    return [(s, b) for s, stage in enumerate(layers) for b in range(len(stage))]


def own_attention(model: nn.Module, x: torch.Tensor, layers: list[list[Layer]]) -> dict[Any, torch.Tensor]:
    """The attention that timm's own code computes where it is not fused, at its dropout after the softmax."""
    found: dict[Any, torch.Tensor] = {}
    fused = [m for m in model.modules() if getattr(m, "fused_attn", False)]
    with ExitStack() as stack:
        for m in fused:
            m.fused_attn = False
            stack.callback(setattr, m, "fused_attn", True)
        for s, b in everywhere(layers):
            hook = layers[s][b].module.attn_drop.register_forward_hook(
                lambda m, given, out, at=(s, b): found.update({at: out})
            )
            stack.callback(hook.remove)
        with torch.inference_mode():
            model(x)
    return found


def test_attention_is_the_modules_own(other: Any) -> None:
    model, size = other
    layers, x = reading.layers_of(model, *size), image(size)
    found = reading.read(model, x, everywhere(layers), layers)
    theirs = own_attention(model, x, layers)
    for place, attended in found.attended.items():
        assert attended.error < 2e-6
        mine = attended.probs  # nG, nH, Nq, Nk
        np.testing.assert_allclose(mine, theirs[place].numpy().reshape(mine.shape), rtol=0, atol=1e-5)
        scheme = layers[place[0]][place[1]].scheme
        assert (mine.shape[0], mine.shape[2]) == scheme.queries.shape
        assert mine.shape[3] == scheme.keys.shape[1]


@pytest.mark.slow
def test_every_family_is_read_at_a_square_a_rectangle_and_with_what_its_maps_are_padded_by() -> None:
    """`other` is each of these. MaxViT's windows are never padded: what they do not divide is refused."""
    cases: dict[str, set[str]] = {family.name: set() for family in reading.FAMILIES}
    for make, size in MODELS.values():
        with torch.device("meta"):
            model = make()
        own = cases[reading.family_of(model).name]
        own.add("square" if size[0] == size[1] else "rectangle")
        layers = reading.layers_of(model, *size)
        strides = reading.family_of(model).strides(model, len(layers))
        beyond = any(
            stride * layer.H > size[0] or stride * layer.W > size[1]
            for stage, stride in zip(layers, strides, strict=True)
            for layer in stage
        )
        pads = any((layer.scheme.queries == PADDING).any() for stage in layers for layer in stage)
        own.update({"padded"} if beyond or pads else ())
    every = {"square", "rectangle", "padded"}
    assert cases == dict.fromkeys(cases, every) | {"MaxViT": every - {"padded"}}


def test_content_bias_and_mask_give_the_attention(other: Any) -> None:
    model, size = other
    layers, x = reading.layers_of(model, *size), image(size)
    for (s, b), one in reading.read(model, x, everywhere(layers), layers).attended.items():
        logits, region = one.content.astype(np.float64), layers[s][b].scheme.region
        if one.bias is not None:
            logits = logits + one.bias
        if region is not None:
            apart = region[:, None, :, None] != region[:, None, None, :]
            logits = logits + np.where(apart, -100.0, 0)
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        np.testing.assert_allclose(one.probs, shifted / shifted.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.slow
def test_queries_depend_on_their_keys_only(other: Any) -> None:
    """Which inputs move which outputs of the layer, by gradients: exactly what the scheme says."""
    model, size = other
    layers = reading.layers_of(model, *size)
    for stage in layers:
        for layer in stage:
            check_dependence(model, layer, image(size))


def check_dependence(model: nn.Module, layer: Layer, x: torch.Tensor) -> None:
    scheme = layer.scheme
    given: dict[str, Any] = {}
    block = next(m for m in model.modules() if layer.module in m.children())
    handle = block.register_forward_pre_hook(lambda module, args: given.update(args=args))
    with torch.no_grad():
        model(x)
    handle.remove()
    tokens = given["args"][0].detach().clone().requires_grad_()
    out = attention_of(block)(tokens, *given["args"][1:])
    H, W, prefix = scheme.H, scheme.W, scheme.prefix
    channels_first = tokens.ndim == 4 and tokens.shape[1:3] != (H, W)
    rng = np.random.default_rng(0)
    for row, col in [(0, 0), (H - 1, W - 1), *zip(rng.integers(0, H, 4), rng.integers(0, W, 4), strict=True)]:
        picked = by_token(out, H, W, prefix, channels_first)[row, col]
        weights = torch.randn(picked.shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad((picked * weights).sum(), tokens, retain_graph=True)
        moved = by_token(gradient, H, W, prefix, channels_first).abs().amax(-1).numpy()
        sources = scheme.sources(row, col)
        sources[row, col] = True  # its own query
        # A masked pair still has exp(-100) of a share: nothing in float32, next to the others.
        assert (moved[sources] > 0).all()
        assert moved[~sources].max(initial=0) < 1e-9 * moved[sources].max()


def attention_of(block: Any) -> Any:
    """The block's attention alone, without shortcut and MLP."""
    for name in ("_attn", "_partition_attn"):
        if hasattr(block, name):
            return getattr(block, name)
    return block.attn


def by_token(x: torch.Tensor, H: int, W: int, prefix: int, channels_first: bool) -> torch.Tensor:
    """A map or a sequence of tokens as (H, W, C)."""
    if x.ndim == 4:
        return x[0].permute(1, 2, 0) if channels_first else x[0]
    return x[0, prefix:].unflatten(0, (H, W))


def test_a_model_is_as_it_was(other: Any) -> None:
    model, size = other
    layers, x = reading.layers_of(model, *size), image(size)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: dict(vars(m)).keys() for name, m in model.named_modules()}
    with torch.inference_mode():
        expected = model(x)
    found = reading.read(model, x, everywhere(layers), layers)
    with torch.inference_mode():
        again = model(x)
    assert torch.equal(expected, again)
    assert np.array_equal(found.logits, expected[0].numpy())  # the forward that was read is the model's own
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert before.keys() == model.state_dict().keys()
    for name, m in model.named_modules():
        assert not m._forward_hooks, name
        assert not m._forward_pre_hooks, name
        assert vars(m).keys() == attributes[name], name
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["swin, padded", "swin v2", "swin, window per side"])
def test_pixels_reach_a_token_through_its_windows_only(name: str) -> None:
    """After two blocks of Swin: exactly the patches that windows and masks let through, and no others."""
    make, size = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():  # Swin V2 begins with branches that add nothing
        for m in model.modules():
            if isinstance(m, nn.LayerNorm):
                m.weight.fill_(1)
    first = reading.layers_of(model, *size)[0]
    for row, col in [(0, 0), (23, 39), (10, 17)]:
        field = reading.receptive_field(model, image(size), first[1], row, col)
        reached = reach([layer.scheme for layer in first], row, col, 2)[-1]
        patches = reached.repeat(4, 0).repeat(4, 1)
        assert field.shape == size
        assert (field[patches] > 0).mean() > 0.99
        assert field[~patches].max(initial=0) < 1e-9 * field.max()


@pytest.mark.slow
def test_every_family_has_a_receptive_field(other: Any) -> None:
    model, size = other
    layers = reading.layers_of(model, *size)
    strides = reading.family_of(model).strides(model, len(layers))
    for stage, stride in zip(layers, strides, strict=True):
        layer = stage[-1]
        field = reading.receptive_field(model, image(size), layer, layer.H - 1, layer.W - 1)
        assert field.shape == size
        own = field[stride * (layer.H - 1) : stride * layer.H, stride * (layer.W - 1) : stride * layer.W]
        assert own.max() > 0  # what lies under the token itself counts
        assert not layer.block._forward_hooks
    with pytest.raises(ValueError, match=r"there is no token \(-1, 0\)"):
        reading.receptive_field(model, image(size), layer, -1, 0)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("maxvit")])
def test_a_token_stands_for_the_pixels_at_its_place(name: str) -> None:
    """By gradients of the first map: the square that `strides` says. MaxViT's first blocks see all."""
    make, size = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    layers = reading.layers_of(model, *size)
    first, stride = layers[0][0], reading.family_of(model).strides(model, len(layers))[0]
    given: list[torch.Tensor] = []
    handle = first.block.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    pixels = image(size).requires_grad_()
    model(pixels)
    handle.remove()
    tokens = first.tokens(given[0])
    beyond = 3 if name.startswith("pvt") else 0  # its patches overlap
    for row, col in ((0, 0), (first.H - 1, first.W - 1), (first.H // 2, first.W // 3)):
        (field,) = torch.autograd.grad(tokens[row, col].square().sum(), pixels, retain_graph=True)
        seen = np.argwhere(field[0].abs().sum(0).numpy() > 0)
        low = stride * np.array([row, col])
        high = low + stride - 1
        np.testing.assert_array_equal(seen.min(0), np.maximum(low - beyond, 0))
        last = low + beyond if beyond else high
        np.testing.assert_array_equal(seen.max(0), np.minimum(last, np.array(size) - 1))


def test_another_threads_forward_is_not_kept() -> None:
    model = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=32, num_heads=2).eval()
    layers = reading.layers_of(model, 224, 224)
    with reading.watching({(0, 0): layers[0][0]}) as found, torch.no_grad():
        thread = threading.Thread(target=model, args=(image((224, 224)),))
        thread.start()
        thread.join()
        assert not found
        model(image((224, 224)))
    assert list(found) == [(0, 0)]


def test_an_attention_of_its_own_is_refused() -> None:
    """A module that computes something else than timm's own must not get a picture of timm's."""
    model = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=32, num_heads=2).eval()
    layers, x = reading.layers_of(model, 224, 224), image((224, 224))
    plain = model.blocks[0].attn.forward
    model.blocks[0].attn.forward = lambda x, **how: plain(x, is_causal=True)
    with pytest.raises(ValueError, match="block 1 of stage 1 does not give what the module"):
        reading.read(model, x, [(0, 0)], layers)
    assert not model.blocks[0].attn._forward_hooks


SHORT = {"depths": (1, 1, 1, 1)}
slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "more", "size", "message"),
    [
        ("resnet18", {}, (224, 224), "got a ResNet, expected a CrossFormer; .*Swin, Swin V2, Twins"),
        (
            "swin_tiny_patch4_window7_224",
            SHORT,
            (224, 256),
            "inputs of 224 x 224 pixels, got 224 x 256",
        ),
        (
            "vit_tiny_patch16_224",
            {"depth": 1},
            (256, 256),
            r"got 256 x 256; `timm.create_model\(NAME, img_",
        ),
        ("pvt_v2_b2_li", SHORT, (224, 224), "averages the map into 7 x 7 keys"),
        slow("coatnet_nano_rw_224", {}, (224, 224), "blocks of another kind .*CoAtNet"),
        slow(
            "maxvit_pico_rw_256",
            {},
            (250, 1000),
            r"no input of 250 x 1000 pixels \(.* windows of 8 x 8 must divide it evenly\); .* is 256 x 1024",
        ),
        ("pvt_v2_b0", SHORT, (20, 40), r"\(the reduction is 8; .*\); the nearest size .* is 29 x 40"),
        (
            "vit_tiny_patch16_224",
            {"depth": 1, "dynamic_img_size": True},
            (100, 200),
            r"patches are 16 x 16 .*\); the nearest size that it takes is 96 x 192",
        ),
        ("twins_svt_small", {"depths": (1, 1, 1, 1)}, (64, 20), "the nearest size that it takes is 64 x 32"),
        slow("vit_tiny_r_s16_p8_224", {}, (224, 224), "makes its tokens with HybridEmbed"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(
    name: str, more: Any, size: tuple[int, int], message: str
) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, **more)
    with pytest.raises(ValueError, match=message):
        reading.layers_of(model, *size)


@pytest.mark.parametrize("make", [
    lambda: vision_transformer.VisionTransformer(
        img_size=64, patch_size=(16, 8), embed_dim=32, depth=1, num_heads=2
    ),
    lambda: swin_transformer.SwinTransformer(
        img_size=64, patch_size=(4, 2), embed_dim=16, depths=(1,), num_heads=(2,), window_size=4
    ),
])  # fmt: skip
def test_patches_that_are_not_square_are_refused(make: Any) -> None:
    """Distances in pixels, and where a token lies, would be those of square ones."""
    with pytest.raises(ValueError, match=r"patches are \d+ x \d pixels; expected square ones"):
        reading.layers_of(make(), 64, 64)
