"""Files of detectors and segmenters, through the door: their names, their wrappers, and what is refused."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import cfviz
from cfviz.cli import main
from cfviz.models.dense import checkpoints
from cfviz.models.dense.checkpoints import load_dense
from cfviz.models.dense.factory import build_dense, load_into, make_dense, opened_dense
from cfviz.models.dense.variants import DENSE
from cfviz.models.weights import download
from cfviz.models.weights.checkpoints import CheckpointError, load_checkpoint, write_checkpoint
from cfviz.models.weights.errors import MESSAGES

GOLDEN = Path(__file__).parents[2] / "golden"
State = dict[str, torch.Tensor]
KINDS = ("retinanet", "mask_rcnn", "semantic_fpn", "upernet")


@pytest.fixture(autouse=True)
def _nano(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the four models around the smallest backbone, for files of a few megabytes."""
    for kind in KINDS:
        small = replace(DENSE[f"{kind}_crossformer_small"], backbone="crossformer_nano")
        monkeypatch.setitem(DENSE, f"{kind}_crossformer_nano", small)


@pytest.fixture(scope="module")
def states() -> Callable[[str, int], State]:
    """A function that returns the parameters of a kind, with random numbers, as 16-bit floats."""
    made: dict[tuple[str, int], State] = {}

    def state(kind: str, num_classes: int = 4) -> State:
        if (kind, num_classes) not in made:
            name = f"{kind}_crossformer_nano"
            with torch.device("meta"):
                model = make_dense(name, num_classes=num_classes)
            torch.manual_seed(0)
            made[kind, num_classes] = {
                key: torch.zeros((), dtype=torch.int64)
                if key.endswith("num_batches_tracked")
                else torch.randn(value.shape, dtype=torch.float16) * 0.01
                for key, value in model.state_dict().items()
            }
        return made[kind, num_classes]

    return state


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def save(content: Any, name: str = "weights.pth", **options: Any) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save


def refused(code: str, call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        call(*args)
    error = caught.value
    assert error.code == code, f"{error.code}: {error}"
    assert str(error) == MESSAGES[code].format(**error.fields)
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_recognised_and_loads_strictly(kind: str, states: Any, file: Any) -> None:
    state = states(kind)
    path = file({"meta": {"epoch": 12}, "state_dict": OrderedDict(state), "optimizer": {"lr": 0.1}})
    checkpoint = load_dense(path)
    assert (checkpoint.variant, checkpoint.num_classes) == (f"{kind}_crossformer_nano", 4)
    assert checkpoint.dataset is None
    model = build_dense(checkpoint)
    assert not model.training
    assert model.backbone.lda == "whole"
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key].to(value.dtype)), key
    assert model.provenance.source == "weights.pth"
    assert [note.code for note in model.provenance.notes] == ["whole_map", "assumed_groups"]


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s},
    "model": lambda s: {"model": s},
    "module.": lambda s: {"state_dict": {f"module.{key}": value for key, value in s.items()}},
    "_orig_mod.": lambda s: {f"_orig_mod.{key}": value for key, value in s.items()},
    "model.": lambda s: {"state_dict": {f"model.{key}": value for key, value in s.items()}},
    "several levels": lambda s: {"a": {"model": {"state_dict": {f"module.{k}": v for k, v in s.items()}}}},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrapper", "zipped"), [*((wrapper, True) for wrapper in WRAPPERS), ("model", False)]
)
def test_wrappers_and_prefixes_are_removed(wrapper: str, zipped: bool, states: Any, file: Any) -> None:
    state = states("semantic_fpn")
    path = file(WRAPPERS[wrapper](state), _use_new_zipfile_serialization=zipped)
    model = opened_dense(path, "semantic_fpn_crossformer_nano")
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in state.items())


