"""Compilers, exporters, tracers and function transforms take a model whole and reproduce its outputs."""

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from cfviz.hooks import capture, edit
from cfviz.models.crossformer import CrossFormer

# Each block costs a compiler seconds. SDA and LDA on a padded map, then a map that is smaller than its group:
TINY = {"embed_dim": 32, "depths": (2, 1), "num_heads": (1, 2), "num_classes": 5}
TINY |= {"group_size": (7, 14), "interval": (8, 4)}
GRADIENTS = pytest.mark.parametrize("gradients", [False, True])
EVERY_BIAS = pytest.mark.parametrize("position_bias", ["dpb", "rpb", "none"])
EVERY_LDA = pytest.mark.parametrize("lda", ["regions", "whole"])
INTERVAL = (5, 4)  # 5 pads, over the whole map too


def tiny(**settings: Any) -> CrossFormer:
    torch.manual_seed(0)
    return timm.create_model("crossformer_nano", **{**TINY, **settings}).eval()


def photos(batch: int = 2, H: int = 96, W: int = 96) -> torch.Tensor:
    """Random photos of a size at which the first stages are padded."""
    return torch.randn(batch, 3, H, W, generator=torch.Generator().manual_seed(batch))


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
class TestCompile:
    @pytest.fixture(autouse=True)
    def fresh(self) -> Iterator[None]:
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @GRADIENTS
    @EVERY_LDA
    def test_it_compiles_into_one_graph(self, gradients, lda) -> None:
        model, x = tiny(lda=lda, interval=INTERVAL), photos(2, 96, 160)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        with torch.set_grad_enabled(gradients):
            same(compiled(x), model(x))

    @pytest.mark.slow(8)
    def test_it_follows_changed_blocks_weights_and_groups(self) -> None:
        model, x = tiny(depths=(2,), num_heads=(1,), group_size=7, interval=8), photos()
        compiled = torch.compile(model, backend="aot_eager")
        with torch.no_grad():
            plain = compiled(x)
            with capture(model, "layers.0.blocks.1.attn.probs", "logits") as seen:
                same(compiled(x), plain)
            assert set(seen) == {"layers.0.blocks.1.attn.probs", "logits"}
            same(seen["logits"], plain)
            with edit(model, {"pooled": torch.zeros_like}):
                same(compiled(x), model.head.bias.expand(2, -1))
            model.get_submodule("layers.0.blocks.0.attn.pos.pos3.2").weight.data.normal_()
            model.set_grouping(5)
            same(compiled(x), model(x))

    @pytest.mark.slow(19)
    def test_inductor_works_on_a_cpu_without_gradients(self) -> None:
        model = tiny(depths=(2,), num_heads=(1,), group_size=7, interval=8)  # each kernel takes g++ a second
        # told what the processor can, or it compiles programs to see
        with torch._inductor.config.patch({"cpp.vec_isa_ok": True}), torch.no_grad():
            same(torch.compile(model)(photos()), model(photos()))


