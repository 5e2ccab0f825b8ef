"""A photo inspected with a model of timm: what the trace says of it, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.models import pvt_v2, swin_transformer, vision_transformer

import cfviz
from cfviz.geometry.schemes import swin, vit
from cfviz.notebook import pack
from cfviz.provenance import Provenance
from cfviz.run import frame_of
from cfviz.words import translator

PHOTO = np.random.default_rng(0).integers(0, 256, (120, 180, 3), np.uint8)
SIZE = (96, 160)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return swin_transformer.SwinTransformer(
        img_size=SIZE, window_size=7, embed_dim=16, depths=(2, 2), num_heads=(2, 4), num_classes=5
    ).eval()


def test_a_swin_is_inspected_at_the_size_it_was_made_for(model: Any) -> None:
    trace = cfviz.inspect(PHOTO, model)
    assert trace.size == SIZE
    pixels = torch.from_numpy(np.array(trace.crop)).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        logits = model((pixels - mean[:, None, None]) / std[:, None, None])[0].numpy()
    np.testing.assert_allclose(trace.logits, logits, atol=1e-5)
    assert trace.labels == tuple(f"class {n}" for n in range(5))
    assert trace.weights == Provenance.unknown()  # timm does not record whether weights were loaded
    assert trace.strides == (4, 8)
    assert trace.settings["family"] == "Swin"
    assert trace.settings["error"] < 1e-5
    for name, array in trace.arrays.items():
        assert len(trace.axes[name]) == array.ndim, name


def test_attention_of_a_token_in_a_shifted_and_masked_window(model: Any) -> None:
    trace = cfviz.inspect(PHOTO, model, watch="layers.0.blocks.1.attn.probs")
    row, col, scheme = (
        23,
        39,
        swin(24, 40, 7, 3),
    )  # the last corner, where the roll brought four parts together
    seen = trace.attention(0, 1, row, col)
    assert seen.heads.shape == (2, 24, 40)
    np.testing.assert_allclose(seen.heads.sum((1, 2)) + seen.padding, 1, atol=1e-6)
    assert (seen.padding > 0).all()  # Swin's padding takes part
    np.testing.assert_array_equal(seen.sources, scheme.sources(row, col))
    assert (seen.heads[:, seen.sources] > 0).all()
    assert seen.masked.any()
    assert seen.heads[:, ~seen.sources].max() < 1e-30
    group, member = scheme.group_of(row, col)
    own = trace["layers.0.blocks.1.attn.probs"][group, :, member]
    key = scheme.keys[group, :, 0].tolist().index(scheme.H * scheme.W - 2)
    assert seen.heads[1, 23, 38] == pytest.approx(own[1, key])
    np.testing.assert_allclose(seen.mean, seen.heads.mean(0))


def test_a_class_token_stands_apart() -> None:
    net = vision_transformer.VisionTransformer(
        img_size=64, embed_dim=32, depth=1, num_heads=2, num_classes=5, reg_tokens=1
    ).eval()
    trace = cfviz.inspect(PHOTO, net)
    seen = trace.attention(0, 0, 1, 2)
    probs = trace["layers.0.blocks.0.attn.probs"][0]  # heads, queries, keys: class, register, 16 tokens
    np.testing.assert_allclose(seen.extra, probs[:, 2 + 6, :2], rtol=1e-6)
    np.testing.assert_allclose(seen.heads.reshape(2, 16), probs[:, 2 + 6, 2:], rtol=1e-6)
    assert vit(4, 4, 2).group_of(1, 2) == (0, 8)
    assert seen.sources.all()


def test_a_crossformers_trace_answers_in_the_same_way(tiny_model: Any) -> None:
    trace = cfviz.inspect(PHOTO, tiny_model(), 96, watch="layers.0.blocks.1.attn.probs")
    g = trace.grouping(0, 1)
    seen = trace.attention(0, 1, 5, 6)
    group, member = g.group_of(5, 6)
    probs = trace["layers.0.blocks.1.attn.probs"][group, :, member]
    tokens = g.members[group]
    np.testing.assert_allclose(
        seen.heads.reshape(len(probs), -1)[:, tokens[tokens >= 0]], probs[:, tokens >= 0]
    )
    np.testing.assert_allclose(seen.heads.sum((1, 2)), 1, atol=1e-6)


def test_a_reader_may_say_where_the_weights_come_from(model: Any) -> None:
    model.provenance = told = Provenance("mine.safetensors", trained="by me", classes=tuple("abcde"))
    try:
        trace = cfviz.inspect(PHOTO, model, watch="logits")
    finally:
        del model.provenance
    assert (trace.weights, trace.labels) == (told, tuple("abcde"))
    assert list(trace.arrays) == ["logits"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 224}, "made for inputs of 96 x 160 pixels, got 224 x 224"),
        ({"size": 100}, "made for inputs of 96 x 160 pixels, got 100 x 100"),
        ({"size": 20}, "both must be from 32 to 2048; nearest for the height: 32"),
        ({"lda": "whole"}, "a form of CrossFormer's long distance attention, which Swin has not"),
        ({"watch": "layers.7.*"}, "no point matches 'layers.7.\\*'; of this model, content, bias, probs can"),
        ({"model": torch.nn.Linear(3, 4)}, "got a Linear, expected a CrossFormer; .*Swin, Swin V2, Twins"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(model: Any, setting: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cfviz.inspect(PHOTO, **{"model": model, **setting})


def test_a_model_in_training_mode_is_refused(model: Any) -> None:
    model.train()
    try:
        with pytest.raises(ValueError, match=r"training mode; call model.eval\(\) first"):
            cfviz.inspect(PHOTO, model)
    finally:
        model.eval()


def test_too_much_attention_to_keep_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfviz.run.KEPT", 1000)
    with pytest.raises(ValueError, match=r"the attention of 4 blocks has .* weights at this size; "):
        cfviz.inspect(PHOTO, model)


def test_places_that_do_not_exist_are_refused(model: Any) -> None:
    trace = cfviz.inspect(PHOTO, model, watch="layers.1.blocks.0.attn.probs")
    with pytest.raises(ValueError, match=r"there is no block \(2, 0\); .* the stages have \[2, 2\]"):
        trace.attention(2, 0, 0, 0)
    with pytest.raises(ValueError, match=r"there is no token \(12, 0\) in a map of 12 x 20"):
        trace.attention(1, 0, 12, 0)
    with pytest.raises(ValueError, match="was not watched"):
        trace.attention(1, 1, 0, 0)
    with pytest.raises(ValueError, match=r"is no CrossFormer, .* use `trace.scheme`"):
        trace.grouping(0, 0)
    with pytest.raises(ValueError, match=r"draws CrossFormer's embedding layers, .* grouping, heads, bias"):
        trace.plot("filters")
    with pytest.raises(ValueError, match=r"expected \(nG, nH, Nq, Nk\)"):
        trace.scheme(0, 0).attention(trace["layers.1.blocks.0.attn.probs"], 0, 0)


def test_a_size_that_is_no_multiple_of_32_is_seen_as_it_is() -> None:
    torch.manual_seed(0)
    model = pvt_v2.PyramidVisionTransformerV2(
        depths=(1, 1, 1, 1), embed_dims=(16, 32, 32, 64), num_heads=(1, 2, 2, 4), num_classes=5
    ).eval()
    trace = cfviz.inspect(PHOTO, model, (75, 110))
    assert trace.size == (75, 110)
    assert trace.strides == (4, 8, 16, 32)
    assert [(stage[0].H, stage[0].W) for stage in trace.schemes] == [(19, 28), (10, 14), (5, 7), (3, 4)]
    header = pack(trace).header
    assert [stage["stride"] for stage in header["stages"]] == [4, 8, 16, 32]
    assert header["input"] == {"h": 75, "w": 110}
    drawn = trace.plot("heads", stage=3, row=2, col=3).axes[0].get_images()[0].get_array()
    assert drawn.shape[:2] == (3 * 32, 4 * 32)  # tokens at the edge reach beyond the input
    assert (drawn[75:] == 1).all()
    assert (drawn[:, 110:] == 1).all()
    assert "75" not in frame_of(trace).sentence(translator("en"))
