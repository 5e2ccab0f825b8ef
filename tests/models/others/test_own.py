"""A reader's own weights of a model of timm: opened as they were trained, or refused in one sentence."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model, swin_transformer, swin_transformer_v2, vision_transformer

import cfviz
from cfviz.models.others.opening import open_own
from cfviz.models.others.own import _check_windows, load_own, own_names
from cfviz.models.weights.errors import CheckpointError

SWIN, VIT = "cfviz_test_swin", "cfviz_test_vit"
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
PHOTO = np.random.default_rng(0).integers(0, 256, (80, 110, 3), np.uint8)


@register_model
def cfviz_test_swin(pretrained: bool = False, **more: Any) -> Any:
    small = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 7, "img_size": 128}
    return swin_transformer._create_swin_transformer(
        "swin_tiny_patch4_window7_224", pretrained=pretrained, **{**small, **more}
    )


@register_model
def cfviz_test_vit(pretrained: bool = False, **more: Any) -> Any:
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 16, "img_size": 64}
    return vision_transformer._create_vision_transformer(
        "vit_tiny_patch16_224", pretrained=pretrained, **{**small, **more}
    )


def tuned(name: str = SWIN, **more: Any) -> Any:
    """A model with a head of 7 classes and numbers that no other has."""
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=7, **more).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "table" in key or "pos_embed" in key or key.endswith("bias"):
                p.normal_(std=0.3)
    return model


def saved(model: Any, path: Path, **facts: str) -> Path:
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, {"format": "pt", **facts})
    return path


def image(*size: int) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [SWIN, VIT])
def test_a_fine_tune_answers_as_it_was_trained(name: str, tmp_path: Path) -> None:
    model = tuned(name)
    opened = open_own(saved(model, tmp_path / "mine.safetensors"), name, classes=CLASSES)
    size = (128, 128) if name == SWIN else (64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(opened(image(*size)), model(image(*size)), rtol=0, atol=0)
    trace = cfviz.inspect(PHOTO, opened)
    assert (trace.size, trace.labels) == (size, CLASSES)
    assert trace.weights.source == "mine.safetensors"
    assert not trace.weights.notes
    direct = cfviz.inspect(PHOTO, model)  # the same, without a file
    np.testing.assert_array_equal(trace.logits, direct.logits)
    assert direct.labels == tuple(f"class {n}" for n in range(7))
    for key, array in direct.arrays.items():
        np.testing.assert_array_equal(trace[key], array)


def test_the_names_of_the_classes_are_read_from_the_file(tmp_path: Path) -> None:
    path = saved(tuned(), tmp_path / "named.safetensors", classes='["a", "b", "c", "d", "e", "f", "g"]')
    assert load_own(path, SWIN).provenance.classes == tuple("abcdefg")


def test_a_list_of_another_length_than_the_classes_is_said(tmp_path: Path) -> None:
    path = saved(tuned(), tmp_path / "few.safetensors", classes='["a", "b"]')
    known = load_own(path, SWIN).provenance
    assert known.classes is None
    assert [dict(n.fields) for n in known.notes if n.code == "miscounted_classes"] == [
        {"given": "2", "count": "7"}
    ]


def test_timms_trainers_average_is_preferred_and_said(tmp_path: Path) -> None:
    """What timm's train.py writes: an optimizer, the weights, their moving average; here of compiled DDP."""
    raw, ema = tuned().state_dict(), {k: v + 0.5 for k, v in tuned().state_dict().items()}
    wrapped = {f"module._orig_mod.{k}": v for k, v in raw.items()}
    path = tmp_path / "last.pth.tar"
    state = {"epoch": 3, "arch": SWIN, "state_dict": wrapped, "state_dict_ema": ema}
    torch.save(state | {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}}, path)
    opened = open_own(path, SWIN)
    assert torch.equal(opened.head.fc.bias, ema["head.fc.bias"])
    assert [note.code for note in opened.provenance.notes] == ["averaged"]
    del state["state_dict_ema"]
    torch.save(state, path)
    assert torch.equal(open_own(path, SWIN).head.fc.bias, raw["head.fc.bias"])


