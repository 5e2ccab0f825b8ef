"""The model: sizes, timm's contract, the cache of position biases, and parts compared with plain loops."""

import copy
import pickle

import numpy as np
import pytest
import timm
import torch

from cfviz.geometry import MASKED, grouping
from cfviz.hooks import capture
from cfviz.models import create_model, list_models
from cfviz.models.crossformer import DynamicPosBias, RelativePosBias, group, stretched, ungroup
from cfviz.models.crossformer.model import _conv

SMALL = {"embed_dim": 32, "depths": (2, 2, 3, 2), "num_heads": (1, 2, 4, 8), "num_classes": 5}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model("crossformer_nano", **SMALL).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_variants_are_registered_with_their_published_sizes(name):
    millions = {
        "crossformer_nano": 4.0,
        "crossformer_tiny": 27.8,
        "crossformer_small": 30.7,
        "crossformer_base": 52.0,
        "crossformer_large": 92.0,
        "crossformer_pp_small": 23.3,
        "crossformer_pp_base": 52.0,
        "crossformer_pp_large": 92.0,
        "crossformer_pp_huge": 96.0,
    }
    assert timm.is_model(name)
    with torch.device("meta"):
        net = timm.create_model(name)
    count = sum(p.numel() for p in net.parameters()) / 1e6
    assert (
        2 <= count <= 4
        if name.startswith("crossformer_nano")
        else count == pytest.approx(millions[name], abs=0.06)
    )


