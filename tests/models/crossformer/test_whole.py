"""Long distance attention over the whole map: rectangular groups in the model, its points and its edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from cfviz.geometry import Grouping, grouping
from cfviz.hooks import capture, edit
from cfviz.models.crossformer import CrossFormer, DynamicPosBias, RelativePosBias, group, ungroup
from cfviz.models.crossformer import attend as attention
from cfviz.models.crossformer.model import Attention
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import from_url
from cfviz.models.probes.position_bias import changes, edits, regrouped
from cfviz.options import BIAS_METHODS

TINY = {"embed_dim": 64, "depths": (2, 2, 2, 1), "num_heads": (2, 4, 4, 8), "num_classes": 5, "group_size": 3}
SIZES = ((96, 96), (160, 96), (128, 288), (64, 160))
CUTS = (
    grouping("lda", 8, 12, 3, 4, "whole"),
    grouping("lda", 9, 13, 3, 4, "whole"),
    grouping("lda", 5, 7, 3, 1, "whole"),
    grouping("lda", 3, 9, 7, 8, "whole"),
    grouping("lda", 7, 7, 3, 2, "whole"),
)
EACH_CUT = pytest.mark.parametrize("cut", CUTS, ids=lambda g: f"{g.H}x{g.W}-{g.I}")


def tiny(**settings: Any) -> CrossFormer:
    torch.manual_seed(0)
    net = timm.create_model("crossformer_nano", **{**TINY, "lda": "whole", **settings}).eval()
    for name, weight in net.named_parameters():
        if ".pos." in name:
            torch.nn.init.normal_(weight, std=0.7)  # a bias that is not flat
    return net


def photo(size: tuple[int, int], batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(size[0]))


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@EACH_CUT
def test_a_map_of_indices_is_grouped_as_in_the_geometry(cut: Grouping) -> None:
    codes = torch.arange(1, cut.H * cut.W + 1, dtype=torch.float32).reshape(1, cut.H, cut.W, 1)
    found = group(codes.repeat(2, 1, 1, 1), cut)  # B*nG, N, 1
    assert np.array_equal(found[: cut.nG, :, 0].numpy(), cut.members + 1)  # 0 where it is padded
    assert torch.equal(ungroup(found, cut), codes.repeat(2, 1, 1, 1))


@EACH_CUT
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("kind", ["dpb", "rpb", "none"])
def test_attention_follows_the_definition(
    cut: Grouping, gradients: bool, size: str, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token scores those that lie whole intervals away, with the bias of its distance in intervals."""
    if size != "small":
        monkeypatch.setattr(attention, "IN_PARTS", 0)
    if size == "large":
        monkeypatch.setattr(attention, "GATHERED", 0)
    torch.manual_seed(1)
    layer = Attention(32, 2, 3, kind).eval()
    for p in layer.pos.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(2, cut.H, cut.W, 32)
    with torch.set_grad_enabled(gradients):
        found = ungroup(layer(group(x, cut), cut), cut).flatten(1, 2).detach()
    with torch.no_grad():
        row, col = (torch.from_numpy(n) for n in np.divmod(np.arange(cut.H * cut.W), cut.W))
        down, across = row[:, None] - row, col[:, None] - col
        open_ = (down % cut.I == 0) & (across % cut.I == 0)
        offset = torch.stack([down, across], -1) // cut.I
        q, k, v = layer.qkv(x.flatten(1, 2)).view(2, cut.H * cut.W, 3, 2, 16).permute(2, 0, 3, 1, 4)
        if kind == "dpb":
            bias = layer.pos(offset.float())
        elif kind == "rpb":
            image = layer.pos.table.reshape(1, 5, 5, 2).permute(0, 3, 1, 2)
            size = (2 * cut.Gh - 1, 2 * cut.Gw - 1)
            image = image if size == (5, 5) else F.interpolate(image, size, mode="bicubic")
            at = [
                (offset[..., i] + side - 1).clamp(0, 2 * side - 2) for i, side in enumerate((cut.Gh, cut.Gw))
            ]
            bias = image[0][:, at[0], at[1]].permute(1, 2, 0)
        else:
            bias = torch.zeros(1)
        logits = q @ k.mT / 4 + bias.permute(*([2, 0, 1] if bias.ndim == 3 else [0]))
        probs = logits.masked_fill(~open_, -torch.inf).softmax(-1)
        close(found, layer.proj((probs @ v).transpose(1, 2).flatten(2)))


