"""The geometry of Swin, PVT v2, Twins and ViT against timm's own modules on index-coded maps.

Each token of the map carries a one in a channel of its own. With queries and keys set to zero, every key
weighs the same, so output channel t of query q is 1 / (number of keys) if q attends to token t, else 0.
The modules themselves show which tokens a query attends to, and how many keys (padding included) share the
softmax.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import pvt_v2, swin_transformer, twins, vision_transformer
from torch.utils.flop_counter import FlopCounterMode

from cfviz.analysis.reach import multiply_adds
from cfviz.geometry import grouping
from cfviz.geometry import schemes as other

SIZES = [(14, 14), (7, 7), (5, 5), (9, 13), (16, 10), (6, 20), (15, 11)]


def listen(*layers: torch.nn.Module, dim: int) -> None:
    """Set queries and keys to zero, values and output to the identity."""
    eye, nothing = torch.eye(dim), torch.zeros(dim, dim)
    with torch.no_grad():
        for layer in layers:
            layer.bias.zero_()
            stack = {dim: [eye], 2 * dim: [nothing, eye], 3 * dim: [nothing, nothing, eye]}
            layer.weight.copy_(torch.cat(stack[layer.weight.shape[0]]))


def heard(out: torch.Tensor, H: int, W: int) -> np.ndarray:
    return out.detach().reshape(H, W, H, W).numpy()


def check(scheme: other.Scheme, out: np.ndarray) -> None:
    H, W = scheme.H, scheme.W
    for row in range(H):
        for col in range(W):
            expected = scheme.sources(row, col) / len(scheme.scored(row, col))
            np.testing.assert_allclose(out[row, col], expected, atol=1e-6, err_msg=f"query ({row}, {col})")


def swin_block(H: int, W: int, window: int, shift: int) -> torch.nn.Module:
    block = swin_transformer.SwinTransformerBlock(
        H * W, (H, W), num_heads=1, window_size=window, shift_size=shift, mlp_ratio=0.1
    )
    listen(block.attn.qkv, block.attn.proj, dim=H * W)
    with torch.no_grad():
        block.attn.relative_position_bias_table.zero_()
    return block.eval()


@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize(("window", "shifted"), [(7, False), (7, True), (4, True), (5, True)])
def test_swin_agrees_with_timm(H: int, W: int, window: int, shifted: bool) -> None:
    shift = window // 2 if shifted else 0
    codes = torch.eye(H * W).reshape(1, H, W, H * W)
    out = swin_block(H, W, window, shift)._attn(codes)
    check(other.swin(H, W, window, shift), heard(out, H, W))


@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("ratio", [1, 2, 4, 5])
def test_pvt_agrees_with_timm(H: int, W: int, ratio: int) -> None:
    attn = pvt_v2.Attention(H * W, num_heads=1, sr_ratio=ratio)
    listen(attn.q, attn.kv, attn.proj, dim=H * W)
    joined_keys(attn, H * W, ratio)
    out = attn(torch.eye(H * W)[None], (H, W))
    check(other.pvt(H, W, ratio), heard(out, H, W))


@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("ratio", [1, 2, 4, 5])
def test_twins_global_attention_agrees_with_timm(H: int, W: int, ratio: int) -> None:
    attn = twins.GlobalSubSampleAttn(H * W, num_heads=1, sr_ratio=ratio)
    listen(attn.q, attn.kv, attn.proj, dim=H * W)
    joined_keys(attn, H * W, ratio)
    out = attn(torch.eye(H * W)[None], (H, W))
    check(other.twins_global(H, W, ratio), heard(out, H, W))


def joined_keys(attn: torch.nn.Module, dim: int, ratio: int) -> None:
    """The reducing convolution sums the tokens of a block, and nothing rescales the sum."""
    if ratio > 1:
        with torch.no_grad():
            attn.sr.weight.copy_(torch.eye(dim)[:, :, None, None].expand_as(attn.sr.weight))
            attn.sr.bias.zero_()
        attn.norm = torch.nn.Identity()


@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("window", [4, 7])
def test_twins_local_attention_agrees_with_timm(H: int, W: int, window: int) -> None:
    attn = twins.LocallyGroupedAttn(H * W, num_heads=1, ws=window)
    listen(attn.qkv, attn.proj, dim=H * W)
    out = attn(torch.eye(H * W)[None], (H, W))
    check(other.twins_local(H, W, window), heard(out, H, W))


@pytest.mark.parametrize(("H", "W"), [(7, 7), (4, 9)])
def test_vit_agrees_with_timm(H: int, W: int) -> None:
    attn = vision_transformer.Attention(H * W, num_heads=1, qkv_bias=True)
    listen(attn.qkv, attn.proj, dim=H * W)
    check(other.vit(H, W), heard(attn(torch.eye(H * W)[None]), H, W))


@pytest.mark.parametrize(("kind", "H", "W", "G", "I"), [("sda", 9, 13, 4, 1), ("lda", 9, 13, 2, 3)])
def test_crossformer_agrees_with_our_model(kind: str, H: int, W: int, G: int, I: int) -> None:  # noqa: E741
    """A query attends to exactly the tokens of its group and never to padding."""
    g = grouping(kind, H, W, G, I)
    scheme = other.crossformer(g)
    for row in range(H):
        for col in range(W):
            group, _ = g.group_of(row, col)
            tokens = g.members[group][g.valid[group]]
            assert set(np.flatnonzero(scheme.sources(row, col))) == set(tokens)
            assert len(scheme.scored(row, col)) == len(tokens)


def test_the_mask_of_a_shifted_window_separates_its_corners() -> None:
    """In the last window the mask separates four corners of the map, joined by the cyclic shift."""
    scheme = other.swin(14, 14, 7, 3)
    assert scheme.sources(13, 13).sum() == 16
    assert scheme.masked(13, 13).sum() == 49 - 16
    assert not (scheme.sources(13, 13) & scheme.masked(13, 13)).any()
    assert scheme.sources(0, 0).sum() == 9
    assert not other.swin(14, 14, 7, 0).masked(13, 13).any()


@given(
    H=st.integers(1, 24),
    W=st.integers(1, 24),
    window=st.integers(1, 9),
    ratio=st.integers(1, 6),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_token_is_a_query_exactly_once(
    H: int, W: int, window: int, ratio: int, data: st.DataObject
) -> None:
    shift = data.draw(st.integers(0, window - 1))
    ratio = min(ratio, H, W)
    schemes = [other.swin(H, W, window, shift), other.twins_local(H, W, window), other.pvt(H, W, ratio)]
    for scheme in schemes:
        asked = scheme.queries[scheme.queries >= 0]
        assert sorted(asked) == list(range(H * W))
        row, col = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
        hears_itself = scheme.sources(row, col)[row, col]
        assert hears_itself or (
            scheme.reduction > 1 and (row >= H // ratio * ratio or col >= W // ratio * ratio)
        )


def test_bad_maps_and_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="reduction is 8; a map of 7 x 9 takes 1 to 7"):
        other.pvt(7, 9, 8)
    with pytest.raises(ValueError, match="shift is 7; expected 0 to 6"):
        other.swin(14, 14, 7, 7)
    with pytest.raises(ValueError, match=r"no token \(14, 0\)"):
        other.vit(14, 14).sources(14, 0)


def counted(module: torch.nn.Module, *inputs: object) -> int:
    """Multiply-adds as counted by PyTorch, which counts two operations for each."""
    for part in module.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("H", "W"), [(14, 14), (9, 13)])
def test_multiply_adds_agree_with_pytorchs_counter(H: int, W: int) -> None:
    C = 8
    tokens = torch.randn(1, H * W, C)
    swin = swin_transformer.SwinTransformerBlock(C, (H, W), num_heads=2, window_size=7, shift_size=3)
    swin.forward = swin._attn
    modules = {
        other.swin(H, W, 7, 3): (swin, tokens.reshape(1, H, W, C)),
        other.pvt(H, W, 4): (pvt_v2.Attention(C, 2, sr_ratio=4), tokens, (H, W)),
        other.pvt(H, W, 1): (pvt_v2.Attention(C, 2, sr_ratio=1), tokens, (H, W)),
        other.twins_local(H, W, 7): (twins.LocallyGroupedAttn(C, 2, ws=7), tokens, (H, W)),
        other.twins_global(H, W, 4): (twins.GlobalSubSampleAttn(C, 2, sr_ratio=4), tokens, (H, W)),
        other.vit(H, W): (vision_transformer.Attention(C, 2), tokens),
    }
    for scheme, (module, *inputs) in modules.items():
        assert multiply_adds(scheme, C).total == counted(module, *inputs), scheme.name
