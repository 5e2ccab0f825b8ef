"""Rollout and measures of heads for timm's models, against dense matrices and cases known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.models import pvt_v2, swin_transformer, swin_transformer_v2, vision_transformer

import cfviz
from cfviz.analysis.attention_measures import distance, entropy, head_measures, position_share
from cfviz.geometry import grouping
from cfviz.geometry.schemes import Scheme, crossformer, pvt, swin, twins_local, vit
from cfviz.measured import others
from cfviz.models.others.reading import family_of

PHOTO = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)
SIZE = (32, 96)  # maps of 8 x 24 and 4 x 12 tokens: windows of 5 are shifted, masked and padded


def _swin(kind: Any) -> Any:
    torch.manual_seed(0)
    model = kind(
        img_size=SIZE, window_size=5, embed_dim=16, depths=(2, 2), num_heads=(2, 4), num_classes=5
    ).eval()
    with torch.no_grad():
        for p in model.layers[1].downsample.parameters():
            p.normal_()
    return model


def _dense(trace: Any, s: int, b: int) -> np.ndarray:
    """One block's attention over its map, mean over heads, token by token."""
    scheme = trace.scheme(s, b)
    cells = [(r, c) for r in range(scheme.H) for c in range(scheme.W)]
    return np.stack([trace.attention(s, b, r, c).mean.reshape(-1) for r, c in cells])