@pytest.mark.slow
@torch.no_grad()
def test_both_forms_agree_at_the_papers_size() -> None:
    nets = [
        timm.create_model("crossformer_nano", num_classes=5, lda=lda).eval() for lda in ("regions", "whole")
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    x = photo((224, 224))
    assert torch.equal(nets[0](x), nets[1](x))
    assert nets[0].groupings(224, 224) == nets[1].groupings(224, 224)
    x = photo((256, 320))
    assert (nets[0](x) - nets[1](x)).abs().max() > 1e-3 * nets[0](x).abs().max()


@pytest.mark.slow
@torch.no_grad()
def test_a_size_does_not_change_the_result_at_another() -> None:
    net = tiny()
    alone = {size: tiny()(photo(size)) for size in SIZES}
    for size in (*SIZES, *reversed(SIZES), *SIZES):
        assert torch.equal(net(photo(size)), alone[size])


@pytest.mark.slow
def test_the_form_can_be_set_like_other_settings() -> None:
    net = tiny(lda="regions")
    assert net.lda == "regions"
    before = net.groupings(128, 288)
    net.set_grouping(lda="whole")
    assert (net.lda, net.group_size) == ("whole", (3, 3, 3, 3))
    assert net.groupings(128, 288) == tiny().groupings(128, 288) != before
    net.set_grouping(4)
    assert net.groupings(128, 288)[0][1].size == "4 x 9"
    with regrouped(net, 3, net.interval, "regions"):
        assert net.groupings(128, 288) == before
    with regrouped(net, 3, net.interval):
        assert net.groupings(128, 288)[0][1].size == "4 x 9"
    with pytest.raises(ValueError, match="lda is 'map'; expected 'regions' or 'whole'"):
        net.set_grouping(lda="map")
    with pytest.raises(ValueError, match="lda is 'map'"):
        timm.create_model("crossformer_nano", lda="map")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_watched_tensors_have_the_groups_shape_and_made_the_result(size: tuple[int, int]) -> None:
    net, x = tiny(interval=(6, 4, 2, 1)), photo(size, 2)
    plain = net(x)
    with capture(net, "layers.*.blocks.*.attn.*") as seen:
        assert torch.equal(net(x), plain)
    for s, stage in enumerate(net.groupings(*size)):
        for b, g in enumerate(stage):
            q, k, v, bias, probs, heads = (
                seen[f"layers.{s}.blocks.{b}.attn.{n}"] for n in ("q", "k", "v", "bias", "probs", "heads")
            )
            nH = net.num_heads[s]
            assert probs.shape == (2 * g.nG, nH, g.N, g.N)
            assert bias.shape == (nH, g.N, g.N)
            valid = torch.from_numpy(g.valid).repeat(2, 1)
            logits = q @ k.mT * q.shape[-1] ** -0.5 + bias
            logits = logits.masked_fill(~valid[:, None, None], -torch.inf)
            some = valid.any(1)
            close(probs[some], logits[some].softmax(-1))
            close(heads[some], probs[some] @ v[some])


@pytest.mark.slow
def test_gradients_are_those_of_written_out_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = tiny(interval=(6, 4, 2, 1)), photo((128, 288))

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(net(x).square().sum(), list(net.parameters())))

    expected = gradients()
    monkeypatch.setattr(attention, "GATHERED", 0)
    for found, wanted in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def by_offset(bias: torch.Tensor, g: Grouping) -> dict[tuple[int, int], torch.Tensor]:
    """The bias (nH, N, N) as {(dh, dw): (nH,)}; fails if two pairs of one offset differ."""
    row, col = np.divmod(np.arange(g.N), g.Gw)
    found: dict[tuple[int, int], torch.Tensor] = {}
    for i in range(g.N):
        for j in range(g.N):
            at = (int(row[i] - row[j]), int(col[i] - col[j]))
            assert torch.equal(found.setdefault(at, bias[:, i, j]), bias[:, i, j]), at
    return found