@pytest.mark.slow
def test_safetensors_open_too(states: Any, tmp_path: Path) -> None:
    state = {key: value for key, value in states("semantic_fpn").items() if value.dim()}
    write_checkpoint(tmp_path / "w.safetensors", state, group_size=[7, 7, 7, 7], lda="regions")
    checkpoint = load_dense((tmp_path / "w.safetensors").read_bytes(), name="mine", allow_pickle=False)
    assert checkpoint.settings == {
        "lda": "regions", "group_size": (7, 7, 7, 7), "interval": (8, 4, 2, 1)
    }  # fmt: skip
    assert checkpoint.notes == ()


@pytest.mark.slow
def test_settings_and_classes_in_the_file_are_used(states: Any, file: Any) -> None:
    text = "backbone=dict(group_size=[14, 14, 7, 7], crs_interval=[4, 4, 2, 1])"
    names = ("cat", "dog", "cow", "hen")
    meta = {"config": text, "CLASSES": names}
    checkpoint = load_dense(file({"meta": meta, "state_dict": states("retinanet")}))
    assert checkpoint.settings["group_size"] == (14, 14, 7, 7)
    assert checkpoint.settings["interval"] == (4, 4, 2, 1)
    assert checkpoint.provenance.classes == names
    assert [note.code for note in checkpoint.notes] == ["whole_map"]


@pytest.mark.slow
def test_classes_are_assumed_by_their_number_with_a_note(states: Any, file: Any) -> None:
    checkpoint = load_dense(file({"state_dict": states("semantic_fpn", 150)}))
    assert (checkpoint.dataset, checkpoint.num_classes) == ("ade20k", 150)
    note = checkpoint.notes[-1]
    assert (note.code, dict(note.fields)) == ("assumed_dense_classes", {"data": "ADE20K", "count": "150"})


@pytest.mark.slow
@pytest.mark.parametrize("told", ["imagenet-1k", "coco", ["ade20k"], {"a": 1}, 3, None])
def test_a_data_set_that_does_not_fit_is_ignored(told: Any, states: Any, tmp_path: Path) -> None:
    for count, dataset in ((4, None), (150, "ade20k")):
        state = {key: value for key, value in states("semantic_fpn", count).items() if value.dim()}
        write_checkpoint(tmp_path / "w.safetensors", state, dataset=told)
        checkpoint = load_dense(tmp_path / "w.safetensors")
        assert checkpoint.dataset == dataset
        assert ("assumed_dense_classes" in [note.code for note in checkpoint.notes]) == (count == 150)


@pytest.mark.slow
def test_what_a_file_holds_besides_is_left_out_with_a_note(states: Any, file: Any) -> None:
    more = {"backbone.norm.weight": torch.ones(384), "data_preprocessor.mean": torch.ones(3)}
    checkpoint = load_dense(file({"state_dict": states("semantic_fpn") | more}))
    note = next(note for note in checkpoint.notes if note.code == "unused")
    assert dict(note.fields) == {"names": "data_preprocessor.mean, backbone.norm.weight"}
    build_dense(checkpoint)


# ---------------------------------------------------------------- what is refused


def test_a_classifier_is_no_detector(tmp_path: Path) -> None:
    state = timm.create_model("crossformer_nano", num_classes=3).state_dict()
    write_checkpoint(tmp_path / "c.safetensors", state)
    said = refused("no_heads", load_dense, tmp_path / "c.safetensors")
    assert said.startswith(
        "c.safetensors has no layers of a detector or segmenter, only those of crossformer_nano"
    )
    refused("no_heads", cfviz.create_model, "upernet_crossformer_small", tmp_path / "c.safetensors")
    refused("no_heads", load_dense, "crossformer_nano")


def test_a_detectors_file_gives_a_classifier_its_backbone_and_says_so(states: Any, file: Any) -> None:
    checkpoint = load_checkpoint(file({"state_dict": states("retinanet")}))
    assert (checkpoint.variant, checkpoint.num_classes, checkpoint.lda) == ("crossformer_nano", 0, "whole")
    assert [note.code for note in checkpoint.notes] == ["left_out", "whole_map", "usual_groups"]


@pytest.mark.slow
def test_another_kind_than_asked_for_is_named(states: Any, file: Any) -> None:
    path = file({"state_dict": states("upernet")})
    said = refused("wrong_variant", cfviz.create_model, "semantic_fpn_crossformer_small", path)
    assert (
        said
        == "weights.pth holds upernet_crossformer_nano, but semantic_fpn_crossformer_small was asked for."
    )