def _merged(layer: Any, H: int, W: int) -> np.ndarray:
    """What each joined token takes of the H x W tokens below it, in the order that timm joins a coded map."""
    weight, C = layer.reduction.weight.detach(), layer.dim
    if layer.norm.weight.numel() == 4 * C:
        weight = weight * layer.norm.weight.detach()
    order = torch.arange(H * W, dtype=torch.float32).view(1, H, W, 1)
    joined = order.reshape(1, H // 2, 2, W // 2, 2, 1).permute(0, 1, 3, 4, 2, 5).flatten(3).view(-1, 4).long()
    share = weight.abs().sum(0).view(4, C).sum(1)
    out = np.zeros((H * W // 4, H * W))
    for n, four in enumerate(joined.tolist()):
        out[n, four] = (share / share.sum()).numpy()
    return out


@pytest.mark.parametrize("kind", [swin_transformer.SwinTransformer, swin_transformer_v2.SwinTransformerV2])
def test_rollout_through_shifted_windows_is_the_product_of_dense_matrices(kind: Any) -> None:
    model = _swin(kind)
    trace = cfviz.inspect(PHOTO, model)
    half = [[(np.eye(len(a)) + a) / 2 for a in (_dense(trace, s, b) for b in (0, 1))] for s in (0, 1)]
    down = _merged(model.layers[1].downsample, 8, 24)
    whole = half[1][1] @ half[1][0] @ down @ half[0][1] @ half[0][0]
    for row, col in ((0, 0), (3, 11), (1, 7)):
        found = others.rollout(trace, model, 1, 1, row, col)
        expected = whole[row * 12 + col].reshape(8, 24)
        np.testing.assert_allclose(found.map, expected, atol=1e-7)
        assert found.padding == pytest.approx(1 - expected.sum(), abs=1e-6)
    assert found.padding > 0.01  # 4 rows in windows of 5
    after_one = others.rollout(trace, model, 0, 0, 7, 23).map
    np.testing.assert_allclose(after_one.reshape(-1), half[0][0][-1], atol=1e-7)


@pytest.mark.parametrize("kind", [swin_transformer.SwinTransformer, swin_transformer_v2.SwinTransformerV2])
def test_merging_is_told_by_place(kind: Any) -> None:
    """Weights for the upper right of four tokens alone: timm's layer answers to that token and no other."""
    model = _swin(kind)
    layer = model.layers[1].downsample
    marked = torch.zeros(1, 2, 2, 16)
    marked[0, 0, 1] = 1  # row 0, column 1
    with torch.no_grad():
        layer.reduction.weight.zero_()
        for part in range(4):  # which quarter of the channels is that token's, by trying
            layer.reduction.weight[:, 16 * part : 16 * (part + 1)] = 1
            kept, layer.norm = layer.norm, torch.nn.Identity()
            answers = float(layer(marked).abs().sum())
            layer.norm = kept
            if answers:
                break
            layer.reduction.weight.zero_()
    (taps,) = family_of(model).merging(model)
    assert np.argwhere(taps).tolist() == [[0, 1]]


def test_rollout_follows_class_and_register_tokens() -> None:
    torch.manual_seed(0)
    model = vision_transformer.VisionTransformer(
        img_size=64, embed_dim=32, depth=3, num_heads=2, num_classes=5, reg_tokens=1
    ).eval()
    trace = cfviz.inspect(PHOTO, model)
    whole = np.eye(18)
    for b in range(3):
        whole = (np.eye(18) + trace[f"layers.0.blocks.{b}.attn.probs"][0].mean(0)) / 2 @ whole
    found = others.rollout(trace, model, 0, 2, 1, 2)
    np.testing.assert_allclose(found.extra, whole[2 + 6, :2], atol=1e-7)
    np.testing.assert_allclose(found.map.reshape(-1), whole[2 + 6, 2:], atol=1e-7)
    assert found.padding == pytest.approx(0, abs=1e-6)


def test_rollout_is_refused_where_convolutions_move_tokens() -> None:
    model = pvt_v2.PyramidVisionTransformerV2(
        depths=(1,) * 4, embed_dims=(16, 16, 16, 16), num_heads=(1,) * 4, num_classes=5
    ).eval()
    trace = cfviz.inspect(PHOTO, model, 32)
    with pytest.raises(ValueError, match=r"in PVT v2, convolutions .* mix them, too"):
        others.rollout(trace, model, 0, 0, 0, 0)
    assert [(s, b) for s, b, _ in others.heads(trace)] == [(s, 0) for s in range(4)]


def _on_key(scheme: Scheme, key: int) -> np.ndarray:
    out = np.zeros((len(scheme.queries), 1, scheme.queries.shape[1], scheme.keys.shape[1]))
    out[..., key] = 1
    return out


def test_heads_measured_by_hand() -> None:
    """ViT of 1 x 2 tokens and a class token; keys of 1 x 2 tokens; a window of 3 on 2 x 2 tokens."""
    seen = head_measures(_on_key(vit(1, 2, 1), 2), vit(1, 2, 1), 16)
    assert (seen.distance, seen.entropy, seen.extra, seen.padding) == ([8], [0], [0], [0])
    seen = head_measures(_on_key(vit(1, 2, 1), 0), vit(1, 2, 1), 16)
    assert np.isnan(seen.distance).all()
    assert seen.extra == [1]
    pooled = head_measures(_on_key(pvt(2, 2, 2), 0), pvt(2, 2, 2), 4)
    assert pooled.distance == pytest.approx([4 * (0 + 1 + 1 + 2**0.5) / 4])
    padded = twins_local(2, 2, 3)
    even = np.full((1, 1, 9, 9), 1 / 9)
    seen = head_measures(even, padded, 4)
    assert seen.padding == pytest.approx([5 / 9])
    assert seen.entropy == pytest.approx([np.log2(9)])
    assert seen.distance == pytest.approx([4 * (0 + 1 + 1 + 2**0.5) / 4])


def test_where_the_roll_brings_the_edges_together_distances_are_those_of_the_photo() -> None:
    scheme = swin(4, 4, 2, 1)
    group, member = scheme.group_of(0, 0)  # its window holds the four corners, the mask leaves it alone
    probs = np.zeros((len(scheme.queries), 1, 4, 4))
    probs[...] = np.eye(4)
    assert head_measures(probs, scheme, 4).distance == [0]
    probs[group, 0, member] = (
        scheme.keys[group, :, 0] == 15
    )  # as if there were no mask: three down, three right
    assert head_measures(probs, scheme, 4).distance == pytest.approx([4 * 3 * 2**0.5 / 16])


def test_of_groups_the_measures_are_those_of_crossformer() -> None:
    g = grouping("lda", 5, 7, 3, 2)
    rng = np.random.default_rng(0)
    nG, N = g.members.shape
    content, bias = rng.normal(size=(nG, 2, N, N)), rng.normal(size=(2, N, N))
    logits = np.where(g.valid[:, None, None], content + bias, -1e9)
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    seen = head_measures(probs, crossformer(g), 4, content, bias)
    np.testing.assert_allclose(seen.distance, distance(probs, g, 4))
    np.testing.assert_allclose(seen.entropy, entropy(probs, g))
    np.testing.assert_allclose(seen.position, position_share(content, bias, g))


def test_the_masked_pairs_do_not_count_in_the_share_of_position() -> None:
    scheme = swin(4, 4, 2, 1)
    content, bias = np.zeros((4, 1, 4, 4)), np.zeros((1, 4, 4))
    assert scheme.region is not None
    content[scheme.region[:, None, :, None] != scheme.region[:, None, None, :]] = 1e3
    bias[0] = np.arange(4)
    probs = np.full((4, 1, 4, 4), 0.25)
    assert head_measures(probs, scheme, 4, content, bias).position == pytest.approx([1])
