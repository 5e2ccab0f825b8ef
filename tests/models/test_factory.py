"""The origin of a model's weights: random only on request, and never called what they are not."""

from __future__ import annotations

import argparse
import copy
import json
import pickle
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pytest
import timm
import torch

import cfviz
from cfviz import bundled, run
from cfviz.cli import main
from cfviz.data.samples import gallery, sample
from cfviz.models.crossformer import origin, settled
from cfviz.models.crossformer.drop_path import DropPath
from cfviz.models.crossformer.initial import truncated_normal_
from cfviz.models.variants import OURS
from cfviz.models.weights import download
from cfviz.models.weights.errors import CheckpointError
from cfviz.provenance import Provenance

SHIPPED_NONE = sorted(set(cfviz.list_models()) - set(OURS))
PHOTO = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize("name", SHIPPED_NONE)
def test_a_variant_without_bundled_weights_asks_for_some(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} ships no weights: .*official.*weights=None"):
        cfviz.create_model(name)
    with pytest.raises(ValueError, match="ships no weights"):
        cfviz.inspect(PHOTO, name)


def test_commands_ask_for_weights_in_their_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(sample("cat").path)
    assert main(["predict", photo, "--model", "crossformer_small"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "crossformer_small ships no weights: add --weights official" in err
    assert "--weights none" in err


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "PHOTO", "--weights", "crossformer_small"],
        ["report", "PHOTO", "--weights", "crossformer_small", "--out", "OUT.html"],
        ["evaluate", "--data", ".", "--weights", "crossformer_small"],
        ["sizes", "--data", ".", "--weights", "crossformer_small"],
        ["sizes", "--data", ".", "--twin", "crossformer_small"],
        ["study", "--data", ".", "--interventions", "x", "--out", "OUT", "--model", "crossformer_small"],
        ["convert", "crossformer_small", "OUT.safetensors"],
    ],
)
def test_no_command_downloads_unasked(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        pytest.fail("it downloads")

    monkeypatch.setattr("cfviz.models.weights.checkpoints.fetch_official", never)
    given = {"PHOTO": str(sample("cat").path), "OUT": str(tmp_path / "out"), ".": str(tmp_path)}
    given |= {f"OUT.{end}": str(tmp_path / f"out.{end}") for end in ("html", "safetensors")}
    assert main([given.get(word, word) for word in command]) == 2
    err = capsys.readouterr().err
    assert "crossformer_small ships no weights: name official:crossformer_small" in err


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("weights", ["auto", "bundled"])
def test_a_missing_bundled_file_is_named(
    name: str, weights: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"weights/{name}\.safetensors should have come with cfviz"):
        cfviz.create_model(name, weights)


def test_inspect_without_a_model_names_the_missing_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    run._load.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"crossformer_nano\.safetensors"):
        cfviz.inspect(PHOTO)
    assert main(["predict", str(sample("cat").path)]) == 2
    assert "weights/crossformer_nano.safetensors should have come with cfviz" in capsys.readouterr().err


# ---------------------------------------------------------------- timm's entry points


@pytest.mark.parametrize("name", SHIPPED_NONE)
def test_pretrained_opens_the_authors_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def no_network(url: str, *_: object) -> None:
        asked.append(url)
        raise CheckpointError("no_network", url=url, detail="a test")

    monkeypatch.setattr(download, "fetch", no_network)
    with pytest.raises(CheckpointError) as caught:
        timm.create_model(name, pretrained=True)
    assert caught.value.code == ("needs_person" if "_pp_" in name else "no_network")
    assert len(asked) == (name in download.OFFICIAL)


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_pretrained_records_where_the_weights_come_from(name: str) -> None:
    model = timm.create_model(name, pretrained=True).eval()
    assert model.provenance == cfviz.create_model(name).provenance
    assert model.trained_group == cfviz.create_model(name).trained_group
    assert "state_dict" not in model.pretrained_cfg


@pytest.mark.slow
def test_inspect_names_the_classes_of_a_model_made_by_timm() -> None:
    photo = gallery()[0].path
    trace = cfviz.inspect(photo, model=timm.create_model("crossformer_nano", pretrained=True).eval())
    assert trace.top(3) == cfviz.inspect(photo).top(3)
    assert "random" not in trace.show()