@pytest.mark.slow
def test_missing_foreign_and_misshapen_layers_are_named(states: Any, file: Any) -> None:
    state = states("mask_rcnn")
    lacking = {key: value for key, value in state.items() if "mask_head.upsample" not in key}
    said = refused("keys", load_dense, file(lacking))
    assert "missing roi_head.mask_head.upsample.weight, roi_head.mask_head.upsample.bias" in said
    assert "unexpected neck.more" in refused("keys", load_dense, file({**state, "neck.more": torch.ones(2)}))
    bent = {**state, "rpn_head.rpn_cls.weight": torch.ones(4, 256, 1, 1)}
    assert "expects 3 x 256 x 1 x 1" in refused("shape", load_dense, file(bent))
    broken = {**state, "rpn_head.rpn_cls.bias": torch.tensor([0.0, float("nan"), 1.0])}
    assert "rpn_head.rpn_cls.bias" in refused("not_finite", load_dense, file(broken))
    whole = {**state, "rpn_head.rpn_cls.bias": torch.ones(3, dtype=torch.int32)}
    assert "int32" in refused("dtype", load_dense, file(whole))


def test_other_heads_and_other_backbones_are_no_registered_models(
    states: Any, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = states("semantic_fpn")
    other = {key: value for key, value in state.items() if key.startswith("backbone.")}
    said = refused("unknown_heads", load_dense, file({**other, "decode_head.conv_seg.weight": torch.ones(2)}))
    assert "is a model with other heads on crossformer_nano" in said
    monkeypatch.setattr(checkpoints, "DENSE", {})
    said = refused("unknown_heads", load_dense, file(state))
    assert "is semantic_fpn on crossformer_nano, which is not a registered model" in said


@pytest.mark.slow
def test_a_converted_file_keeps_its_heads_and_invents_nothing(
    states: Any, file: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`convert` used to write the backbone alone."""
    path, out = file({"state_dict": states("semantic_fpn", 150)}), tmp_path / "out.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    assert "semantic_fpn_crossformer_nano, 150 classes" in capsys.readouterr().out
    before, after = load_dense(path), load_dense(out)
    assert before.state_dict.keys() == after.state_dict.keys()
    assert all(torch.equal(value, after.state_dict[key]) for key, value in before.state_dict.items())
    assert (after.settings, after.notes) == (before.settings, before.notes), (
        "what was assumed is assumed again"
    )
    assert dict(after.backbone.meta)["converted_from"]["sha256"] == before.provenance.sha256
    told, again = tmp_path / "told.safetensors", tmp_path / "again.safetensors"
    state = {key: value for key, value in states("semantic_fpn").items() if value.dim()}
    facts = {"group_size": [7, 7, 7, 7], "lda": "regions", "classes": list("abcd"), "trained": "a test"}
    write_checkpoint(told, state, **facts)
    assert main(["convert", str(told), str(again)]) == 0
    first, second = load_dense(told), load_dense(again)
    for name in ("variant", "settings", "classes", "dataset", "notes"):
        assert getattr(first, name) == getattr(second, name), name
    assert second.provenance.trained == "a test"


def test_of_other_heads_the_backbone_is_converted(
    states: Any, file: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {key: value for key, value in states("semantic_fpn").items() if key.startswith("backbone.")}
    path = file({**state, "decode_head.conv_seg.weight": torch.ones(2)})
    assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 0
    told = capsys.readouterr()
    assert "crossformer_nano, 0 classes" in told.out
    assert "decode_head" in told.err


@pytest.mark.slow
def test_detectors_on_crossformer_plus_keep_the_groups_of_later_code(file: Any) -> None:
    """The authors' branch with groups over the whole map is older than CrossFormer++."""
    with torch.device("meta"):
        shapes = timm.create_model("crossformer_pp_small", num_classes=0).state_dict()
    state = {
        f"backbone.{key}": torch.zeros(value.shape, dtype=torch.float16)
        for key, value in shapes.items()
        if not key.startswith("norm.")
    }
    checkpoint = load_checkpoint(file({**state, "neck.conv.weight": torch.ones(2)}))
    assert (checkpoint.variant, checkpoint.lda) == ("crossformer_pp_small", None)


# ---------------------------------------------------------------- timm, and the authors' files by name


@pytest.mark.slow
def test_timm_loads_a_file(states: Any, file: Any) -> None:
    state = states("retinanet")
    path = str(file({"state_dict": state}))
    model = make_dense("retinanet_crossformer_nano", num_classes=4, group_size=14)
    model._model_args = {"group_size": 14}
    load_into(model, path)
    assert model.backbone.group_size == (14, 14, 14, 14)
    assert torch.equal(model.neck.fpn_convs[0].conv.weight, state["neck.fpn_convs.0.conv.weight"].float())
    wrong = make_dense("retinanet_crossformer_nano", num_classes=5)
    said = refused("does_not_fit", load_into, wrong, path)
    assert (
        "bbox_head.retina_cls.weight has shape 36 x 256 x 3 x 3, the model expects 45 x 256 x 3 x 3" in said
    )


@pytest.mark.parametrize("name", [name for name, variant in DENSE.items() if variant.drive])
def test_every_published_file_has_an_address(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def no_network(url: str, target: Path, *_: object) -> None:
        asked.append((url, target.name))
        raise CheckpointError("no_network", url=url, detail="a test")

    monkeypatch.setattr(download, "fetch", no_network)
    calls = (
        lambda: cfviz.create_model(name, "official"),
        lambda: timm.create_model(name, pretrained=True),
        lambda: load_dense(name),
        lambda: load_dense(f"official:{name}"),
    )
    for call in calls:
        refused("no_network", call)
    assert asked == [(f"https://drive.google.com/uc?id={DENSE[name].drive}", f"{name}.pth")] * len(calls)


def published(name: str, serve: Any, body: bytes, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model with the authors' weights, which come from this machine."""

    def send(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/octet-stream")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    monkeypatch.setattr(download, "DRIVE", serve(send) + "/{}")
    return opened_dense(f"official:{name}", name)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["retinanet", "semantic_fpn"])
def test_the_authors_files_open_by_name(
    kind: str, states: Any, serve: Any, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, count = f"{kind}_crossformer_nano", 80 if kind == "retinanet" else 150
    body = file({"meta": {"epoch": 12}, "state_dict": states(kind, count)}).read_bytes()
    known, variant = published(name, serve, body, monkeypatch).provenance, DENSE[name]
    assert (known.source, known.dataset) == ("official", variant.dataset)
    figure = next(iter(variant.published.values()))
    measure = "box AP" if variant.task == "detect" else "mIoU"
    assert f"by the authors ({figure}\u00a0% {measure} published)" in str(known.trained)
    assert [note.code for note in known.notes] == ["whole_map"]
    backbone = cfviz.create_model("crossformer_nano", f"official:{name}")
    assert [note.code for note in backbone.provenance.notes] == ["left_out", "whole_map"]


@pytest.mark.slow
def test_a_file_of_the_recorded_names_and_shapes_opens_by_name(
    serve: Any, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = json.loads((GOLDEN / "dense" / "parameters.json").read_text())["semfpn"]
    backbone = json.loads((GOLDEN / "parameters.json").read_text())["crossformer_small"]
    shapes |= {f"backbone.{k}": s for k, s in backbone.items() if k.split(".")[0] not in ("norm", "head")}
    state = {
        key: torch.zeros((), dtype=torch.int64) if key.endswith("tracked") else torch.rand(shape).half()
        for key, shape in shapes.items()
    }
    body = file({"meta": {"epoch": 12}, "state_dict": state}).read_bytes()
    model = published("semantic_fpn_crossformer_small", serve, body, monkeypatch)
    loaded = model.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in state.items())
    assert (model.backbone.group_size, model.backbone.interval) == ((14, 14, 7, 7), (16, 8, 2, 1))