@pytest.mark.slow
def test_a_bias_of_36_x_36_pairs_can_belong_to_groups_of_4_x_9() -> None:
    """The number of pairs alone would say 6 x 6."""
    net, x, point = tiny(), photo((128, 288)), "layers.0.blocks.1.attn.bias"
    g = net.groupings(128, 288)[0][1]
    assert (g.size, g.N) == ("4 x 9", 36)

    def seen(made: Any = None, words: str = "") -> dict[tuple[int, int], torch.Tensor]:
        with (
            torch.no_grad(),
            edit(net, made or {}),
            apply(net, from_url(words)),
            capture(net, point) as found,
        ):
            net(x)
        return by_offset(found[point], g)

    own = seen()
    pos = net.stages[0].block_list[1].attn.pos
    assert isinstance(pos, DynamicPosBias)
    for at in ((0, 0), (3, -8), (-2, 5)):
        close(own[at], pos(torch.tensor([at], dtype=torch.float32))[0])
    for found in (seen(changes(net, "shuffle", [(0, 1)])), seen(words="1.2.bias-shuffle7")):
        assert found.keys() == own.keys()
        for h in range(2):
            values = [sorted(float(v[h]) for v in some.values()) for some in (found, own)]
            assert values[0] == values[1]
        assert any(not torch.equal(found[at], own[at]) for at in own)
    mean = torch.stack(list(own.values())).mean(0)
    for value in seen(words="1.2.bias-mean").values():
        close(value, mean)
    close(seen(edits(net, "clamp"))[3, -8], own[2, -2])
    assert not seen(edits(net, "cut"))[0, 3].any()
    close(seen(edits(net, "cut"))[-2, 1], own[-2, 1])
    half = torch.tensor([[3 * 2 / 3, -8 * 2 / 8]])
    close(seen(edits(net, "rescaled"))[3, -8], pos(half)[0])
    for method in BIAS_METHODS:
        assert seen(edits(net, method)).keys() == own.keys()


@pytest.mark.slow
@torch.no_grad()
def test_heads_are_edited_in_rectangular_padded_groups() -> None:
    net, x = tiny(interval=(6, 4, 2, 1)), photo((128, 288))
    point, other = "layers.0.blocks.1.attn.heads", photo((128, 288)).flip(-1)
    g = net.groupings(128, 288)[0][1]
    assert g.padded
    with capture(net, point) as seen:
        net(other)
    donor = {point: seen[point].numpy()}
    with apply(net, from_url("1.2.h1-replace"), donor=donor), capture(net, point) as found:
        net(x)
    valid = torch.from_numpy(g.valid)
    assert torch.equal(found[point][:, 0][valid], seen[point][:, 0][valid])
    with apply(net, from_url("1.2.kind-sda_1.2.G-5")), capture(net, "layers.0.blocks.1.attn.probs") as found:
        net(x)
    assert found["layers.0.blocks.1.attn.probs"].shape[-1] == 25


def test_a_table_is_resized_along_each_side() -> None:
    pos = RelativePosBias(3, 2)
    torch.nn.init.normal_(pos.table)
    image = pos.table.detach().reshape(1, 5, 5, 2).permute(0, 3, 1, 2)
    larger = F.interpolate(image, (7, 11), mode="bicubic", align_corners=False)
    bias = pos.bias(4, 6)
    assert bias.shape == (2, 24, 24)
    assert torch.equal(bias[:, 0, 23], larger[0, :, 0, 0])  # offset (-3, -5)
    assert torch.equal(bias[:, 7, 0], larger[0, :, 4, 6])  # offset (1, 1)
    line = F.interpolate(image, (1, 25), mode="bicubic", align_corners=False)  # as many numbers as the table
    assert torch.equal(pos.bias(1, 13)[:, 0, 12], line[0, :, 0, 0])


@pytest.mark.slow
@torch.no_grad()
def test_the_cache_of_biases_is_bounded() -> None:
    net = tiny()
    for width in range(64, 64 + 32 * 12, 32):
        net(photo((64, width)))
    caches = [m.cache for m in net.modules() if isinstance(m, Attention)]
    assert all(len(cache._state[-1]) <= cache.LIMIT and cache.nbytes <= cache.BYTES for cache in caches)
    before = net(photo((64, 160)))
    for cache in caches:
        cache.clear()
        cache.BYTES = 1000  # nothing fits, and the result is the same
    assert torch.equal(net(photo((64, 160))), before)
    assert all(cache.nbytes <= 1000 for cache in caches)