@pytest.mark.parametrize(("H", "W"), [(32, 32), (64, 224), (96, 96), (160, 32), (256, 192)])
def test_one_model_takes_any_multiple_of_32(model, H, W):
    before = {k: v for k, v in vars(model).items() if not k.startswith("_")}
    with torch.no_grad():
        y = model.forward_features(torch.randn(2, 3, H, W))
    assert y.shape == (2, H // 32, W // 32, 256)
    assert {k: v for k, v in vars(model).items() if not k.startswith("_")} == before


@pytest.mark.parametrize("call", ["forward", "forward_features", "forward_intermediates"])
def test_a_size_that_32_does_not_divide_is_refused(model, call):
    with pytest.raises(ValueError, match=r"100 x 224 pixels.*multiples of 32"):
        getattr(model, call)(torch.randn(1, 3, 100, 224))


@pytest.mark.parametrize(("kind", "I"), [("sda", 1), ("lda", 3)])
def test_the_models_groups_are_those_of_the_geometry(kind, I):  # noqa: E741
    groups = grouping(kind, 10, 13, 3, I)
    x = torch.arange(2 * 10 * 13, dtype=torch.float32).reshape(2, 10, 13, 1)
    y = group(x, groups).reshape(2, groups.nG, groups.N)
    for b in range(2):
        assert np.array_equal(y[b].numpy(), groups.gather(x[b, ..., 0].numpy()))
    assert torch.equal(ungroup(y.reshape(-1, groups.N, 1), groups), x)


@pytest.mark.parametrize("size", [(96, 96), (128, 96)])
def test_attention_equals_a_loop_over_groups(model, size):
    """As in the paper: softmax(q k / sqrt(d) + B) v in each group, without padding."""
    at = "layers.0.blocks.1.attn"
    attn = model.get_submodule(at)
    with torch.no_grad(), capture(model, f"{at}.*", "layers.0.blocks.1.attn_branch") as seen:
        model(torch.randn(1, 3, *size))
    q, k, v, bias = (seen[f"{at}.{p}"] for p in ("q", "k", "v", "bias"))
    groups = model.groupings(*size)[0][1]
    expected = torch.zeros(groups.H * groups.W, 32)
    for g in range(groups.nG):
        real = torch.from_numpy(np.flatnonzero(groups.valid[g]))
        for h in range(attn.num_heads):
            logits = q[g, h, real] @ k[g, h, real].T / 32**0.5 + bias[h][real][:, real]
            d = 32 // attn.num_heads
            expected[groups.members[g][real], h * d : (h + 1) * d] = torch.softmax(logits, -1) @ v[g, h, real]
    expected = torch.nn.functional.linear(expected, attn.proj.weight, attn.proj.bias)
    torch.testing.assert_close(seen["layers.0.blocks.1.attn_branch"][0].reshape(-1, 32), expected)


@pytest.mark.parametrize("name", ["layers.1.downsample", "layers.2.downsample"])
def test_a_merging_kernel_equals_a_matrix_product(model, name):
    merging = model.get_submodule(name)
    C = merging.norm.normalized_shape[0]
    x = torch.randn(1, C, 6, 10)
    for conv in merging.reductions:
        torch.testing.assert_close(_conv(x, conv), conv(x), rtol=1e-4, atol=1e-5)


def test_a_state_dict_can_be_saved_as_it_is(model):
    assert all(p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize("interval", [(8, 4, 2, 1), "adaptive", 2])
@pytest.mark.parametrize("group_size", [7, (4, 4, 14, 7), 3])
def test_group_size_and_interval_can_be_set(interval, group_size):
    net = timm.create_model("crossformer_nano", **SMALL, group_size=group_size, interval=interval).eval()
    sizes = [b.G for stage in net.stages for b in stage.block_list]
    G = (group_size,) * 4 if isinstance(group_size, int) else group_size
    assert sizes == [G[s] for s, depth in enumerate(net.depths) for _ in range(depth)]
    with torch.no_grad():
        assert net(torch.randn(1, 3, 160, 96)).shape == (1, 5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"group_size": (7, 7)}, "group_size is .*expected a whole number from 1, or 4"),
        ({"interval": "wide"}, "interval is 'wide'"),
        ({"interval": (8, 4, 2, 0)}, "interval is .*expected a whole number from 1"),
        ({"position_bias": "sine"}, "position_bias is 'sine'; expected 'dpb', 'rpb' or 'none'"),
        ({"global_pool": "median"}, "global_pool is 'median'; expected 'avg', 'max', 'avgmax' or ''"),
        ({"img_size": 100}, "100 x 100 pixels.*multiples of 32"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("crossformer_nano", **{**SMALL, **setting})


@pytest.mark.slow
def test_cooling_layers_are_where_the_authors_put_them():
    with torch.device("meta"):
        net = timm.create_model("crossformer_pp_huge")
    cooled = [[b.cooling for b in stage.block_list] for stage in net.stages]
    assert cooled[0] == [False, False, True, False, False, False]
    assert cooled[2] == [(b + 1) % 3 == 0 and b < 17 for b in range(18)]
    assert cooled[3] == [False, False]


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_gradients_equal_those_of_attention_written_out(model, half):
    """Fused attention must give the position bias its gradient too, with and without padding."""
    x = torch.randn(2, 3, 64, 96)
    parameters = dict(model.named_parameters())

    def gradients(written_out):
        watch = ["layers.*.blocks.*.attn.probs"] if written_out else []
        with torch.autocast("cpu", torch.bfloat16, enabled=half), capture(model, *watch, graph=True):
            score = model(x)[:, 0].float().sum()
        return torch.autograd.grad(score, list(parameters.values()))

    fused, plain = gradients(False), gradients(True)
    for which in ("", ".pos."):  # of all parameters, and of the position bias alone
        one, other = (
            torch.cat([g.flatten() for n, g in zip(parameters, gs, strict=True) if which in n])
            for gs in (fused, plain)
        )
        assert other.norm() > 0
        assert (one - other).norm() <= (0.05 if half else 1e-4) * other.norm()


class TestBiasCache:
    def test_it_is_used_only_in_eval_without_gradients(self, model):
        x = torch.randn(1, 3, 96, 96)
        attn = model.get_submodule("layers.0.blocks.0.attn")
        model(x)
        assert attn.cache.nbytes == 0
        with torch.no_grad():
            model(x)
        assert attn.cache.nbytes > 0
        model.train()
        assert attn.cache.nbytes == 0

    @pytest.mark.parametrize("how", ["in place", "load", "replace"])
    def test_it_follows_the_weights(self, model, how):
        x = torch.randn(1, 3, 96, 96)
        pos = model.get_submodule("layers.0.blocks.0.attn.pos")
        with torch.inference_mode():
            before = model(x)
        with torch.no_grad():
            if how == "in place":
                pos.pos3[2].weight.normal_()
            elif how == "load":
                state = {k: torch.randn_like(v) for k, v in pos.state_dict().items()}
                pos.load_state_dict(state)
            else:
                pos.pos3[2].weight = torch.nn.Parameter(torch.randn_like(pos.pos3[2].weight))
        fresh = copy.deepcopy(model)
        with torch.inference_mode():
            after = model(x)
            assert torch.equal(after, fresh(x))
        assert not torch.equal(after, before)

    def test_it_stays_under_20_mb_for_small_at_1024_px(self):
        with torch.device("meta"):
            net = timm.create_model("crossformer_small")
        total = 0
        for s, stage in enumerate(net.groupings(1024, 1024)):
            for groups in stage:
                distinct = len(groups.patterns[0])
                total += 4 * distinct * net.num_heads[s] * groups.N**2
        assert total < 20e6

    def test_it_holds_one_copy_per_pattern(self, model):
        with torch.no_grad():
            model(torch.randn(1, 3, 256, 256))
        groups = model.groupings(256, 256)[0][1]
        attn = model.get_submodule("layers.0.blocks.1.attn")
        assert groups.nG > len(groups.patterns[0])
        assert attn.cache.nbytes == 4 * len(groups.patterns[0]) * groups.N**2

    @pytest.mark.slow
    def test_it_stays_small_over_many_sizes(self, model):
        attn = model.get_submodule("layers.0.blocks.0.attn")
        with torch.no_grad():
            for side in range(32, 32 * 14, 32):
                model(torch.randn(1, 3, side, 32))
        assert len(attn.cache._state[-1]) <= attn.cache.LIMIT

    @pytest.mark.slow
    def test_it_is_empty_in_copies_and_pickles(self, model):
        with torch.no_grad():
            model(torch.randn(1, 3, 32, 32))
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert twin.get_submodule("layers.0.blocks.0.attn").cache.nbytes == 0

    @pytest.mark.slow
    def test_filled_in_inference_mode_it_does_not_break_training(self, model):
        x = torch.randn(1, 3, 256, 96)
        with torch.inference_mode():
            model(x)
        model.train()
        model(x).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_the_bias_of_a_pair_is_the_mlp_at_their_offset():
    torch.manual_seed(0)
    pos = DynamicPosBias(64, 3)
    for p in pos.parameters():
        torch.nn.init.normal_(p)
    bias = pos.bias(4)
    for query, key in [((0, 0), (3, 1)), ((2, 3), (2, 3)), ((3, 0), (0, 3))]:
        offset = torch.tensor([[query[0] - key[0], query[1] - key[1]]], dtype=torch.float32)
        pair = bias[:, query[0] * 4 + query[1], key[0] * 4 + key[1]]
        torch.testing.assert_close(pair, pos(offset)[0])


def test_a_table_is_exact_at_its_own_size_and_bicubic_elsewhere():
    pos = RelativePosBias(3, 2)
    torch.nn.init.normal_(pos.table)
    image = pos.table.detach().reshape(1, 5, 5, 2).permute(0, 3, 1, 2)
    assert torch.equal(pos.bias(3)[:, 0, 8], image[0, :, 0, 0])  # offset (-2, -2)
    assert torch.equal(pos.bias(3)[:, 4, 4], image[0, :, 2, 2])  # offset (0, 0)
    larger = torch.nn.functional.interpolate(image, (9, 9), mode="bicubic", align_corners=False)
    assert torch.equal(pos.bias(5)[:, 0, 24], larger[0, :, 0, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(("T", "G"), [(1, 3), (3, 3), (7, 5), (7, 8), (7, 14), (14, 7)])
def test_a_resized_table_is_interpolated_in_float32(T, G, dtype):
    table = torch.randn((2 * T - 1) ** 2, 3).to(dtype)
    image = table.T.reshape(1, 3, 2 * T - 1, 2 * T - 1).float()
    if T != G:
        image = torch.nn.functional.interpolate(image, (2 * G - 1,) * 2, mode="bicubic", align_corners=False)
    assert torch.equal(stretched(table, G), image.flatten(2)[0].T.to(dtype))


@pytest.mark.parametrize("kind", ["dpb", "rpb", "none"])
def test_position_biases_receive_gradients(kind):
    net = timm.create_model("crossformer_nano", **SMALL, position_bias=kind)
    net(torch.randn(2, 3, 64, 96)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    tables = [n for n, _ in net.named_parameters() if n.endswith("pos.table")]
    assert len(tables) == (9 if kind == "rpb" else 0)
    assert net.no_weight_decay() == set(tables)


def test_padded_keys_get_the_authors_mask_value():
    assert MASKED == -1e6


class TestTimmContract:
    """What timm expects of a model; timm's own tests were run on all variants too."""

    def test_the_default_config_is_complete(self, model):
        cfg = model.pretrained_cfg
        assert cfg["classifier"] == "head"
        assert all(f"{name}.weight" in model.state_dict() for name in cfg["first_conv"])
        assert (model.num_features, model.head_hidden_size) == (256, 256)

    @pytest.mark.slow
    def test_the_classifier_can_be_read_and_reset(self, model):
        x = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            features = model.forward_features(x)
            assert torch.equal(model.forward_head(features), model(x))
            pre = model.forward_head(features, pre_logits=True)
            torch.testing.assert_close(pre, features.mean((1, 2)))
            assert model.get_classifier() is model.head
            model.reset_classifier(9)
            assert model(x).shape == (2, 9)
            model.reset_classifier(0)
            assert torch.equal(model(x), pre)
            model.reset_classifier(0, "")
            assert model(x).shape == (2, 2, 2, 256)

    @pytest.mark.parametrize("indices", [None, 2, [0, 3], [1]])
    @pytest.mark.parametrize("fmt", ["NCHW", "NHWC"])
    def test_intermediates_are_the_stages_maps(self, model, indices, fmt):
        x = torch.randn(1, 3, 64, 96)
        with torch.no_grad(), capture(model, "layers.?.blocks.?.out") as seen:
            final, maps = model.forward_intermediates(x, indices, output_fmt=fmt)
            assert torch.equal(final, model.forward_features(x))
            only = model.forward_intermediates(x, indices, output_fmt=fmt, intermediates_only=True)
        stages = {None: [0, 1, 2, 3], 2: [2, 3], (0, 3): [0, 3], (1,): [1]}[
            tuple(indices) if isinstance(indices, list) else indices
        ]
        assert len(maps) == len(only) == len(stages)
        for s, one, other in zip(stages, maps, only, strict=True):
            expected = seen[f"layers.{s}.blocks.{model.depths[s] - 1}.out"]
            expected = expected.permute(0, 3, 1, 2) if fmt == "NCHW" else expected
            assert torch.equal(one, expected)
            assert torch.equal(other, expected)

    def test_features_only_returns_the_stages_maps(self):
        net = timm.create_model("crossformer_nano", **SMALL, features_only=True, out_indices=(1, 2)).eval()
        assert net.feature_info.channels() == [64, 128]
        assert net.feature_info.reduction() == [8, 16]
        with torch.no_grad():
            assert [tuple(f.shape) for f in net(torch.randn(1, 3, 64, 96))] == [
                (1, 64, 8, 12),
                (1, 128, 4, 6),
            ]

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["getter", "hook", "fx"])
    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_every_extractor_returns_the_maps_before_merging(self, model, kind, checkpointing):
        net = timm.create_model("crossformer_nano", **SMALL, features_only=True, feature_cls=kind).eval()
        inner = net.graph_module if kind == "fx" else net["body"] if kind == "hook" else net.model
        inner.load_state_dict(model.state_dict(), strict=False)
        if checkpointing and kind != "fx":
            inner.set_grad_checkpointing()
        x = torch.randn(1, 3, 64, 96)
        for found, expected in zip(
            net(x), model.forward_intermediates(x, intermediates_only=True), strict=True
        ):
            channels = found if kind == "getter" else found.permute(0, 3, 1, 2)
            torch.testing.assert_close(channels, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_number_format_and_device_can_be_chosen(self, dtype):
        net = timm.create_model("crossformer_nano", **SMALL, dtype=dtype, device="cpu").eval()
        assert {p.dtype for p in net.parameters()} == {dtype}
        net.reset_classifier(9)
        assert {p.dtype for p in net.parameters()} == {dtype}
        with torch.no_grad():
            assert net(torch.randn(1, 3, 64, 64, dtype=dtype)).dtype == dtype
        with torch.no_grad():
            assert 0 < net.head.weight.float().std() < 0.03
        assert net.provenance.source == "random"

    def test_a_model_can_be_made_on_the_meta_device(self):
        net = timm.create_model("crossformer_nano", **SMALL, device="meta")
        net.reset_classifier(9)
        assert {p.device.type for p in net.parameters()} == {"meta"}

    @pytest.mark.parametrize("pool", ["avg", "max", "avgmax", ""])
    def test_pooling_is_timms(self, pool):
        net = timm.create_model("crossformer_nano", **SMALL, global_pool=pool).eval()
        with torch.no_grad():
            maps = net.forward_features(torch.randn(2, 3, 64, 96))
            mean, most = maps.mean((1, 2)), maps.amax((1, 2))
            expected = {"avg": mean, "max": most, "avgmax": (mean + most) / 2, "": maps}[pool]
            assert torch.equal(net.forward_head(maps, pre_logits=True), expected)

    @pytest.mark.slow
    def test_attention_dropout_applies_only_in_training(self):
        plain = timm.create_model("crossformer_nano", **SMALL)
        net = timm.create_model("crossformer_nano", **SMALL, attn_drop_rate=0.5)
        net.load_state_dict(plain.state_dict())
        x = torch.randn(1, 3, 64, 96)
        for model in (plain, net):
            for block in model.layers.modules():
                if hasattr(block, "drop_prob"):
                    block.drop_prob = 0.0
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                assert torch.equal(plain.eval()(x), net.eval()(x))
                plain.train(), net.train()
                assert not torch.allclose(plain(x), net(x))
                with capture(net, "layers.0.blocks.0.attn.probs", graph=True):
                    assert not torch.allclose(plain(x), net(x))

    @pytest.mark.parametrize("training", [False, True])
    def test_a_new_classifier_has_the_models_mode(self, model, training):
        model.train(training)
        for classes in (9, 0):
            model.reset_classifier(classes)
            assert {m.training for m in model.modules()} == {training}

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("indices", "prune_norm"), [([0], False), ([1], True), ([3], False), (None, True)]
    )
    def test_pruning_leaves_no_unused_parameters(self, model, indices, prune_norm):
        whole = copy.deepcopy(model)
        x = torch.randn(1, 3, 64, 64)
        expected = whole.forward_intermediates(x, indices, norm=not prune_norm, intermediates_only=True)
        take = model.prune_intermediate_layers(indices, prune_norm=prune_norm)
        found = model.forward_intermediates(x, take, norm=not prune_norm, intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        sum(f.sum() for f in found).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        assert model(x).ndim == 4
        assert not any(m.training for m in model.modules())

    def test_the_input_size_can_be_set(self, model):
        model.set_input_size(img_size=(320, 256), window_size=(5, 5, 10, 8))
        assert (model.img_size, model.group_size) == ((320, 256), (5, 5, 10, 8))
        with pytest.raises(ValueError, match=r"300 x 300 pixels.*multiples of 32"):
            model.set_input_size(300)

    @pytest.mark.slow
    def test_gradient_checkpointing_changes_no_result(self, model):
        x = torch.randn(2, 3, 64, 64)
        plain = torch.autograd.grad(model(x).sum(), model.patch_embed.projs[3].weight)[0]
        model.set_grad_checkpointing()
        again = torch.autograd.grad(model(x).sum(), model.patch_embed.projs[3].weight)[0]
        torch.testing.assert_close(again, plain)

    def test_every_parameter_belongs_to_a_layer_group(self, model):
        from timm.models import group_parameters

        groups = group_parameters(model, model.group_matcher(), reverse=True)
        assert set(groups) == {name for name, _ in model.named_parameters()}
        last = max(v for k, v in groups.items() if k.startswith("layers.0.blocks"))
        assert groups["patch_embed.norm.weight"] < groups["layers.0.blocks.0.norm1.weight"] <= last
        assert groups["layers.0.downsample.norm.weight"] == last < groups["layers.1.blocks.0.norm1.weight"]

    def test_other_numbers_of_channels_are_accepted(self):
        net = create_model("crossformer_nano", weights=None, in_chans=1)
        with torch.no_grad():
            assert net(torch.randn(1, 1, 32, 32)).shape == (1, net.num_classes)


def test_create_model_lists_the_variants():
    with pytest.raises(ValueError, match="no model 'resnet50'; there are: crossformer_nano"):
        create_model("resnet50")


def test_random_weights_are_recorded_as_random():
    assert create_model("crossformer_nano", weights=None).provenance.trained is None
