"""From a photo to a trace: its contents, that it is frozen, and its errors."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

import cfviz
from cfviz import notebook, run
from cfviz.data.samples import gallery
from cfviz.models.factory import create_model
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.provenance import Provenance
from cfviz.trace import Trace, axes_of
from cfviz.words import short_name

PHOTO = gallery()[0].path


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model("crossformer_nano", num_classes=20).eval()


def test_a_trace_belongs_to_the_pixels_it_shows(model):
    trace = cfviz.inspect(PHOTO, model=model, size=(96, 160), watch=["pooled", "layers.0.blocks.1.attn.*"])
    pixels = torch.from_numpy(np.array(trace.crop)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(model.pretrained_cfg[k])[None, :, None, None] for k in ("mean", "std"))
    with torch.inference_mode():
        logits = model((pixels - mean) / std)[0].numpy()
    np.testing.assert_allclose(trace.logits, logits, rtol=1e-4, atol=1e-5)
    assert trace.size == (96, 160)
    assert trace.probs.sum() == pytest.approx(1)
    assert trace.grouping(0, 1) == model.groupings(96, 160)[0][1]


@pytest.mark.slow
def test_the_form_of_long_distance_attention_is_that_of_this_call(model):
    watch = "layers.0.blocks.1.attn.probs"
    own, whole = (cfviz.inspect(PHOTO, model, (256, 320), watch, lda=lda) for lda in (None, "whole"))
    assert (own.settings["lda"], whole.settings["lda"], model.lda) == ("regions", "whole", "regions")
    assert own.grouping(0, 1).size == "7 x 7"
    assert whole.grouping(0, 1).size == "8 x 10"
    assert whole[watch].shape == (64, 3, 80, 80)
    model.set_grouping(lda="whole")
    try:
        same = cfviz.inspect(PHOTO, model, (256, 320))
    finally:
        model.set_grouping(lda="regions")
    assert np.array_equal(same.logits, whole.logits)
    assert not np.allclose(own.logits, whole.logits)
    with pytest.raises(ValueError, match="lda is 'map'"):
        cfviz.inspect(PHOTO, model, 64, lda="map")


def test_every_array_has_named_axes(model):
    trace = cfviz.inspect(PHOTO, model=model, size=64, watch="*")
    assert set(trace.arrays) == set(cfviz.points(model))
    for name, array in trace.arrays.items():
        assert array.dtype == np.float32
        assert len(trace.axes[name]) == array.ndim, name
    assert trace.axes["layers.1.blocks.0.attn.probs"] == ("group", "head", "query", "key")
    assert trace["layers.0.blocks.0.out"].shape == (16, 16, 48)
    with pytest.raises(ValueError, match="no axes are known"):
        axes_of("layers.0.nothing")


def test_a_trace_is_frozen(model):
    trace = cfviz.inspect(PHOTO, model=model, size=64)
    with pytest.raises(ValueError, match="read-only"):
        trace.logits[0] = 1
    with pytest.raises(TypeError):
        trace.arrays["logits"] = np.zeros(20)
    with pytest.raises(AttributeError):
        trace.model = "other"
    with pytest.raises(ValueError, match="'pooled' was not watched; this trace holds: logits"):
        trace["pooled"]


def test_the_top_classes_are_sorted_and_bounded(model):
    trace = cfviz.inspect(PHOTO, model=model, size=64)
    top = trace.top(99)
    assert len(top) == 20
    assert [p for _, _, p in top] == sorted((p for _, _, p in top), reverse=True)
    assert top[0][0] == int(trace.logits.argmax())
    assert trace.top(0) == []


def test_bfloat16_is_close_and_leaves_the_model_unchanged(model):
    exact = cfviz.inspect(PHOTO, model=model, size=64)
    rounded = cfviz.inspect(PHOTO, model=model, size=64, dtype="bfloat16")
    assert (exact.dtype, rounded.dtype) == ("float32", "bfloat16")
    np.testing.assert_allclose(rounded.logits, exact.logits, atol=0.05 * np.abs(exact.logits).max() + 0.02)
    assert next(model.parameters()).dtype == torch.float32


def test_the_same_name_gives_the_same_model():
    from cfviz.run import load

    assert load("crossformer_nano") is load("crossformer_nano", "cpu")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "resnet50"}, "there is no model 'resnet50'"),
        ({"model": "pvt_v2_b0"}, "pvt_v2_b0 is one of timm's models and no CrossFormer"),
        ({"size": 100}, "100"),
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of float32"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here; there are: cpu"),
        ({"watch": "layers.7.*"}, "no point matches"),
        ({"mode": "squash"}, "squash"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(model, setting, message):
    with pytest.raises(ValueError, match=message):
        cfviz.inspect(PHOTO, **{"model": model, "size": 64, **setting})


def test_an_object_that_is_no_model_is_refused_by_its_type():
    """It used to advise calling `model.eval()`, which a checkpoint does not have."""
    file = cfviz.load_checkpoint("crossformer_nano")
    with pytest.raises(ValueError, match=r"got a Checkpoint, expected a CrossFormer; .*create_model"):
        cfviz.inspect(PHOTO, model=file)
    with pytest.raises(ValueError, match=r"weights='mine\.safetensors'"):
        cfviz.inspect(PHOTO, model="mine.safetensors")


@pytest.mark.slow
def test_a_model_in_training_or_without_classes_is_refused(model):
    with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
        cfviz.inspect(PHOTO, model=timm.create_model("crossformer_nano").train())
    with pytest.raises(ValueError, match="no classes"):
        cfviz.inspect(PHOTO, model=timm.create_model("crossformer_nano", num_classes=0).eval())


def test_arrays_can_be_saved(model, tmp_path):
    trace = cfviz.inspect(PHOTO, model=model, size=64, watch="pooled")
    trace.save(tmp_path / "trace.npz")
    loaded = np.load(tmp_path / "trace.npz")
    assert np.array_equal(loaded["pooled"], trace["pooled"])


def test_show_is_a_method_that_gives_the_html_of_a_cell(model):
    trace = cfviz.inspect(gallery()[0].path, model)
    assert trace.show() == trace._repr_html_() == notebook.show(trace)
    assert (
        trace.show()._repr_html_() == trace.show()
    )  # as the last line of a cell it draws and prints no HTML


def test_a_trace_draws_itself_in_a_notebook(model):
    photo = Image.new("RGB", (80, 80), (200, 30, 30))
    trace = cfviz.inspect(photo, model=model, size=64, watch="layers.*.blocks.*.attn.*")
    html = trace._repr_html_()
    assert "random, untrained weights" in html
    first = trace.top(1)[0][1]
    assert first not in html.partition("<iframe")[0], "random weights give no answer"
    trained = replace(trace, weights=Provenance("bundled", "x", "imagenette20"))
    assert first in trained._repr_html_().partition("<iframe")[0]
    assert "<iframe" in html
    assert "sandbox=" in html


def test_a_figure_too_large_for_a_notebook_leaves_the_table(model, monkeypatch):
    trace = cfviz.inspect(Image.new("RGB", (80, 80)), model=model, size=64, watch="layers.*.blocks.*.attn.*")
    monkeypatch.setattr(notebook, "LIMIT", 100)
    trace = replace(trace, weights=Provenance("bundled", "x", "imagenette20"))
    html = trace._repr_html_()
    assert trace.top(1)[0][1] in html
    assert "MB" in html
    assert "<iframe" not in html


def test_untrusted_names_are_escaped_in_a_notebook():
    trace = Trace(
        arrays={"logits": np.zeros(1, np.float32)},
        labels=("<script>alert(1)</script>",),
        model="crossformer_nano",
        size=(32, 32),
        groupings=tuple(map(tuple, timm.create_model("crossformer_nano").groupings(32, 32))),
        photo='"><img src=x onerror=alert(1)>',
        weights=Provenance("<b>file</b>", None, "<i>things</i>"),
    )
    outside = trace._repr_html_()
    for bad in ("<script>alert", "<img", "<b>file", "<i>things"):
        assert bad not in outside


@pytest.mark.parametrize(
    ("running", "threads"), [("1/300", 4), ("3/300", 2), ("9/300", 1), (None, 4), ("soon", 4)]
)
def test_computing_leaves_the_cores_that_others_use(running, threads, tmp_path, monkeypatch):
    load = tmp_path / "loadavg"
    if running:
        load.write_text(f"0.20 0.18 0.12 {running} 11206\n")
    before = torch.get_num_threads()
    monkeypatch.setattr(run, "LOAD", load)
    monkeypatch.setattr(run, "_most", 4)
    monkeypatch.setattr(run.os, "cpu_count", lambda: 4)
    try:
        torch.set_num_threads(4)
        assert run.share_cores() == torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("here", "wanted", "stays"),
    [
        ("cuda:0", "cuda:1", False),
        ("cuda:1", "cuda:1", True),
        ("cuda:1", "cuda", True),  # the current one
        ("cuda:0", "cuda", False),
        ("cuda:0", None, True),
        ("cpu", "cpu:0", True),
        ("cpu", "cuda", False),
    ],
)
def test_a_model_on_another_gpu_is_moved(
    here: str, wanted: str | None, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two GPUs would have it, on a machine that may have none."""
    moved = []

    class Far(nn.Module):
        def parameters(self, recurse: bool = True) -> Any:
            return iter([SimpleNamespace(device=torch.device(here), dtype=torch.float32)])

        def to(self, device: torch.device, kind: torch.dtype) -> Any:
            moved.append((device, kind))
            return self

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(run, "pick_device", str)
    model: Any = Far().eval()
    assert (run.placed(model, wanted) is model) is stays
    assert moved == ([] if stays else [(torch.device(str(wanted)), torch.float32)])