@pytest.mark.slow
class TestExport:
    @GRADIENTS
    @pytest.mark.parametrize("side", [96, 224])
    def test_it_takes_any_batch(self, gradients, side) -> None:
        model = tiny()
        with torch.set_grad_enabled(gradients):
            batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
            program = torch.export.export(model, (photos(2, side, side),), dynamic_shapes=batch)
            for n in (1, 5):
                same(program.module()(photos(n, side, side)), model(photos(n, side, side)))

    @EVERY_BIAS
    @EVERY_LDA
    def test_it_works_with_every_position_bias(self, position_bias, lda) -> None:
        model, x = tiny(position_bias=position_bias, lda=lda, interval=INTERVAL), photos(2, 96, 160)
        with torch.no_grad():
            model(x)  # whatever is remembered must not become a constant of the program
            module = torch.export.export(model, (x,)).module()
            same(module(x), model(x))
            other = {name: torch.randn_like(p) for name, p in model.named_parameters()}
            module.load_state_dict(other)
            model.load_state_dict(other)
            torch.testing.assert_close(module(x), model(x), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
class TestJitTrace:
    @GRADIENTS
    @EVERY_LDA
    def test_it_takes_any_batch_of_one_size(self, gradients, lda) -> None:
        model = tiny(lda=lda, interval=INTERVAL)
        with torch.set_grad_enabled(gradients):
            traced = torch.jit.trace(model, photos(2, 96, 160))
            for n in (1, 2, 5):
                same(traced(photos(n, 96, 160)), model(photos(n, 96, 160)))

    def test_it_refuses_another_size(self) -> None:
        traced = torch.jit.trace(tiny(), photos())
        for H, W in ((128, 128), (96, 192), (48, 192)):
            with pytest.raises(RuntimeError, match="expanded size"):
                traced(torch.randn(2, 3, H, W))


class TestFX:
    @pytest.mark.slow
    @EVERY_BIAS
    @EVERY_LDA
    def test_a_symbolic_trace_works_at_every_size(self, position_bias, lda) -> None:
        model = tiny(position_bias=position_bias, lda=lda, interval=INTERVAL)
        traced = torch.fx.symbolic_trace(model)
        for x in (photos(), photos(1, 128, 64), photos(3, 224, 224)):
            with torch.no_grad():
                same(traced(x), model(x))

    @pytest.mark.slow
    def test_timms_extractor_reproduces_the_features_bit_for_bit(self) -> None:
        from timm.layers import create_feature_extractor

        model, x = tiny(), photos(1)
        extractor = create_feature_extractor(model, ["layers.1.blocks", "head"])
        with torch.inference_mode(), capture(model, "layers.1.blocks.0.out") as seen:
            logits, found = model(x), extractor(x)
        assert torch.equal(found["head"], logits)
        assert torch.equal(found["layers.1.blocks"], seen["layers.1.blocks.0.out"])

    @pytest.mark.slow
    def test_torchvisions_extractor_works(self) -> None:
        from torchvision.models.feature_extraction import create_feature_extractor

        model, x = tiny(), photos()
        with torch.no_grad():
            found = create_feature_extractor(model, ["layers.0.blocks.1.mlp", "head"])(x)
        same(found["head"], model(x))
        assert found["layers.0.blocks.1.mlp"].shape == (2, 24, 24, 32)

    def test_a_size_that_32_does_not_divide_is_refused(self) -> None:
        with pytest.raises(ValueError, match="multiples of 32"):
            torch.fx.symbolic_trace(tiny())(torch.randn(1, 3, 100, 96))


class TestTransforms:
    @pytest.mark.slow
    @EVERY_LDA
    def test_vmap_gives_the_gradients_of_each_sample(self, lda) -> None:
        model, x, y = tiny(lda=lda, interval=INTERVAL), photos(2, 96, 160), torch.tensor([1, 2])
        weights = dict(model.named_parameters())

        def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(functional_call(model, weights, (x[None],)), y[None])

        together = vmap(grad(loss), (None, 0, 0))(weights, x, y)
        alone = torch.autograd.grad(loss(weights, x[1], y[1]), list(weights.values()))
        for name, gradient in zip(weights, alone, strict=True):
            same(together[name][1], gradient)

    @pytest.mark.slow
    @torch.no_grad()
    @EVERY_LDA
    def test_vmap_runs_an_ensemble(self, lda) -> None:
        models = [tiny(lda=lda, interval=INTERVAL) for _ in range(2)]
        for p in models[1].parameters():
            p.normal_(std=0.1)
        x = photos(2, 96, 160)
        models[0](x)
        outputs = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(*stack_module_state(models))
        for found, model in zip(outputs, models, strict=True):
            same(found, model(x))

    @pytest.mark.slow
    def test_jacobians_agree_with_gradients(self) -> None:
        model, x = tiny(), photos(1)
        rows = torch.func.jacrev(model)(x)
        expected = torch.autograd.grad(model(x.requires_grad_())[0, 3], x)[0]
        same(rows[0, 3], expected)


@torch.no_grad()
def test_dynamic_quantization_replaces_every_linear_layer() -> None:
    from torch.ao.nn.quantized.dynamic import Linear
    from torch.ao.quantization import quantize_dynamic

    model = tiny()
    count = sum(isinstance(m, nn.Linear) for m in model.modules())
    plain = model(photos())
    small = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert sum(isinstance(m, Linear) for m in small.modules()) == count
    assert 0 < (small(photos()) - plain).abs().max() < 0.1 * plain.abs().max()


@pytest.mark.slow
@torch.no_grad()
def test_counters_of_traced_operations_find_the_matrix_products() -> None:
    """fvcore and the like read `torch.jit` graphs and know neither fused products nor fused attention."""
    graph, _ = torch.jit._get_trace_graph(tiny(), (photos(1),))
    kinds = {node.kind() for node in graph.nodes()}
    assert {"aten::linear", "aten::_convolution", "aten::baddbmm", "aten::bmm"} <= kinds
    assert not {kind for kind in kinds if "mkldnn" in kind or "scaled_dot_product" in kind}