@pytest.mark.parametrize("name", OURS)
def test_timm_names_a_missing_bundled_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    for opened in (lambda: timm.create_model(name, pretrained=True), lambda: cfviz.load_checkpoint(name)):
        with pytest.raises(FileNotFoundError, match=rf"weights/{name}\.safetensors should have come with"):
            opened()


@pytest.mark.slow
def test_a_new_classifier_is_recorded_as_new() -> None:
    model = timm.create_model("crossformer_nano", pretrained=True, num_classes=7).eval()
    assert (model.provenance.source, model.provenance.dataset) == ("bundled", None)
    assert "classifier is new" in model.provenance.notes[-1].sentence()
    assert cfviz.inspect(PHOTO, model).labels == tuple(f"class {i}" for i in range(7))
    again = cfviz.create_model("crossformer_nano")
    again.reset_classifier(20)
    assert again.provenance.dataset is None, "twenty classes of a new head are nobody's"
    assert "classifier is new" in again.provenance.notes[-1].sentence()


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A file as some trainers write it: torch's reader refuses it, and timm's takes the raw weights."""
    made = cfviz.create_model("crossformer_nano", None, num_classes=5, group_size=14)
    ema = {f"module.{key}": value + 1 for key, value in made.state_dict().items()}
    args = argparse.Namespace(out=Path("runs"), model_kwargs={"group_size": 14})
    torch.save({"model": made.state_dict(), "ema": {"module": ema}, "args": args}, tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


@pytest.mark.slow
def test_checkpoint_path_opens_whatever_our_loader_opens(trained: Path) -> None:
    model = timm.create_model("crossformer_nano", checkpoint_path=str(trained), num_classes=5)
    checkpoint = cfviz.load_checkpoint(trained)
    assert all(torch.equal(value, checkpoint.state_dict[key]) for key, value in model.state_dict().items())
    assert model.provenance == checkpoint.provenance
    assert (model.group_size, model.trained_group) == ((14,) * 4, (14,) * 4)
    given = timm.create_model("crossformer_nano", checkpoint_path=str(trained), num_classes=5, group_size=7)
    assert given.group_size == (7,) * 4
    overlay = {"file": str(trained)}
    model = timm.create_model("crossformer_nano", pretrained=True, pretrained_cfg_overlay=overlay)
    assert (model.num_classes, model.group_size) == (5, (14,) * 4)
    assert model.provenance == checkpoint.provenance


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused_in_one_sentence(trained: Path) -> None:
    for made in (
        lambda: timm.create_model("crossformer_nano", checkpoint_path=str(trained), num_classes=9),
        lambda: cfviz.create_model("crossformer_nano", trained, num_classes=9),
    ):
        with pytest.raises(
            CheckpointError, match=r"head\.weight has shape 5 x 384, the model expects 9 x 384"
        ):
            made()
    with pytest.raises(CheckpointError, match=r"24 x 3 x 4 x 4, the model expects 32 x 3 x 4 x 4"):
        timm.create_model("crossformer_tiny", checkpoint_path=str(trained), num_classes=5)


def test_timms_other_models_load_as_before(tmp_path: Path) -> None:
    made = timm.create_model("test_vit")
    torch.save(made.state_dict(), tmp_path / "vit.pth")
    again = timm.create_model("test_vit", checkpoint_path=str(tmp_path / "vit.pth"))
    assert torch.equal(again.head.weight, made.head.weight)


# ---------------------------------------------------------------- random, known, unknown


@pytest.mark.slow
def test_weights_loaded_by_hand_are_of_unknown_origin() -> None:
    model = cfviz.create_model("crossformer_nano", None, num_classes=20)
    assert model.provenance.source == "random"
    model.load_state_dict(cfviz.load_checkpoint("crossformer_nano").state_dict)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.half().float()):
        assert one.provenance.source == "unknown"
        assert one.provenance.trained
    html = cfviz.inspect(PHOTO, model).show()
    assert "weights of unknown origin" in html
    assert "random" not in html.split("<table>")[0]


@pytest.mark.slow
def test_trained_weights_are_of_unknown_origin() -> None:
    for weights, before in (("auto", "bundled"), (None, "random")):
        model = cfviz.create_model("crossformer_nano", weights, num_classes=20)
        step = torch.optim.SGD(model.parameters(), 0.1)
        assert model.provenance.source == before
        model(torch.ones(1, 3, 32, 32)).sum().backward()
        step.step()
        copied = copy.deepcopy(model)
        assert (model.provenance.source, copied.provenance.source) == ("unknown", "unknown")
        if weights:
            assert "came from bundled" in copied.provenance.notes[0].sentence()


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["auto", None])
@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.data.mul_(2),
        lambda p: p.data[-1:].add_(1e-6),
        lambda p: setattr(p, "data", p.data + 1),
        lambda p: p.detach().numpy().fill(1),
    ],
)
def test_a_write_unseen_by_pytorchs_counters_changes_the_origin(weights: str | None, write: Any) -> None:
    for copied in (lambda one: one, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        model = copied(cfviz.create_model("crossformer_nano", weights))
        write(model.head.weight)
        for one in (model, copy.deepcopy(model), copy.deepcopy(model).bfloat16()):
            assert one.provenance.source == "unknown"
            assert bool(one.provenance.notes) == bool(weights)
    emptied = cfviz.create_model("crossformer_nano", weights).to("meta").to_empty(device="cpu")
    assert emptied.provenance.source == "unknown"


@pytest.mark.slow
def test_moving_and_copying_a_model_keeps_the_origin() -> None:
    model = cfviz.create_model("crossformer_nano")
    for one in (copy.deepcopy(model), copy.deepcopy(model).bfloat16(), copy.deepcopy(copy.deepcopy(model))):
        assert one.provenance == model.provenance
    with torch.inference_mode():
        assert cfviz.create_model("crossformer_nano", None).provenance.source == "random"


@pytest.mark.slow
def test_weights_of_another_variant_are_refused_at_both_entry_points(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "mine.pth holds crossformer_nano, but crossformer_small was asked for."
    with pytest.raises(CheckpointError) as caught:
        cfviz.create_model("crossformer_small", trained)
    assert str(caught.value) == said
    command = ["predict", str(sample("cat").path), "--model", "crossformer_small", "--weights", str(trained)]
    assert main(command) == 2
    assert said in capsys.readouterr().err


# ---------------------------------------------------------------- equal numbers are the same weights


def _put_in_a_copy(model: Any, state: Any) -> Any:
    copied = copy.deepcopy(model)
    copied.load_state_dict(state)
    return copied


def _written_and_back(model: Any, state: Any) -> Any:
    model.head.weight.data.mul_(2)
    assert model.provenance.source == copy.deepcopy(model).provenance.source == "unknown"
    model.load_state_dict(state)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("number", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "load",
    [
        lambda model, state: model.load_state_dict(state) and model,
        lambda model, state: model.load_state_dict(state, assign=True) and model,
        lambda model, state: model.half().load_state_dict(state) and model,
        lambda model, state: model.double().load_state_dict(state) and model,
        lambda model, state: model.to(memory_format=torch.channels_last).load_state_dict(state) and model,
        lambda model, _: model.head.half() and model,
        _put_in_a_copy,
        _written_and_back,
    ],
)
def test_the_shipped_numbers_keep_their_origin_however_they_are_loaded(
    number: torch.dtype, load: Any
) -> None:
    model = cfviz.create_model("crossformer_nano")
    told = model.provenance
    state = {
        name: value.to(number) for name, value in cfviz.load_checkpoint("crossformer_nano").state_dict.items()
    }
    assert load(model, state).provenance == told


@pytest.mark.slow
@pytest.mark.parametrize("number", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_changed_number_is_noticed_in_every_format(number: torch.dtype) -> None:
    model = cfviz.create_model("crossformer_nano").to(number)
    assert model.provenance.source == "bundled"
    numbers = model.layers[1].blocks[0].mlp.fc1.weight.data
    least = (
        torch.nextafter(numbers[3, 5].float(), torch.tensor(9.0))
        if number == torch.float32
        else numbers[3, 5] * 1.01
    )
    kept = numbers[3, 5].clone()
    numbers[3, 5] = least
    assert model.provenance.source == "unknown"
    numbers[3, 5] = kept
    assert model.provenance.source == "bundled"
    numbers[[3, 4]] = numbers[[4, 3]]
    assert model.provenance.source == "unknown", "the same numbers in other places"
    if number == torch.float64:
        model = cfviz.create_model("crossformer_nano").double()
        model.head.weight.data[0, 0] += 1e-12
        assert model.provenance.source == "unknown", "less than float32 can hold"


def test_a_settled_model_is_taken_at_its_word_and_its_copies_are_not(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    model.provenance = told = Provenance("bundled", dataset="imagenet-1k")
    assert settled(model) is model
    copied = copy.deepcopy(model)
    copied.head.weight.data[0, 0] += 1
    assert copied.provenance.source == "unknown"
    monkeypatch.setattr(origin, "_checksums", lambda _: pytest.fail("the weights were read again"))
    assert settled(model).provenance == told


def test_weights_written_before_a_model_is_settled_are_of_unknown_origin(tiny_model: Any) -> None:
    model = tiny_model()
    model.provenance = Provenance("bundled", dataset="imagenet-1k")
    model.head.weight.data[0, 0] += 1
    assert settled(model).provenance.source == "unknown"


def test_checking_weights_waits_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, waits = cfviz.create_model("crossformer_nano"), []
    for name in ("tolist", "item", "cpu", "numpy"):
        real = getattr(torch.Tensor, name)
        counted = lambda t, *a, real=real, **k: waits.append(get_ident()) or real(t, *a, **k)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, counted)
    assert model.provenance.source == "bundled"
    assert waits.count(get_ident()) == 1  # what other threads do meanwhile is another test's


# ---------------------------------------------------------------- names that timm itself understands


@pytest.fixture
def folder(trained: Path) -> Path:
    """A folder as timm saves models to, and as repositories on the Hugging Face Hub are."""
    cfviz.create_model("crossformer_nano", trained)  # the file is one that ours opens
    config = {"architecture": "crossformer_nano", "num_classes": 5, "pretrained_cfg": {}}
    place = trained.parent / "saved"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config))
    trained.rename(place / "pytorch_model.bin")
    return place


@pytest.mark.slow
def test_a_folder_that_timm_names_goes_through_our_door(folder: Path) -> None:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    checkpoint = cfviz.load_checkpoint(folder / "pytorch_model.bin")
    assert all(torch.equal(value, checkpoint.state_dict[key]) for key, value in model.state_dict().items())
    assert (model.provenance, model.group_size) == (checkpoint.provenance, (14,) * 4)
    assert "averaged" in model.provenance.notes[0].sentence()


@pytest.mark.slow
def test_a_repository_that_timm_names_goes_through_our_door(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(repo: str) -> tuple[Path, dict[str, Any]]:
        asked.append(repo)
        return folder / "pytorch_model.bin", {}

    monkeypatch.setattr("timm.models._hub.download_from_hf", lambda *_, **__: folder / "config.json")
    monkeypatch.setattr("cfviz.models.weights.checkpoints.fetch_hub", fetched)
    model = timm.create_model("hf-hub:someone/theirs", pretrained=True)
    assert asked == ["someone/theirs"]
    assert (model.provenance.source, model.num_classes) == ("someone/theirs", 5)
    assert model.group_size == (14,) * 4
    made = timm.create_model("hf-hub:someone/theirs", pretrained=False)
    assert (made.provenance.source, len(asked)) == ("random", 1)


def test_the_word_of_the_command_line_for_random_weights_is_explained_in_python() -> None:
    with pytest.raises(ValueError, match=r'weights is "none".*in Python.*weights=None'):
        cfviz.create_model("crossformer_nano", "none")


@pytest.mark.parametrize("std", [0.02, 1.5])
def test_random_weights_are_timms_bit_for_bit(std: float) -> None:
    from timm.layers import trunc_normal_

    drawn = []
    for draw in (truncated_normal_, trunc_normal_):
        torch.manual_seed(5)
        drawn.append(draw(torch.empty(40, 50), std=std))
    assert torch.equal(*drawn)
    assert drawn[0].abs().max() <= 2


def test_stochastic_depth_is_timms_bit_for_bit() -> None:
    from timm.layers import DropPath as Timms

    x, kept = torch.randn(64, 3, 2), []
    for made in (DropPath(0.3), Timms(0.3)):
        torch.manual_seed(5)
        kept.append(made(x))
        assert made.eval()(x) is x
    assert torch.equal(*kept)
    assert 0 < (kept[0] == 0).all(-1).all(-1).sum() < 64