@pytest.mark.parametrize(("name", "size"), [(SWIN, (32, 64)), (VIT, (96, 64))])
def test_at_another_size_positions_are_resized_as_timm_does_and_it_is_said(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    model = tuned(name)
    path = saved(model, tmp_path / "mine.safetensors")
    overlay = {"file": str(path), "num_classes": 7}
    theirs = timm.create_model(
        name, pretrained=True, num_classes=7, pretrained_cfg_overlay=overlay, img_size=size
    )
    opened = open_own(path, name, size)
    for key, value in theirs.state_dict().items():
        assert torch.equal(opened.state_dict()[key], value), key
    (note,) = opened.provenance.notes
    said = note.sentence().replace("\u00a0", " ")
    assert ("pos_embed from 1 x 17 x 32 to 1 x 25 x 32" if name == VIT else "from 169 x 4 to 91 x 4") in said
    assert cfviz.inspect(PHOTO, opened).weights.notes == (note,)


def test_the_size_of_a_vits_training_is_read_from_its_positions(tmp_path: Path) -> None:
    path = saved(tuned(VIT, img_size=96), tmp_path / "large.safetensors")
    opened = open_own(path, VIT)
    assert cfviz.inspect(PHOTO, opened).size == (96, 96)
    assert not opened.provenance.notes


def test_a_size_that_the_positions_do_not_tell_is_given(tmp_path: Path) -> None:
    model = tuned(VIT, img_size=(64, 96))
    opened = open_own(saved(model, tmp_path / "wide.safetensors"), VIT, (64, 96))
    with torch.inference_mode():
        torch.testing.assert_close(opened(image(64, 96)), model(image(64, 96)), rtol=0, atol=0)
    assert not opened.provenance.notes


def test_what_a_file_says_of_its_photos_is_used(tmp_path: Path) -> None:
    """timm's trainer keeps its command line: the size of a Swin's input is not in its parameters."""
    args = Namespace(img_size=192, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), crop_pct=1.0)
    model = tuned(img_size=192)
    torch.save({"state_dict": model.state_dict(), "args": args}, tmp_path / "last.pth.tar")
    opened = open_own(tmp_path / "last.pth.tar", SWIN)
    assert not opened.provenance.notes
    trace = cfviz.inspect(np.full((192, 192, 3), 255, np.uint8), opened)
    with torch.inference_mode():
        np.testing.assert_array_equal(trace.logits, model(torch.full((1, 3, 192, 192), 2.0))[0].numpy())


def test_weights_learned_in_other_windows_do_not_pass_as_these(tmp_path: Path) -> None:
    """Swin V2's parameters fit windows of any size; the index tables in the authors' files tell theirs."""

    def model(window: int) -> Any:
        small: Any = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 4), "img_size": 64}
        return swin_transformer_v2.SwinTransformerV2(window_size=window, **small)

    learned = model(8)
    end = "layers.0.blocks.0.attn.relative_position_index"
    state = learned.state_dict() | {end: learned.get_buffer(end)}
    _check_windows(model(8), state, "small", "f.pth")
    _check_windows(model(4), learned.state_dict(), "small", "f.pth")  # no table: not known
    with pytest.raises(CheckpointError, match="has shape 64 x 64, small expects 16 x 16"):
        _check_windows(model(4), state, "small", "f.pth")


def test_without_a_classifier_there_is_attention_and_no_answer(tmp_path: Path) -> None:
    path = saved(timm.create_model(VIT, num_classes=0), tmp_path / "backbone.safetensors")
    trace = cfviz.inspect(PHOTO, open_own(path, VIT))
    assert trace.top(1) == []
    assert trace.attention(0, 1, 0, 0).heads.shape == (2, 4, 4)


@pytest.mark.slow
def test_what_is_no_such_model_is_refused_in_one_sentence(tmp_path: Path, tiny_model: Any) -> None:
    def refused(model: Any, name: str, classes: Any = None) -> str:
        state = model if isinstance(model, dict) else model.state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "f.safetensors")
        with pytest.raises(CheckpointError) as caught:
            load_own(tmp_path / "f.safetensors", name, classes)
        return str(caught.value)

    swin, vit = tuned().state_dict(), tuned(VIT).state_dict()
    count = len(list(timm.create_model(SWIN, num_classes=0).parameters()))
    told = refused(vit, SWIN)
    assert told.startswith("f.safetensors is a ViT, not a cfviz_test_swin: ")
    assert (
        f"{count - 4} of the model's {count} parameters are missing" in told
    )  # not the patches, the last norm
    assert "f.safetensors is a Swin, not a cfviz_test_vit" in refused(swin, VIT)
    deeper = refused(tuned(VIT, depth=3), VIT)
    assert f"does not hold {VIT}: 0 of the model's {len(vit)} parameters are missing (nothing)" in deeper
    assert "12 are unexpected (blocks.2.attn.proj.bias, blocks.2.attn.proj.weight and 10 more)" in deeper
    narrow = refused({**vit, "norm.weight": torch.ones(31), "norm.bias": torch.ones(31)}, VIT)
    assert f"norm.weight has shape 31, {VIT} expects 32; 2 of its parameters differ" in narrow
    assert "is a CrossFormer, not a cfviz_test_vit; the sidebar" in refused(tiny_model(), VIT)
    assert "has 7 classes, but 2 names were given" in refused(swin, SWIN, ("cat", "dog"))
    assert "norm.bias holds 1 values that are NaN" in refused(
        {**vit, "norm.bias": torch.tensor([float("nan")] + [0.0] * 31)}, VIT
    )
    assert "parameters are missing" in refused({"something": torch.ones(3)}, SWIN)


@pytest.mark.parametrize(
    ("name", "message"),
    [("swin_huge", "timm has no model 'swin_huge'"), ("test_resnet", "got a ResNet, expected a CrossFormer")],
)
def test_a_model_that_cannot_be_read_is_refused_before_the_file(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_own("no.safetensors", name)


def test_the_list_holds_models_of_every_family() -> None:
    names = own_names()
    for name in ("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "twins_svt_small", "pvt_v2_b0",
                 "maxvit_tiny_tf_224", "deit_small_patch16_224", "vit_base_patch16_384"):  # fmt: skip
        assert name in names
    assert "pvt_v2_b2_li" not in names
