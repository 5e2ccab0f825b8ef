"""What is read from timm's models is what they compute, in the geometry of the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfviz.figures.live.compare import by_token, quantise
from cfviz.models.others import opening as others
from cfviz.models.others.reading import layers_of
from cfviz.models.others.sides import PUBLISHED, Side, benchmark, open_side

LARGE = ("swin_tiny_patch4_window7_224", "twins_svt_small", "twins_pcpvt_small")
NAMES = ["pvt_v2_b0", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
SIZE = (96, 160)  # stages of 24 x 40 to 3 x 5 tokens: windows are padded, shifted, and larger than the map
IMAGE = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=NAMES)
def side(request: pytest.FixtureRequest) -> Side:
    return open_side(request.param, SIZE)


def everywhere(side: Side) -> list[tuple[int, int]]:
    return [(s, b) for s, blocks in enumerate(side.schemes(*SIZE)) for b in range(len(blocks))]


def test_probabilities_fit_the_geometry(side: Side) -> None:
    seen = side.outputs(IMAGE, everywhere(side))
    schemes = side.schemes(*SIZE)
    for (s, b), probs in seen.probs.items():
        scheme = schemes[s][b]
        assert (probs.shape[0], probs.shape[2]) == scheme.queries.shape
        assert probs.shape[3] == scheme.keys.shape[1]
        np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
        if scheme.region is not None:
            apart = scheme.region[:, :, None] != scheme.region[:, None, :]
            assert probs.max(1)[apart].max() < 1e-6


def module_of(side: Side, s: int, b: int) -> Any:
    return layers_of(side.model, *SIZE)[s][b].block


def values(attn: Any, x: torch.Tensor, scheme: Any) -> torch.Tensor:
    """The value of each key, (keys, nH, d), from the normed map x, in its order, with padding last."""
    C = x.shape[-1]
    if hasattr(attn, "qkv"):
        rows = torch.cat([x.reshape(-1, C), x.new_zeros(1, C)])  # padding is zero before the projection
        v = attn.qkv(rows)[:, 2 * C :]
        return v.unflatten(-1, (attn.num_heads, -1))
    tokens = x.reshape(1, -1, C)
    if attn.sr is not None:
        tokens = attn.norm(attn.sr(x.permute(2, 0, 1)[None]).flatten(2).transpose(1, 2))
    return attn.kv(tokens)[0, :, C:].unflatten(-1, (attn.num_heads, -1))


@torch.inference_mode()
def test_probabilities_times_values_equal_the_modules_output(side: Side) -> None:
    """Only the right probabilities, arranged by our queries and keys, reproduce timm's output."""
    for s, b in [(0, 0), (0, 1), (1, 1), (2, 1), (3, 1)]:
        block, scheme = module_of(side, s, b), side.schemes(*SIZE)[s][b]
        given: dict[str, torch.Tensor] = {}
        swin = side.name.startswith("swin")
        hooks = [block.norm1.register_forward_hook(lambda m, x, y, to=given: to.update(x=y))]
        target = block.attn.proj
        hooks.append(target.register_forward_hook(lambda m, x, y, to=given: to.update(mixed=x[0])))
        probs = side.outputs(IMAGE, [(s, b)]).probs[s, b]
        for hook in hooks:
            hook.remove()
        x = given["x"][0].reshape(scheme.H, scheme.W, -1)
        v = values(block.attn, x, scheme).numpy()
        keys = scheme.keys[:, :, 0] if scheme.reduction == 1 else np.arange(scheme.keys.shape[1])[None]
        mixed = np.einsum("ghqk,gkhd->gqhd", probs, v[keys])  # -1 selects the row of padding
        mine = np.zeros((scheme.H * scheme.W, mixed.shape[2] * mixed.shape[3]), np.float32)
        real = scheme.queries >= 0
        mine[scheme.queries[real]] = mixed[real].reshape(-1, mine.shape[1])
        theirs = given["mixed"].numpy()
        if swin:  # windows, padding included
            windows, theirs = theirs.reshape(*scheme.queries.shape, -1), np.zeros_like(mine)
            theirs[scheme.queries[real]] = windows[real]
        np.testing.assert_allclose(mine, theirs.reshape(mine.shape), atol=2e-5, err_msg=f"{s}.{b}")


