"""The stream at each block: of blocks that add a known constant, with and without cooling layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.analysis.stream.amplitude import amplitude
from cfviz.measured.amplitude import explain_amplitude, over_photos, streams, trace_streams
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import from_url, parse, to_url
from cfviz.run import inspect

DEPTHS = (1, 1, 5, 1)  # a cooling layer in the third block of stage 3
PHOTO = Image.effect_noise((64, 64), 80).convert("RGB")


def adds(model, attn: float, mlp: float):
    """Make every block's attention add one number to all channels and its MLP another."""
    with torch.no_grad():
        for stage in model.stages:
            for block in stage.block_list:
                for layer, value in ((block.attn.proj, attn), (block.mlp.fc2, mlp)):
                    layer.weight.zero_()
                    layer.bias.fill_(value)
    return model


def test_blocks_that_add_a_constant_shift_the_stream_by_it(tiny_model) -> None:
    trace = trace_streams(PHOTO, adds(tiny_model(), 100.0, 1000.0), size=64)
    for one in streams(trace):
        from_above = (
            trace["patch_embed.out"] if one.stage == 0 else trace[f"layers.{one.stage - 1}.downsample.concat"]
        )
        start = from_above + one.block * 1100.0
        for name, added in (("attn", 100.0), ("mlp", 1100.0)):
            expected = amplitude(start + added)
            assert one.after[name].mean == pytest.approx(expected.mean, rel=1e-5)
            assert one.after[name].largest == pytest.approx(expected.largest, rel=1e-5)
        assert one.out is one.after["mlp"]


def test_cooling_brings_the_stream_back_to_the_size_of_its_norm(tiny_model) -> None:
    model = adds(tiny_model(depths=DEPTHS, cooling=True), 0.0, 500.0)
    found = explain_amplitude(PHOTO, model, size=64)
    cooled = [(one.stage, one.block) for one in found.blocks if "acl" in one.after]
    assert cooled == [(2, 2)]
    at = found.blocks[4]
    assert at.after["mlp"].rms > 1000
    assert at.out.rms == pytest.approx(1, abs=0.05)  # a LayerNorm that has learned nothing
    less = found.without[4]
    assert "acl" not in less.after
    assert less.out.largest == pytest.approx(at.after["mlp"].largest, rel=1e-5)
    assert found.without[6].out.rms > 2000 > 1100 > found.blocks[6].out.rms
    assert not (found.without[3].out.tokens != found.blocks[3].out.tokens).any()  # nothing before it changes


@pytest.mark.parametrize("size", [64, (96, 64)])
@pytest.mark.parametrize("lda", ["regions", "whole"])
def test_a_block_s_output_is_the_stream_after_its_last_part(tiny_model, size, lda) -> None:
    model = tiny_model(depths=(1, 2, 5, 1), cooling=True, lda=lda, group_size=3, interval=(4, 3, 2, 1))
    trace = trace_streams(PHOTO, model, size=size)
    for one in streams(trace):
        out = amplitude(trace[f"layers.{one.stage}.blocks.{one.block}.out"])
        assert one.out.rms == pytest.approx(out.rms, rel=1e-6)
        assert one.out.tokens.shape == (trace.size[0] // one.stride, trace.size[1] // one.stride)
        assert (one.distances <= np.hypot(*one.reach)).all()
        assert (one.distances > 0).all()
        assert one.distances.mean() == pytest.approx(one.even, rel=0.2)  # weights near 0 look at all alike


def test_without_its_cooling_layer_a_block_passes_on_what_the_layer_got(tiny_model) -> None:
    model = tiny_model(depths=DEPTHS, cooling=True)
    x = torch.randn(2, 3, 64, 64)
    (do,) = from_url("3.3.cooling-zero")
    assert to_url((do,)) == "3.3.cooling-zero"
    with torch.no_grad():
        with apply(model, (do,)):
            ablated = model(x)
        block = model.stages[2].block_list[2]
        block.cooling = False  # the code's own path without the layer
        assert torch.allclose(ablated, model(x), atol=1e-5)
        block.cooling = True
        assert not torch.allclose(ablated, model(x), atol=1e-3)
        both = [do, *from_url("3.3.mlp-zero")]
        with apply(model, both):
            two = model(x)
        block.cooling = False
        with apply(model, from_url("3.3.mlp-zero")):
            assert torch.allclose(two, model(x), atol=1e-5)


@pytest.mark.slow
def test_a_trace_names_the_cooling_layers_that_were_at_work(tiny_model) -> None:
    """Rollout goes back through those that the trace names: it went through one that was taken out."""
    model, other = tiny_model(depths=DEPTHS, cooling=True), tiny_model(depths=DEPTHS, cooling=True)

    def cooled(net=model) -> object:
        return inspect(PHOTO, net, 32).settings.get("cooled", ())

    for word in ("3.3.cooling-zero", "3.3.block-zero"):
        with apply(model, from_url(word)):
            assert cooled() == ()
            with apply(model, from_url("3.1.block-zero")):
                assert cooled() == ()
    with apply(model, from_url("3.3.cooling-zero")):
        assert cooled(other) == ((2, 2),)
    with apply(model, from_url("3.3.mlp-zero_3.2.block-zero")):
        assert cooled() == ((2, 2),)
    assert cooled() == ((2, 2),)


def test_a_model_without_cooling_layers_says_so(tiny_model) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="no cooling layer"), apply(model, parse('{"part": "cooling"}')):
        pass
    assert explain_amplitude(PHOTO, model, size=64).without == ()
    with_one = tiny_model(depths=DEPTHS, cooling=True)
    with pytest.raises(ValueError, match=r"\(2, 2\)"), apply(with_one, from_url("3.2.cooling-zero")):
        pass


@pytest.mark.slow
def test_the_figure_is_a_page_of_its_own(tiny_model) -> None:
    found = explain_amplitude(PHOTO, tiny_model(depths=DEPTHS, cooling=True), size=64)
    page = found.page("zh-Hant")
    assert '<div class="am-host">' in page
    assert "消融實驗" in page
    assert "沒有振幅冷卻層" in explain_amplitude(PHOTO, tiny_model(), size=64).page("zh-Hant")
    assert "<iframe" in found._repr_html_()


def test_many_photos_are_measured_one_by_one(tiny_model) -> None:
    model, other = tiny_model(depths=DEPTHS, cooling=True), Image.effect_noise((64, 64), 20).convert("RGB")
    found = over_photos([PHOTO, other], model, 64)
    for row, photo in enumerate((PHOTO, other)):
        blocks = explain_amplitude(photo, model, size=64).blocks
        for n, one in enumerate(blocks):
            own = (
                one.out.mean,
                one.out.largest,
                one.out.rms,
                one.out.outliers().mean(),
                one.distances.mean(),
            )
            assert [found[name][row, n] for name in found] == pytest.approx(own)
    assert found["mean"].shape == (2, sum(DEPTHS))
    with pytest.raises(ValueError, match="no photos"):
        over_photos([], model, 64)
