"""Hooks, exports, traces and writes to weights work as on any other PyTorch module."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn

from cfviz.hooks import HookPoint
from cfviz.models.crossformer import CrossFormer, linear
from cfviz.models.crossformer.shortcuts import bare

SMALL = {"embed_dim": 32, "depths": (2, 2, 3, 2), "num_heads": (1, 2, 4, 8), "num_classes": 5}
EVERY_BIAS = pytest.mark.parametrize("position_bias", ["dpb", "rpb", "none"])
AT = "layers.0.blocks.0.attn"


def small(**settings: Any) -> CrossFormer:
    torch.manual_seed(0)
    return timm.create_model("crossformer_nano", **{**SMALL, **settings}).eval()


@pytest.fixture
def model() -> CrossFormer:
    return small()


class TestOthersAfterAnObserver:
    """Constants are shared by the whole process: what happens to one model must not affect another."""

    @pytest.mark.slow
    @pytest.mark.parametrize("gradients", [False, True])
    def test_models_return_real_tensors_after_an_export(self, gradients: bool) -> None:
        x = torch.randn(1, 3, 160, 96)  # a size not used elsewhere, so that its constants do not exist yet
        with torch.set_grad_enabled(gradients):
            torch.export.export(small(group_size=5), (x,))
        y = small(group_size=5)(x)
        assert type(y) is torch.Tensor
        assert y.isfinite().all()

    @pytest.mark.slow
    def test_models_return_real_tensors_after_fake_tensors(self) -> None:
        from torch._subclasses import FakeTensorMode

        x = torch.randn(1, 3, 160, 96)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
            small(group_size=6)(mode.from_tensor(x))
        assert type(small(group_size=6)(x)) is torch.Tensor

    @pytest.mark.slow
    def test_models_return_real_tensors_after_vmap(self) -> None:
        x = torch.randn(2, 1, 3, 160, 96)
        model = small(group_size=3, interval=5)
        together = torch.func.vmap(model)(x)
        torch.testing.assert_close(together[1], model(x[1]), rtol=1e-4, atol=1e-5)

    def test_constants_ignore_the_default_device_and_dtype(self) -> None:
        x = torch.randn(1, 3, 160, 96)
        model = small(group_size=2)
        with torch.device("meta"):
            y = model(x)
        assert y.device.type == "cpu"
        assert torch.equal(y, model(x))


class TestPositionBias:
    """A position bias is cached, but never longer than it is valid."""

    def changed(self, model: CrossFormer, change: Callable[[Any], Any]) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(1, 3, 96, 96)
        with torch.inference_mode():
            before = model(x)
            change(model.get_submodule(f"{AT}.pos"))
            return before, model(x)

    @pytest.mark.parametrize(
        "change",
        [
            lambda pos: pos.pos3[2].weight.data.normal_(),
            lambda pos: pos.pos3[2].weight.data[0].fill_(3),
            lambda pos: pos.pos2[0].bias.data.add_(1),
            lambda pos: setattr(pos.pos2[0].weight, "data", torch.randn_like(pos.pos2[0].weight)),
            lambda pos: pos.pos3.__setitem__(1, nn.Tanh()),
            lambda pos: pos.register_forward_hook(lambda module, args, out: out + out.roll(1, 0) + 1),
            lambda pos: pos.pos_proj.register_forward_pre_hook(lambda module, args: (args[0] * 2,)),
            lambda pos: pos.pos3[2].register_forward_hook(lambda module, args, out: out.flip(0)),
            lambda pos: setattr(pos.pos3, "forward", lambda x: x[:, :1].cumsum(0)),
        ],
    )
    def test_it_follows_any_change_to_its_modules(self, model, change) -> None:
        before, after = self.changed(model, change)
        assert not torch.equal(before, after)

    def test_it_follows_a_table_written_through_data(self) -> None:
        before, after = self.changed(small(position_bias="rpb"), lambda pos: pos.table.data.normal_())
        assert not torch.equal(before, after)

    @EVERY_BIAS
    def test_every_kind_can_be_hooked(self, position_bias: str) -> None:
        model = small(position_bias=position_bias)
        seen = []
        x = torch.randn(1, 3, 96, 96)
        with torch.inference_mode():
            model(x)
            handle = model.get_submodule(f"{AT}.pos").register_forward_hook(
                lambda module, args, out: seen.append(out)
            )
            model(x)
            handle.remove()
            model(x)
        assert [y.shape for y in seen] == [(13**2, 1)]

    def test_a_bias_changed_by_a_hook_is_not_cached(self, model) -> None:
        x = torch.randn(1, 3, 96, 96)
        with torch.inference_mode():
            before = model(x)
            handle = model.get_submodule(f"{AT}.pos").register_forward_hook(
                lambda module, args, out: out.flip(0)
            )
            assert not torch.equal(model(x), before)
            handle.remove()
            assert torch.equal(model(x), before)


class TestModuleHooks:
    """A module with weights or a point's name is called once per forward, at every batch and image size."""

    @pytest.mark.parametrize("shape", [(1, 64, 64), (1, 224, 224), (2, 64, 96)])
    @pytest.mark.parametrize("gradients", [False, True])
    def test_every_module_is_called_once(self, model, shape, gradients, monkeypatch) -> None:
        monkeypatch.setattr(linear, "PART", 1000)  # so that an MLP would be computed in parts
        model.set_grad_checkpointing(False)
        calls: dict[str, int] = {}

        def count(name: str) -> Callable[..., None]:
            def hook(*args: Any) -> None:
                calls[name] = calls.get(name, 0) + 1

            return hook

        lists = (nn.ModuleList, nn.ModuleDict)
        named = {name: m for name, m in model.named_modules() if not isinstance(m, lists)}
        for name, module in named.items():
            module.register_forward_hook(count(name))
        B, H, W = shape
        with torch.set_grad_enabled(gradients):
            model(torch.randn(B, 3, H, W))
        assert calls == dict.fromkeys(named, 1)

    @pytest.mark.parametrize("batch", [1, 2])
    def test_a_hook_on_a_merging_kernel_changes_the_output(self, model, batch) -> None:
        x = torch.randn(batch, 3, 64, 64)
        with torch.no_grad():
            before = model(x)
            model.get_submodule("layers.2.downsample.reductions.1").register_forward_hook(
                lambda module, args, out: torch.zeros_like(out)
            )
            assert not torch.equal(model(x), before)

    @pytest.mark.parametrize("name", ["qkv", "proj"])
    def test_a_replaced_linear_layer_is_used(self, model, name) -> None:
        class Doubled(nn.Linear):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return 2 * super().forward(x)

        x = torch.randn(1, 3, 64, 64)
        attn = model.get_submodule(AT)
        old = getattr(attn, name)
        new = Doubled(old.in_features, old.out_features)
        new.load_state_dict(old.state_dict())
        with torch.no_grad():
            before = model(x)
            setattr(attn, name, new)
            assert not torch.equal(model(x), before)

    @pytest.mark.slow
    def test_a_hooks_return_value_replaces_the_tensor_of_a_point(self, model) -> None:
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            before = model(x)
            for point in ("attn.q", "attn.bias", "attn.probs", "attn.heads", "mlp_branch", "out"):
                module = model.get_submodule(f"layers.1.blocks.1.{point}")
                handle = module.register_forward_hook(lambda module, args, out: out.flip(-1))
                assert not torch.equal(model(x), before), point
                handle.remove()
                assert torch.equal(model(x), before), point

    def test_probabilities_seen_by_a_hook_can_be_differentiated(self, model) -> None:
        kept = []
        model.get_submodule(f"{AT}.probs").register_forward_hook(lambda module, args, out: kept.append(out))
        score = model(torch.randn(1, 3, 64, 64))[0, 1]
        (gradient,) = torch.autograd.grad(score, kept)
        assert gradient.abs().max() > 0

    @pytest.mark.parametrize("batch", [1, 2])
    @pytest.mark.parametrize("name", ["layers.2.downsample.reductions.0", "layers.2.blocks.1.attn.probs"])
    def test_captum_attributes_to_a_layer(self, model, batch, name) -> None:
        from captum.attr import LayerActivation, LayerGradientXActivation

        x = torch.randn(batch, 3, 64, 64)
        layer = model.get_submodule(name)
        seen = LayerActivation(model, layer).attribute(x)
        given = LayerGradientXActivation(model, layer).attribute(x, target=1)
        assert seen.shape == given.shape
        assert given.abs().max() > 0

    def test_a_module_without_hooks_takes_the_fast_path(self, model) -> None:
        layer = model.get_submodule(f"{AT}.qkv")
        assert bare(layer)
        handle = layer.register_full_backward_hook(lambda *args: None)
        assert not bare(layer)
        handle.remove()
        with nn.modules.module.register_module_forward_hook(lambda *args: None):
            assert not bare(layer)
        layer.forward = layer.forward
        assert not bare(layer)

    def test_points_can_be_hooked_like_other_modules(self, model) -> None:
        assert "__call__" not in vars(HookPoint)