def test_maps_equal_timms_own(side: Side) -> None:
    with torch.inference_mode():
        theirs = side.model.forward_intermediates(IMAGE[None], intermediates_only=True, output_fmt="NCHW")
    for s, (mine, other) in enumerate(zip(side.outputs(IMAGE).maps, theirs, strict=True)):
        ends = torch.from_numpy(mine)
        if side.name.startswith("pvt"):  # timm returns them after the stage's norm
            ends = side.model.stages[s].norm(ends)
        np.testing.assert_allclose(ends.detach().numpy(), other[0].permute(1, 2, 0).numpy(), atol=1e-4)


def test_nothing_is_left_on_the_model(side: Side) -> None:
    side.outputs(IMAGE, everywhere(side))
    side.gradient(IMAGE, 1, 2, 3)
    for module in side.model.modules():
        assert not module._forward_hooks
    assert all(p.grad is None for p in side.model.parameters())


@pytest.mark.slow
def test_a_tokens_gradient_is_zero_outside_its_receptive_field() -> None:
    """After one block of windows on 4 px patches, a token of Swin depends on its window's pixels only."""
    side = open_side("swin_tiny_patch4_window7_224", 224)
    block = side.model.layers[0].blocks
    del block[1]
    gradient = side.gradient(torch.randn(3, 224, 224), 0, 10, 20)
    inside = np.zeros((224, 224), bool)
    inside[28:56, 56:84] = True  # rows 7 to 13, columns 14 to 20
    assert gradient[~inside].max() == 0
    assert gradient[inside].min() > 0


@pytest.mark.slow
def test_costs_agree_with_the_papers() -> None:
    for name in ("swin_tiny_patch4_window7_224", "pvt_v2_b0"):
        total = Side(name, None, True).cost(224, 224)
        assert total.macs / 1e9 == pytest.approx(others.OTHERS[name].gflops, abs=0.15)


def test_our_side_reads_our_model(tiny_model: Any) -> None:
    side = Side("mine", tiny_model(), False)
    seen = side.outputs(IMAGE, [(0, 1)])
    with torch.inference_mode():
        np.testing.assert_allclose(seen.logits, side.model(IMAGE[None])[0].numpy(), atol=1e-6)
    scheme = side.schemes(*SIZE)[0][1]
    assert seen.probs[0, 1].shape[:1] == scheme.queries.shape[:1]
    times = benchmark(side, side, IMAGE, seconds=0.0)
    assert len(times[0]) == len(times[1]) >= 1


@pytest.mark.slow
def test_by_token_puts_rows_at_their_query() -> None:
    side = open_side("swin_tiny_patch4_window7_224", SIZE)
    probs, scheme = side.outputs(IMAGE, [(0, 1)]).probs[0, 1], side.schemes(*SIZE)[0][1]
    rows = by_token(probs, scheme)
    for row, col in [(0, 0), (13, 6), (23, 23)]:
        group, query = scheme.group_of(row, col)
        np.testing.assert_array_equal(rows[row * scheme.W + col], probs[group, :, query])
    assert by_token(probs, scheme, limit=1).shape[1] == 1
    assert np.abs(quantise(rows) / 65535 - rows).max() <= 0.5001 / 65535
    with pytest.raises(ValueError, match="expected"):
        by_token(probs[:, :, :5], scheme)


def test_sides_have_names_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="there are"):
        others.open_other("resnet50")
    assert all(name in __import__("timm").list_models() for name in others.OTHERS)
    assert set(PUBLISHED) == {n for n in __import__("cfviz").list_models() if "nano" not in n}
    assert others.weights_here("pvt_v2_b0") is None
    model = others.open_other("pvt_v2_b0")
    assert model.provenance.trained is None
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    save_file({k: v + 0.25 for k, v in model.state_dict().items()}, file)
    trained = others.open_other("pvt_v2_b0", weights=file)
    assert trained.provenance.trained == "ImageNet-1K"
    assert torch.equal(trained.head.bias, model.head.bias + 0.25)