@pytest.mark.slow
def test_the_input_has_the_size_the_weights_were_trained_at(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    state = create_model("crossformer_nano", None).state_dict()
    photo = np.zeros((90, 90, 3), np.uint8)
    for recorded, size in ((64, 64), (None, 224), (100, 224), (2048, 224), (-32, 224), (True, 224)):
        write_checkpoint(path, state, img_size=recorded)
        model = create_model("crossformer_nano", path)
        assert model.img_size == size
        assert run.inspect(photo, model).size == (size, size)
    assert run.inspect(photo, model, 96).size == (96, 96)
    assert create_model("crossformer_nano", path, img_size=160).img_size == 160


@pytest.mark.parametrize("how", ["head", "pool"])
def test_a_model_without_one_logit_for_each_class_is_refused(tiny_model, how: str) -> None:
    """Its 1,000 guessed names would stand beside the three logits of a head that somebody put in."""
    model = tiny_model(num_classes=1000, global_pool="" if how == "pool" else "avg")
    if how == "head":
        model.head = nn.Linear(model.head.in_features, 3)
    with pytest.raises(
        ValueError, match=r"has 1000 classes and returned logits of shape .*expected \(1000,\)"
    ):
        cfviz.inspect(Image.new("RGB", (64, 64)), model, 64)
    if how == "head":
        model.num_classes = 3
        assert cfviz.inspect(Image.new("RGB", (64, 64)), model, 64).labels[2] == "class 2"


def test_twenty_classes_of_a_detector_are_not_imagenettes() -> None:
    """Pascal VOC has twenty classes, too."""
    model = SimpleNamespace(provenance=Provenance("mine.pth"), num_classes=20)
    assert run.dense_class_names(model)[:2] == ["class 0", "class 1"]
    assert run.dense_class_names(model, "zh-Hant")[19] == "類別 19"


def test_classes_that_begin_alike_are_told_apart_where_names_are_short() -> None:
    classes = ("pepper, healthy", "pepper, spotted", "potato, early blight")
    names = run.class_names(SimpleNamespace(num_classes=3), known=Provenance("mine.pth", classes=classes))
    assert tuple(names) == classes
    assert [short_name(one) for one in names] == ["pepper, healthy", "pepper, spotted", "potato"]


def test_what_was_measured_of_answers_is_not_said_of_a_painted_photo() -> None:
    model, painted = run.load("crossformer_nano"), run.load_image(PHOTO).brushed("mean-rect-0.0-500.500")
    plain, other = (cfviz.inspect(one, model, 224) for one in (PHOTO, painted))
    assert run.calibration_of(plain) is not None
    assert run.calibration_of(other) is None
