"""`load_checkpoint`: what it opens, what it recognises and what it refuses, on files made here."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import io
import json
import logging
import os
import pickle
import struct
import sys
import tarfile
import threading
import types
import uuid
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from string import Formatter
from typing import ClassVar

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from cfviz import bundled
from cfviz.cli import main
from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import build
from cfviz.models.probes.position_bias import trained_side
from cfviz.models.variants import OURS, VARIANTS
from cfviz.models.weights import checkpoints, pickles
from cfviz.models.weights.checkpoints import CheckpointError, load_checkpoint, strip, write_checkpoint
from cfviz.models.weights.errors import MESSAGES, readable_size, some
from cfviz.models.weights.pickles import Machine, RefusedError, StandIn
from cfviz.models.weights.recognise import check_shapes, find_variant, read_structure
from cfviz.provenance import Note

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "parameters.json"
NANO = "crossformer_nano"


def _model(**config) -> CrossFormer:
    torch.manual_seed(0)
    return CrossFormer(**{**VARIANTS[NANO], "num_classes": 5, **config})


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {key: value.contiguous() for key, value in _model().state_dict().items()}


@pytest.fixture
def file(tmp_path):
    """A function that saves an object as torch does and returns the path."""

    def save(content, name="weights.pth", **options) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save


def _refused(source, code: str, **options) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(source, **options)
    error = caught.value
    assert error.code == code, f"{error.code}: {error}"
    assert "\n" not in str(error), "one sentence"
    assert str(error) == MESSAGES[code].format(**error.fields)
    return error


def _notes(checkpoint) -> list[Note]:
    """The notes on weights, but for the one that their groups are assumed: few files here record them."""
    return [note for note in checkpoint.notes if note.code != "usual_groups"]


def _same(loaded, state) -> bool:
    return loaded.keys() == state.keys() and all(torch.equal(loaded[k], v) for k, v in state.items())


# ---------------------------------------------------------------- what opens


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.safetensors"])
def test_every_file_type_gives_the_same_weights(state, tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    for source in (path, str(path), path.read_bytes()):
        checkpoint = load_checkpoint(source)
        assert _same(checkpoint.state_dict, state)
        assert (checkpoint.variant, checkpoint.num_classes, checkpoint.in_chans) == (NANO, 5, 3)
        assert (checkpoint.position_bias, checkpoint.group_size) == ("dpb", None)
        assert checkpoint.sha256 == checkpoints.sha256_of(path)
    assert load_checkpoint(path).source == name


def test_files_from_before_zip_archives_open(state, file):
    path = file({"model": state}, _use_new_zipfile_serialization=False)
    assert _same(load_checkpoint(path).state_dict, state)
    assert _same(load_checkpoint(path.read_bytes()).state_dict, state)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "state_dict_ema", "model_ema"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "module.module.", "backbone.", "module.backbone.", "_orig_mod."]
)
def test_wrappers_and_prefixes_are_removed(state, wrapper, prefix):
    wrapped = {wrapper: {prefix + key: value for key, value in state.items()}, "epoch": 3}
    assert _same(strip(wrapped), state)


@pytest.fixture(scope="module")
def other(state) -> dict[str, torch.Tensor]:
    """Another set of weights, to stand beside the averaged one."""
    return {key: value + 1 for key, value in state.items()}


AVERAGED = {  # how trainers write a raw and an averaged set
    "our own trainer": lambda raw, ema: {"model": raw, "ema": ema, "epoch": 3},
    "timm": lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema, "arch": "crossformer_nano"},
    "DeiT": lambda raw, ema: {"model": raw, "model_ema": ema},
    "a module in a dict": lambda raw, ema: {"model": raw, "ema": {"module": ema, "decay": 0.999}},
    "names turned round": lambda raw, ema: {"model_state_dict": raw, "ema_state_dict": ema},
    "BasicSR": lambda raw, ema: {"params": raw, "params_ema": ema},
    "SWA": lambda raw, ema: {"net": raw, "swa_model": {"n_averaged": 3, **_under("module.", ema)}},
    "a shadow": lambda raw, ema: {"model": raw, "ema_model": {"decay": 0.9, "shadow": ema}},
    "Lightning": lambda raw, ema: {
        "state_dict": {**_under("model.", raw), **_under("ema_model.module.", ema)}
    },
    "one level more": lambda raw, ema: {"checkpoint": {"model": raw, "model_ema": ema}, "step": 1},
}


def _under(prefix: str, state) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def _renamed(state, part: str, other: str) -> dict[str, torch.Tensor]:
    return {key.replace(part, other): value for key, value in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize("form", AVERAGED)
def test_averaged_weights_are_preferred_with_a_note(state, other, file, form):
    checkpoint = load_checkpoint(file(AVERAGED[form](other, state)))
    assert _same(checkpoint.state_dict, state)
    (said,) = [note.sentence() for note in _notes(checkpoint)]
    assert "averaged" in said
    assert build(checkpoint).provenance.notes == checkpoint.notes


@pytest.mark.parametrize("content", [{"model": 0, "ema": None}, {"state_dict": 0, "state_dict_ema": {}}])
def test_a_missing_average_is_no_error(state, file, content):
    checkpoint = load_checkpoint(
        file({key: state if value == 0 else value for key, value in content.items()})
    )
    assert _same(checkpoint.state_dict, state)
    assert not _notes(checkpoint)


def test_one_set_under_two_names_counts_once(state, file):
    assert not _notes(load_checkpoint(file({"model": state, "ema": state})))


def test_of_several_raw_sets_the_usual_name_is_taken_with_a_note(state, other, file):
    checkpoint = load_checkpoint(file({"best": other, "model": state}))
    assert _same(checkpoint.state_dict, state)
    assert "these are model, not best" in checkpoint.notes[0].sentence()


@pytest.mark.parametrize("names", [("student", "teacher"), ("ema_1", "ema_2"), ("model", "net")])
def test_several_sets_without_a_first_choice_are_refused(state, other, file, names):
    error = _refused(file(dict(zip(names, (state, other), strict=True))), "several_sets")
    assert all(name in str(error) for name in names)


NEIGHBOURS = {
    "a counter": lambda state: {"n_averaged": torch.tensor(3), **_under("module.", state)},
    "a bare counter": lambda state: {"n_averaged": torch.tensor(3), **state},
    "a loss": lambda state: {**_under("model.", state), "criterion.weight": torch.ones(3)},
    "a loss among the weights": lambda state: {**state, "criterion.weight": torch.ones(3)},
    "counts of operations": lambda state: {
        **state,
        "total_ops": torch.ones(1),
        "layers.0.total_params": torch.ones(1),
    },
    "a prefix of one's own": lambda state: _under("net.", state),
    "a prefix of three": lambda state: _under("trainer.my_net.encoder.", state),
    "a compiled part": lambda state: {
        k.replace("layers.0.", "layers.0._orig_mod."): v for k, v in state.items()
    },
    "a compiled whole": lambda state: _under("module._orig_mod.", state),
    "FSDP": lambda state: {
        k.replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): v for k, v in state.items()
    },
    "wrappers": lambda state: {
        "checkpoint": {"trainer": {"state_dict": {"model": _under("module.", state)}}}
    },
    "numbers": lambda state: {**state, "epoch": 3, "lr": 0.1, "name": "mine"},
}


@pytest.mark.parametrize("form", NEIGHBOURS)
def test_extra_entries_around_the_weights_are_no_reason_to_refuse(state, file, form):
    checkpoint = load_checkpoint(file(NEIGHBOURS[form](state)))
    assert _same(checkpoint.state_dict, state)
    if "loss" in form:
        assert "criterion.weight" in checkpoint.notes[0].sentence()


@pytest.mark.slow
def test_a_whole_pickled_model_opens(state, file):
    path = file(_model().eval())
    assert _same(load_checkpoint(path).state_dict, state)


def test_mmcls_classifiers_become_the_head(state, file):
    def named(norm: str) -> dict[str, torch.Tensor]:
        ends = {"norm": f"backbone.{norm}", "head": "head.fc"}
        return {
            f"{ends.get(key.split('.')[0], 'backbone.' + key.split('.')[0])}.{key.split('.', 1)[1]}": value
            for key, value in state.items()
        }

    for norm in ("norm", "norm3"):
        checkpoint = load_checkpoint(file({"state_dict": named(norm), "meta": {"CLASSES": tuple("abcde")}}))
        assert _same(checkpoint.state_dict, state)
        assert (checkpoint.num_classes, checkpoint.classes) == (5, tuple("abcde"))
    lacking = {key: v for key, v in named("norm").items() if not key.startswith("backbone.norm.")}
    checkpoint = load_checkpoint(file({"state_dict": lacking}))
    assert checkpoint.num_classes == 0, "without the norm before it the classifier means nothing"
    assert "head.fc.weight" in checkpoint.notes[0].sentence()


def test_timms_classifiers_become_the_head(state, file):
    renamed = {key.replace("head.", "head.fc."): value for key, value in state.items()}
    assert _same(load_checkpoint(file(renamed)).state_dict, state)


# ---------------------------------------------------------------- evidence for the size of groups


def _index_tables(G: int, stages=(0, 1), blocks=(0, 1)) -> dict[str, torch.Tensor]:
    """The index tables that the authors' code stores beside the weights, for groups of this size."""
    tables = {}
    for s in stages:
        for b in blocks:
            at = f"layers.{s}.blocks.{b}.attn"
            tables[f"{at}.relative_position_index"] = torch.zeros(G * G, G * G, dtype=torch.int64)
            tables[f"{at}.biases"] = torch.zeros((2 * G - 1) ** 2, 2)
    return tables


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["relative_position_index", "biases", "both"])
def test_index_tables_reveal_the_size_of_groups(state, file, kind):
    tables = {key: value for key, value in _index_tables(14).items() if kind == "both" or key.endswith(kind)}
    checkpoint = load_checkpoint(file({"model": {**state, **tables}}))
    assert checkpoint.group_size == (14, 14, 7, 7)
    assert build(checkpoint).group_size == (14, 14, 7, 7)
    assert build(checkpoint).trained_group == (14, 14, 7, 7)
    assert "14, 14, 7, 7" in checkpoint.notes[0].sentence()


def test_index_tables_of_the_usual_groups_change_nothing(state, file):
    checkpoint = load_checkpoint(file({"model": {**state, **_index_tables(7)}}))
    assert (checkpoint.group_size, checkpoint.notes) == (None, ())


def test_an_index_table_is_no_wider_than_its_map(state, file, settings_class):
    """With G = 14 at 224 pixels, the last stage has 7 x 7 tokens and a table for G = 7."""
    cros = settings_class(GROUP_SIZE=[14] * 4)
    config = settings_class(MODEL=settings_class(CROS=cros), DATA=settings_class(IMG_SIZE=224))
    tables = {**_index_tables(14, (0, 1, 2)), **_index_tables(7, (3,), (0,))}
    checkpoint = load_checkpoint(file({"model": {**state, **tables}, "config": config}))
    assert (checkpoint.group_size, checkpoint.notes) == ((14,) * 4, ())


def test_conflicting_evidence_is_refused(state, file, settings_class):
    config = settings_class(MODEL=settings_class(CROS=settings_class(GROUP_SIZE=[7] * 4)))
    content = {"model": {**state, **_index_tables(14)}, "config": config}
    assert "stage 1 has G = 7 by its settings and 14 by" in str(_refused(file(content), "conflict"))
    mixed = {**state, **_index_tables(14, (0,), (0,)), **_index_tables(7, (0,), (1,))}
    assert "G = 14 and of G = 7" in str(_refused(file(mixed), "conflict"))
    table = _model(position_bias="rpb", group_size=7).state_dict()
    content = {"model": table, "args": argparse.Namespace(model_kwargs={"group_size": 14})}
    assert "tables of biases" in str(_refused(file(content), "conflict"))


# ---------------------------------------------------------------- what trainers write beside the weights


def test_settings_of_timms_trainer_are_used(state, file):
    args = argparse.Namespace(model_kwargs={"group_size": 14, "interval": [16, 8, 2, 1]}, img_size=448)
    args.dataset = "torch/imagenet"
    checkpoint = load_checkpoint(file({"state_dict": state, "epoch": np.int64(3), "args": args}))
    assert (checkpoint.group_size, checkpoint.interval) == ((14,) * 4, (16, 8, 2, 1))
    assert (checkpoint.img_size, checkpoint.dataset) == (448, "imagenet-1k")
    assert checkpoint.trained == "to epoch 3, says the file"


NAMES = ("ant", "bee", "cat", "dog", "eel")
NUMBERS = {name: number for number, name in enumerate(NAMES)}
NAMED = {  # how people keep the names of their classes beside the weights
    "a list": {"classes": list(NAMES)},
    "another list": {"class_names": NAMES},
    "ImageFolder's table": {"class_to_idx": dict(reversed(NUMBERS.items()))},
    "transformers' table": {"config": {"id2label": {str(n): name for name, n in NUMBERS.items()}}},
    "numbers to names": {"idx_to_class": {n: name for name, n in NUMBERS.items()}},
    "Lightning": {"hyper_parameters": {"lr": 0.1, "class_names": list(NAMES)}},
    "a namespace": {"args": argparse.Namespace(classes=list(NAMES))},
}


@pytest.mark.parametrize("beside", NAMED.values(), ids=NAMED)
def test_names_of_classes_beside_the_weights_are_used(state, file, beside):
    assert load_checkpoint(file({"model": state, **beside})).classes == NAMES


def test_names_of_classes_in_a_header_or_a_repository_are_used(state, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path, {"format": "pt", "label_names": json.dumps(NAMES)})
    assert load_checkpoint(path).classes == NAMES
    safetensors.torch.save_file(state, path, {"format": "pt"})
    for config in ({"label_names": NAMES}, {"pretrained_cfg": {"label_names": NAMES}}, {"label2id": NUMBERS}):
        monkeypatch.setattr("cfviz.models.weights.checkpoints.fetch_hub", lambda _, c=config: (path, c))
        assert load_checkpoint("hf-hub:someone/theirs").classes == NAMES


def test_groups_that_a_file_does_not_record_are_said_to_be_assumed(state, file, tmp_path):
    said = [note.sentence() for note in load_checkpoint(file(state)).notes]
    assert said == ["The file does not record its group sizes; the variant's are assumed (G = 7, 7, 7, 7)."]
    for recorded in ({"args": {"group_size": 7}}, {"args": {"model_kwargs": {"group_size": [7, 7, 14, 7]}}}):
        assert not load_checkpoint(file({"model": state, **recorded})).notes
    write_checkpoint(tmp_path / "own.safetensors", state, group_size=[7, 7, 7, 7])
    assert not load_checkpoint(tmp_path / "own.safetensors").notes


HALF = {"mean": [0.5, 0.5, 0.5], "std": [127.5, 127.5, 127.5]}


@pytest.mark.parametrize(
    ("beside", "said"),
    [({"hyper_parameters": HALF}, True), ({"args": argparse.Namespace(mean=(0.485, 0.456, 0.406))}, False),
     ({"args": argparse.Namespace(std=(0.5, 0.5, 0.5))}, True),
     ({"args": {"mean": None, "std": [0.5]}}, False),
     ({"config": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}}, False)],
)  # fmt: skip
def test_pixels_scaled_otherwise_in_training_are_said(beside, said, state, file, tmp_path):
    path = file({"model": state, **beside})
    told = [note.sentence() for note in _notes(load_checkpoint(path))]
    assert bool(told) == said
    if beside == {"hyper_parameters": HALF}:
        assert "with mean 0.5, 0.5, 0.5 and deviation 0.5, 0.5, 0.5; here they are with ImageNet's" in told[0]
        assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 0
        assert load_checkpoint(tmp_path / "out.safetensors").notes == load_checkpoint(path).notes


def test_a_repository_says_how_its_model_was_made(state, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path, {"format": "pt"})
    config = {"architecture": NANO, "model_args": {"group_size": [4, 4, 7, 7], "interval": [4, 2, 1, 1]}}
    config["pretrained_cfg"] = {"input_size": [3, 288, 288], "mean": [0.5] * 3, "std": [0.5] * 3}
    monkeypatch.setattr("cfviz.models.weights.checkpoints.fetch_hub", lambda _: (path, config))
    found = load_checkpoint("hf-hub:someone/theirs")
    assert (found.group_size, found.interval, found.img_size) == ((4, 4, 7, 7), (4, 2, 1, 1), 288)
    assert [note.code for note in found.notes] == ["normalised"]


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": 5},
        {"classes": ["ant", "bee"]},
        {"class_to_idx": {"ant": 0, "bee": 2, "cat": 3, "dog": 4, "eel": 5}},
        {"class_to_idx": dict.fromkeys(NAMES, "first")},
        {"idx_to_class": {1: "ant", "1": "bee", 2: "cat", 3: "dog", 4: "eel"}},
        {"labels": [0, 1, 2, 3, 4]},
        {"class_to_idx": {("a", "b"): 0}},
        {"class_to_idx": {name: [n] for name, n in NUMBERS.items()}},
    ],
)
def test_what_does_not_name_every_class_names_none(state, file, beside):
    assert load_checkpoint(file({"model": state, **beside})).classes is None


def test_a_list_of_too_few_or_too_many_classes_is_left_out_and_said(state, file):
    for given in (2, 6):
        found = load_checkpoint(file({"model": state, "classes": [f"class {n}" for n in range(given)]}))
        (note,) = [note for note in found.notes if note.code == "miscounted_classes"]
        assert (dict(note.fields), found.classes) == ({"given": str(given), "count": "5"}, None)
        assert note.sentence().startswith(f"The file names {given} classes, but its classifier has 5;")


@pytest.mark.parametrize(
    ("shape", "size"), [([3, 160, 160], 160), ((3, 96, 96), 96), ([3, 160, 96], None), ([3], None)]
)
def test_the_input_size_of_timms_trainer_is_used(state, file, shape, size):
    args = argparse.Namespace(img_size=None, input_size=shape)
    assert load_checkpoint(file({"state_dict": state, "args": args})).img_size == size


def _last(model, ema, **recipe):
    """A `last.pt` as our own trainer writes it."""
    phases = [
        {"size": 128, "group_size": 4, "epochs": 2, "interval": None},
        {"size": 224, "group_size": [14, 14, 7, 7], "epochs": 3, "interval": [16, 8, 2, 1]},
    ]
    told = {"model": NANO, "model_args": {}, "num_classes": 5, "dataset": "imagenette20", "phases": phases}
    told |= {"position_bias": "dpb", "teacher": None, "start_weights": None} | recipe
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))]).state_dict()
    where = {"epoch": 4, "step_in_epoch": 1, "step": 90, "seconds": 1.5}
    return {"model": model, "ema": ema, "reader": None, "optimizer": optimizer, "recipe": told, **where}


def test_our_trainers_last_state_opens_with_all_its_facts(state, other, file, tmp_path):
    content = {**_last(other, state), "classes": ["ant", "bee", "cat", "dog", "eel"], "dataset": None}
    checkpoint = load_checkpoint(file(content, "last.pt"))
    assert _same(checkpoint.state_dict, state)
    assert (checkpoint.group_size, checkpoint.interval) == ((14, 14, 7, 7), (16, 8, 2, 1))
    assert (checkpoint.img_size, checkpoint.trained_group) == (224, (14, 14, 7, 7))
    assert checkpoint.classes == ("ant", "bee", "cat", "dog", "eel")
    assert checkpoint.dataset is None, "five classes of one's own are not Imagenette's"
    early = {**content, "epoch": 1, "step_in_epoch": 0}
    checkpoint = load_checkpoint(file(early))
    assert (checkpoint.group_size, checkpoint.interval) == ((4,) * 4, None)
    assert (checkpoint.img_size, checkpoint.trained_group) == (128, (4, 4, 4, 4))


def test_a_converted_file_keeps_its_facts(state, other, file, tmp_path, capsys):
    content = {**_last(other, state), "classes": ["ant", "bee", "cat", "dog", "eel"], "dataset": None}
    path, out = file(content, "last.pt"), tmp_path / "out.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    assert "averaged" in capsys.readouterr().err
    before, after = load_checkpoint(path), load_checkpoint(out)
    assert _same(after.state_dict, state)
    for name in (
        "variant",
        "group_size",
        "interval",
        "img_size",
        "classes",
        "dataset",
        "training",
        "trained_group",
    ):
        assert getattr(after, name) == getattr(before, name), name


@pytest.mark.slow
def test_a_converted_file_records_what_was_done_to_its_weights(state, other, file, tmp_path):
    content = {"model": other, "ema": {**state, **_index_tables(14), "n_averaged": torch.ones(1)}}
    path, out, again = file(content), tmp_path / "out.safetensors", tmp_path / "again.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    assert main(["convert", str(out), str(again)]) == 0
    before = load_checkpoint(path)
    assert [note.code for note in before.notes] == ["averaged", "left_out", "index_groups"]
    for one in (out, again):
        after = load_checkpoint(one)
        assert after.notes == before.notes
        assert build(after).provenance.notes == before.notes
    assert load_checkpoint(out).meta["converted_from"] == {"source": path.name, "sha256": before.sha256}


@pytest.mark.slow
def test_a_converted_file_invents_nothing(state, file, tmp_path):
    """Neither a norm that the backbone lacked nor a training that never took place."""
    backbone = {key: value for key, value in state.items() if key.split(".")[0] not in ("norm", "head")}
    path, out = file(backbone), tmp_path / "backbone.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    assert load_checkpoint(out).missing == load_checkpoint(path).missing
    path, out = tmp_path / "random.safetensors", tmp_path / "still_random.safetensors"
    write_checkpoint(path, state, trained=None)
    assert main(["convert", str(path), str(out)]) == 0
    assert load_checkpoint(out).trained is load_checkpoint(path).trained is None


@pytest.mark.parametrize(
    "told",
    ["averaged", [1], [{"code": "averaged"}], [{"code": ["averaged"]}], [{"code": "averaged", "name": 1}],
     [{"code": "changed", "source": "x"}], [{"code": "left_out", "names": "x", "more": "x"}]],
)  # fmt: skip
def test_senseless_notes_are_ignored(told, state, tmp_path):
    write_checkpoint(tmp_path / "x.safetensors", state, weights_notes=told)
    assert not _notes(load_checkpoint(tmp_path / "x.safetensors"))


def test_notes_in_a_file_are_made_printable(state, tmp_path):
    told = [{"code": "left_out", "names": "\x1b[2J\n" + "x" * 900}]
    write_checkpoint(tmp_path / "x.safetensors", state, weights_notes=told)
    (note,) = _notes(load_checkpoint(tmp_path / "x.safetensors"))
    assert note.sentence().isprintable()
    assert len(note.sentence()) < 500


@pytest.mark.slow
def test_widths_and_depths_of_a_recipe_are_kept_with_its_weights(file, tmp_path):
    args = {"depths": [1, 1, 2, 1], "embed_dim": 24, "num_heads": [1, 2, 4, 8]}
    own = _model(**args).state_dict()
    path = file(_last(own, None, model_args=args))
    checkpoint = load_checkpoint(path)
    assert (checkpoint.variant, checkpoint.model_args["depths"]) == (NANO, (1, 1, 2, 1))
    assert _same(build(checkpoint).state_dict(), own)
    out = tmp_path / "own.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    assert _same(build(load_checkpoint(out)).state_dict(), own)
    _refused(file(own), "unknown_variant")  # nothing but shapes
    lying = {**args, "depths": [1, 1, 3, 1]}
    _refused(file(_last(own, None, model_args=lying)), "unknown_variant")


def test_a_detectors_neck_and_heads_are_left_out(state, file):
    backbone = {
        f"backbone.{key}": value for key, value in state.items() if key.split(".")[0] not in ("norm", "head")
    }
    text = "model = dict(backbone=dict(group_size=[14, 14, 7, 7], crs_interval=[16, 8, 2, 1]))\ninterval = 1"
    content = {
        "meta": {"epoch": 12, "config": text, "CLASSES": ("cat", "dog")},
        "state_dict": OrderedDict(
            **backbone, **{"neck.conv.weight": torch.ones(2), "bbox_head.bias": torch.ones(1)}
        ),
    }
    checkpoint = load_checkpoint(file(content))
    assert (checkpoint.variant, checkpoint.num_classes) == (NANO, 0)
    assert (checkpoint.group_size, checkpoint.interval) == ((14, 14, 7, 7), (16, 8, 2, 1))
    assert set(checkpoint.missing) == {"norm.weight", "norm.bias"}
    model = _model(num_classes=0, group_size=checkpoint.group_size, interval=checkpoint.interval)
    model.load_state_dict(checkpoint.state_dict, strict=True)
    assert torch.equal(model.norm.weight, torch.ones(384))


@pytest.mark.slow
@pytest.mark.parametrize(
    "beside", ["neck.conv.weight", "roi_head.bbox_head.fc.bias", "decode_head.conv_seg.bias"]
)
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_weights_of_detectors_and_segmenters_attend_over_the_whole_map_with_a_note(
    state, file, beside, wrapper
):
    backbone = {
        f"{wrapper}backbone.{key}": value
        for key, value in state.items()
        if key.split(".")[0] not in ("norm", "head")
    }
    path = file({"state_dict": {**backbone, wrapper + beside: torch.ones(2)}})
    checkpoint = load_checkpoint(path)
    assert checkpoint.lda == "whole"
    assert [note.code for note in _notes(checkpoint)] == ["left_out", "whole_map"]
    model = build(checkpoint)
    assert model.lda == "whole"
    assert "span the whole map" in " ".join(note.sentence() for note in model.provenance.notes)
    assert (trained_side(model, 0, "sda"), trained_side(model, 0, "lda")) == (model.group_size[0], None)
    other = build(checkpoint, lda="regions")
    assert trained_side(other, 0, "lda") is None  # however it is used, it was trained on larger groups
    assert (other.lda, [note.code for note in _notes(other.provenance)]) == ("regions", ["left_out"])
    for settings, lda in (({}, "whole"), ({"lda": "regions"}, "regions")):
        net = timm.create_model(NANO, num_classes=0, checkpoint_path=str(path), **settings)
        assert net.lda == lda
        assert ("whole_map" in [note.code for note in net.provenance.notes]) == (lda == "whole")


@pytest.mark.slow
def test_weights_of_a_detector_attend_over_the_whole_map_after_a_conversion_too(state, file, tmp_path):
    backbone = {
        f"backbone.{key}": value for key, value in state.items() if key.split(".")[0] not in ("norm", "head")
    }
    path, out = file({**backbone, "neck.conv.weight": torch.ones(2)}), tmp_path / "out.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    before, after = load_checkpoint(path), load_checkpoint(out)
    assert before.lda == after.lda == "whole"
    assert build(after).lda == "whole"


def test_every_setting_of_a_model_survives_a_conversion(state, file, tmp_path):
    """A setting that the converted file does not record would come back as the variant's own."""
    settings = {"group_size": [14, 14, 7, 7], "interval": [4, 4, 2, 1], "lda": "whole", "img_size": 160}
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    write_checkpoint(path, state, trained_group=[7, 7, 7, 7], dataset="imagenette20", **settings)
    assert main(["convert", str(path), str(out)]) == 0
    before, after = load_checkpoint(path), load_checkpoint(out)
    assert set(settings) <= set(before.config)
    assert before.config == after.config
    assert before.facts == after.facts


@pytest.mark.slow
def test_no_other_file_changes_the_form_of_long_distance_attention(state, file):
    backbone = {
        f"backbone.{key}": value for key, value in state.items() if key.split(".")[0] not in ("norm", "head")
    }
    beside = {"neck.conv.weight": torch.ones(2)}
    plain = [{"model": state}, {"model": backbone}]
    plain += [{**backbone, "head.fc.weight": torch.ones(5, 384)}, {**backbone, "other.neck.x": torch.ones(1)}]
    for content in plain:
        assert load_checkpoint(file(content)).lda is None
    told = {"state_dict": {**backbone, **beside}, "args": argparse.Namespace(model_kwargs={"lda": "regions"})}
    assert load_checkpoint(file(told)).lda == "regions"
    for lda in ("everywhere", 3, ["whole"], {"a": 1}):
        assert load_checkpoint(file({**told, "args": argparse.Namespace(lda=lda)})).lda == "whole"


@pytest.mark.slow
@pytest.mark.parametrize("lda", ["regions", "whole"])
def test_the_form_of_long_distance_attention_survives_writing_and_reading(state, tmp_path, lda):
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, state, lda=lda)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.lda, checkpoint.config["lda"], build(checkpoint).lda) == (lda, lda, lda)
    assert "whole_map" not in [note.code for note in checkpoint.notes]
    assert "lda" not in checkpoint.meta


def test_a_detectors_adaptive_interval_is_kept(state, file):
    text = "backbone=dict(group_size=[7, 7, 7, 7], crs_interval=[8, 4, 2, 1], adaptive_interval=True)"
    assert load_checkpoint(file({"meta": {"config": text}, "state_dict": state})).interval == "adaptive"


def test_only_the_known_buffers_of_older_code_are_dropped(state, file):
    old = {
        "layers.0.blocks.0.attn.biases": torch.zeros(169, 2),
        "layers.0.blocks.1.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        "layers.2.blocks.1.attn_mask": torch.zeros(4, 49, 49),
    }
    assert _same(load_checkpoint(file({"model": {**state, **old}})).state_dict, state)
    error = _refused(file({"model": {**state, "layers.0.attn_mask": torch.zeros(1)}}), "keys")
    assert "layers.0.attn_mask" in str(error)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(state, file, dtype):
    loaded = load_checkpoint(file({key: value.to(dtype) for key, value in state.items()})).state_dict
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[key], value.to(dtype).float()) for key, value in state.items())


def test_weights_do_not_depend_on_their_file_after_loading(state, file):
    path = file(state)
    loaded = load_checkpoint(path).state_dict
    path.write_bytes(bytes(path.stat().st_size))
    assert _same(loaded, state)


def test_written_weights_are_read_back(state, tmp_path):
    facts = {
        "trained": "20 classes, 3 epochs",
        "dataset": "imagenette20",
        "interval": "adaptive",
        "top1": 71.5,
    }
    path = tmp_path / "nano.safetensors"
    digest = write_checkpoint(path, state, torch.float16, group_size=[7, 7, 7, 7], img_size=192, **facts)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.trained, checkpoint.dataset) == (facts["trained"], facts["dataset"])
    assert (checkpoint.group_size, checkpoint.interval, checkpoint.img_size) == (
        (7, 7, 7, 7),
        "adaptive",
        192,
    )
    assert (checkpoint.sha256, checkpoint.meta["top1"]) == (digest, 71.5)
    assert NANO in repr(checkpoint)


@pytest.mark.slow
def test_the_largest_groups_of_training_are_recorded_or_are_the_files_groups(state, tmp_path):
    path = tmp_path / "nano.safetensors"
    write_checkpoint(path, state, group_size=[7, 7, 7, 7], trained_group=[8, 8, 8, 7])
    checkpoint = load_checkpoint(path)
    assert checkpoint.trained_group == (8, 8, 8, 7)
    assert "trained_group" not in checkpoint.meta
    model = build(checkpoint)
    assert (model.trained_group, model.group_size) == ((8, 8, 8, 7), (7, 7, 7, 7))
    model.set_grouping(14)  # trying another G does not change the training
    assert model.trained_group == (8, 8, 8, 7)
    for told in ({}, {"trained_group": [8, 8]}, {"trained_group": [113] * 4}, {"trained_group": [0] * 4}):
        write_checkpoint(path, state, group_size=[6, 6, 6, 6], **told)
        assert build(load_checkpoint(path)).trained_group == (6, 6, 6, 6)
    write_checkpoint(path, state)
    assert build(load_checkpoint(path)).trained_group == (7, 7, 7, 7)


def test_a_file_cannot_claim_its_own_origin(state, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_checkpoint(path, state, source="official", group_size=[0, 7], interval="wild", img_size="big")
    checkpoint = load_checkpoint(path)
    assert checkpoint.source == "mine.safetensors"
    assert (checkpoint.group_size, checkpoint.interval, checkpoint.img_size) == (None, None, None)


# ---------------------------------------------------------------- the authors' settings class


@pytest.fixture
def settings_class(monkeypatch):
    """A dict with attributes that is pickled as `yacs.config.CfgNode`, as in the authors' files."""

    class CfgNode(dict):
        def __init__(self, **items):
            super().__init__(**items)
            self.__dict__.update(__immutable__=True, __deprecated_keys__=set(), __renamed_keys__={})

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    yield CfgNode
    assert not [name for _, name in _user_globals() if name == "yacs.config.CfgNode"], "left in torch's table"


def _user_globals():
    return [entry for entry in torch.serialization.get_safe_globals() if isinstance(entry, tuple)]


@pytest.mark.parametrize("zipped", [True, False])
def test_the_authors_files_open(state, file, settings_class, monkeypatch, zipped):
    cros = settings_class(GROUP_SIZE=[7, 7, 7, 7], INTERVAL=[8, 4, 2, 1], ADAPT_INTER=False)
    config = settings_class(
        MODEL=settings_class(NAME="nano", CROS=cros), DATA=settings_class(IMG_SIZE=224, DATASET="imagenet")
    )
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    content = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"t": [1.0]},
        "config": config,
    }
    path = file({**content, "max_accuracy": 81.53, "epoch": 299}, _use_new_zipfile_serialization=zipped)
    assert b"CfgNode" in path.read_bytes()
    monkeypatch.delitem(sys.modules, "yacs.config")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    checkpoint = load_checkpoint(path)
    assert _same(checkpoint.state_dict, state)
    assert (checkpoint.group_size, checkpoint.interval, checkpoint.img_size) == ((7,) * 4, (8, 4, 2, 1), 224)
    assert (checkpoint.dataset, checkpoint.meta["epoch"]) == ("imagenet-1k", 299)
    assert checkpoint.trained == "to epoch 299, 81.5\u00a0% at best, says the file"
    assert "yacs.config" not in sys.modules


def test_an_adaptive_interval_in_the_settings_is_read(state, file, settings_class):
    cros = settings_class(GROUP_SIZE=[7] * 4, INTERVAL=[8, 4, 2, 1], ADAPT_INTER=True)
    path = file({"model": state, "config": settings_class(MODEL=settings_class(CROS=cros))})
    assert load_checkpoint(path).interval == "adaptive"


def test_many_threads_can_read_settings_at_once(state, file, settings_class):
    path = file({"model": state, "config": settings_class(DATA=settings_class(IMG_SIZE=224))})
    sizes: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: sizes.append(load_checkpoint(path).img_size)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [224] * 6


# ---------------------------------------------------------------- hostile and broken files


class _RunsCommand:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_file_is_refused_by_name_and_never_run(state, file, tmp_path, zipped, protocol):
    marker = tmp_path / "it_ran"
    content = {"model": state, "extra": _RunsCommand(marker)}
    path = file(content, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    for source in (path, path.read_bytes()):
        assert "posix.system" in str(_refused(source, "unsafe_class"))
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file was not malicious after all"


def test_a_bare_malicious_pickle_is_refused_and_never_run(tmp_path):
    marker = tmp_path / "it_ran"
    for protocol in (2, 3, 4, 5):
        _refused(pickle.dumps(_RunsCommand(marker), protocol), "unsafe_class")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [(logging.getLogger("x"), "getLogger"), (types.SimpleNamespace(a=1), "SimpleNamespace"), (1j, "complex")],
)
def test_unneeded_calls_are_refused_even_if_harmless(state, file, value, name):
    assert name in str(_refused(file({"model": state, "args": value}), "unsafe_class"))


def test_a_class_allowed_in_torch_is_still_refused(state, file):
    with torch.serialization.safe_globals([types.SimpleNamespace]):
        _refused(file({"model": state, "args": types.SimpleNamespace()}), "unsafe_class")


class _Counts:
    """Records which of its methods a real unpickler would run."""

    ran: ClassVar[list[str]] = []

    def __new__(cls, *_args):
        cls.ran.append("new")
        return super().__new__(cls)

    def __getnewargs__(self):
        return ("anything",)

    def __getstate__(self):
        return {"lr": 0.1}

    def __setstate__(self, state):
        self.ran.append("setstate")


@dataclasses.dataclass
class _Settings:
    lr: float = 0.1


BESIDE = {
    "namespace": argparse.Namespace(lr=0.1, model="crossformer_nano"),
    "numpy": {"best": np.float64(81.5), "epoch": np.int64(3), "hits": np.arange(3), "kind": np.dtype("f4")},
    "path": [Path("runs/a"), PurePosixPath("b"), PureWindowsPath("c")],
    "own class": _Settings(),
    "containers": [OrderedDict(a=1), Counter("aa"), defaultdict(list, a=[1]), deque(), {1}, frozenset("a")],
    "dates": [datetime.datetime(2024, 5, 1), datetime.timedelta(1)],
    "numbers": [Decimal("0.1"), Fraction(1, 3), uuid.UUID(int=7), 10**40, -1.5],
    "torch": [torch.float16, torch.device("cpu"), torch.Size([3]), torch.nn.Parameter(torch.ones(2))],
    "python": [None, True, "\u6b0a", b"bytes", bytearray(b"x"), (1, (2,)), {"k": {}}, slice(1), range(3)],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_beside_the_weights_do_not_prevent_opening(state, file, beside, protocol, zipped):
    content = {"model": state, "beside": BESIDE[beside]}
    path = file(content, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert _same(load_checkpoint(path).state_dict, state)


def test_no_class_named_in_a_file_is_imported_or_run(state, file, monkeypatch):
    path = file({"model": state, "args": _Counts()})
    _Counts.ran.clear()
    assert _same(load_checkpoint(path).state_dict, state)
    assert _Counts.ran == []
    torch.load(path, weights_only=False)
    assert _Counts.ran == ["new", "setstate"], "the file would not have run anything"
    gone = types.ModuleType("a_trainer_of_somebody")
    gone.Settings = type("Settings", (), {"__module__": gone.__name__})
    monkeypatch.setitem(sys.modules, gone.__name__, gone)
    path = file({"model": state, "args": gone.Settings()})
    monkeypatch.delitem(sys.modules, gone.__name__)
    assert _same(load_checkpoint(path).state_dict, state)
    assert gone.__name__ not in sys.modules


def test_a_class_that_would_start_a_program_is_treated_as_a_name(state, file, tmp_path):
    program = b"\x80\x02csubprocess\nPopen\n(X\x02\x00\x00\x00lst\x81."
    assert isinstance(Machine(None).read(io.BytesIO(program)), StandIn)
    called = program.replace(b"\x81", b"R")
    with pytest.raises(RefusedError, match=r"subprocess\.Popen"):
        Machine(None).read(io.BytesIO(called))


@pytest.mark.parametrize(
    "program",
    [
        b"(" * 40_000 + b"l" * 40_000 + b".",
        b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s.",  # a key nested so deeply that hashing overflows
        b"\x80\x04" + b"]" * 3 + b"\x93.",  # a class named by a list
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02K\x01K\x02s.",
        b"\x80\x02h\x07.",
        b"\x80\x02t.",
        b"\x80\x02.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_senseless_pickles_are_refused_quickly(program):
    with pytest.raises(CheckpointError):
        load_checkpoint(program)


def test_a_pickle_of_endless_steps_is_refused(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_STEPS", 1000)
    assert "very many" in str(_refused(b"\x80\x02" + b"]" * 2000 + b".", "too_large"))


def test_a_files_content_decides_what_it_is_not_its_name(state, tmp_path):
    torch.save({"model": state}, tmp_path / "pickle.safetensors")
    safetensors.torch.save_file(state, tmp_path / "numbers.pth")
    for name in ("pickle.safetensors", "numbers.pth"):
        assert _same(load_checkpoint(tmp_path / name).state_dict, state)
    assert _same(
        load_checkpoint((tmp_path / "numbers.pth").read_bytes(), allow_pickle=False).state_dict, state
    )
    _refused((tmp_path / "pickle.safetensors").read_bytes(), "pickle_refused", allow_pickle=False)


@pytest.mark.parametrize("begins", [b"\x80\x02", b"\x80\x04", b"PK"])
def test_a_header_length_that_looks_like_a_pickle_or_a_zip(state, begins):
    """A .safetensors file begins with a length, whose bytes may look like anything."""
    whole = safetensors.torch.save(state)
    length = struct.unpack("<Q", whole[:8])[0]
    wanted = int.from_bytes(begins, "little")
    while wanted < length:
        wanted += 1 << 16
    padded = struct.pack("<Q", wanted) + whole[8 : 8 + length].ljust(wanted) + whole[8 + length :]
    assert padded.startswith(begins)
    assert _same(load_checkpoint(padded).state_dict, state)


def test_a_plain_pickle_is_called_one():
    assert "torch.save did not write" in str(_refused(pickle.dumps({"model": 1}, 2), "not_weights"))


def test_uploads_can_be_limited_to_safetensors(state, file, tmp_path):
    error = _refused(file(state).read_bytes(), "pickle_refused", allow_pickle=False, name="cat.pth")
    assert "cat.pth" in str(error)
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, path)
    assert _same(load_checkpoint(path.read_bytes(), allow_pickle=False).state_dict, state)


def _fractions(size: int) -> list[int]:
    return [1, 2, 7, 8, 9, 100, 5000, size // 3, size // 2, size - 5000, size - 100, size - 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_files_truncated_anywhere_are_refused(state, file, tmp_path, kind):
    if kind == "safetensors":
        safetensors.torch.save_file(state, path := tmp_path / "whole.safetensors")
    else:
        path = file(state, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    allowed = ("truncated", "damaged", "not_weights")
    for size in _fractions(len(whole)):
        for source in (whole[:size], tmp_path / f"cut{path.suffix}"):
            if isinstance(source, Path):
                source.write_bytes(whole[:size])
            with pytest.raises(CheckpointError) as caught:
                load_checkpoint(source)
            assert caught.value.code in (allowed if size < 100 else allowed[:1]), f"{size}: {caught.value}"


@pytest.mark.slow
def test_bytes_changed_in_the_middle_never_crash(state, file):
    whole = bytearray(file(state).read_bytes())
    start = whole.index(b"data.pkl")
    for offset in range(start, start + 4000, 37):
        changed = bytearray(whole)
        changed[offset] ^= 0xFF
        with contextlib.suppress(CheckpointError):  # any other exception fails the test
            load_checkpoint(bytes(changed))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "w.pth").touch()
    _refused(tmp_path / "w.pth", "empty")
    _refused(b"", "empty")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "web_page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not_weights"),
        (b"hello, this is a text", "not_weights"),
        (struct.pack("<Q", 1 << 60) + b"{}", "not_weights"),
        (struct.pack("<Q", 2) + b"{}", "no_tensors"),
        (struct.pack("<Q", 9) + b'{"a": [1}', "damaged"),
        (struct.pack("<Q", 10) + b'{"a": "b"}', "damaged"),
    ],
)
def test_files_of_another_kind_are_refused(content, code):
    _refused(content, code)


def test_a_deeply_nested_header_is_refused_as_damaged():
    nested = b'{"a":' * 50_000
    _refused(struct.pack("<Q", len(nested)) + nested, "damaged")


def test_tar_archives_are_refused(tmp_path):
    with tarfile.open(tmp_path / "w.pth.tar", "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name))
    _refused(tmp_path / "w.pth.tar", "tar")


def _zip(**entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", entries.pop("compression", zipfile.ZIP_STORED)) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name.replace('__', '.')}", content)
    return buffer.getvalue()


def test_zip_archives_of_other_things_are_refused():
    _refused(_zip(readme__txt=b"hello"), "not_weights")
    _refused(_zip(data__pkl=pickle.dumps({}, 2), constants__pkl=pickle.dumps((), 2)), "torchscript")


def test_zip_bombs_are_refused():
    bomb = _zip(compression=zipfile.ZIP_DEFLATED, data__pkl=pickle.dumps({}, 2), zeros=bytes(1 << 20))
    error = _refused(bomb, "too_large")
    assert error.fields["unpacked"] == "1.0 MB"


def test_tensors_that_claim_more_than_the_file_holds_are_refused(state, file):
    head = torch.zeros(1).expand(200_000_000, 384)
    error = _refused(file({**state, "head.weight": head, "head.bias": head[:, 0]}), "too_large")
    assert error.fields["unpacked"].endswith("GB")


def test_memory_bombs_in_a_pickle_are_refused(state, file):
    nested: list = []
    for _ in range(40):
        nested = [nested, nested]
    assert _same(load_checkpoint(file({"model": state, "extra": nested})).state_dict, state)


# ---------------------------------------------------------------- what is inside


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(state, file, value):
    broken = {key: tensor.clone() for key, tensor in state.items()}
    broken["layers.1.blocks.0.mlp.fc1.bias"][[3, 5]] = value
    error = _refused(file(broken), "not_finite")
    assert (error.fields["key"], error.fields["count"]) == ("layers.1.blocks.0.mlp.fc1.bias", 2)


def test_large_finite_weights_are_accepted(state, file):
    large = {**state, "norm.weight": torch.full((384,), 3e38)}
    assert _same(load_checkpoint(file(large)).state_dict, large)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_weights_of_another_dtype_are_refused(state, file, dtype):
    path = file({**state, "head.bias": torch.zeros(5, dtype=dtype)})
    expected = "unsafe_class" if dtype.is_complex else "dtype"
    assert ("head.bias" in str(_refused(path, expected))) == (expected == "dtype")


@pytest.mark.parametrize("content", [{}, {"model": {}}, {"lr": 0.1}, [1, 2], torch.ones(3), {"a": {"b": 1}}])
def test_files_without_weights_are_refused(file, content):
    _refused(file(content), "no_tensors")


def test_endless_wrappers_are_refused(state):
    content: dict = {"model": state}
    for _ in range(9):
        content = {"model": content}
    with pytest.raises(CheckpointError, match="nested too deep"):
        strip(content)


def test_non_tensors_among_the_weights_are_refused(state, file):
    assert "head.bias is a int" in str(_refused(file({**state, "head.bias": 3}), "no_tensors"))


@pytest.mark.slow
def test_another_architecture_is_named_by_its_first_keys(file):
    import timm

    error = _refused(file(timm.create_model("resnet10t").state_dict()), "architecture")
    assert "conv1.0.weight" in str(error)
    assert "patch_embed.projs.0.weight" in str(error)


def test_a_swin_is_refused(file):
    import timm

    with torch.device("meta"):
        swin = timm.create_model("swin_tiny_patch4_window7_224")
    small = {key: torch.zeros(1) for key in swin.state_dict()}
    error = _refused(file(small), "timm_weights")
    assert "is a Swin, one of timm's models and no CrossFormer" in str(error)
    wrapped = {f"module.model.{key}": value for key, value in small.items()}
    assert _refused(file(wrapped), "timm_weights").fields["family"] == "Swin"


@pytest.mark.slow
def test_depths_of_no_variant_are_refused(file):
    error = _refused(file(_model(depths=(2, 2, 4, 2)).state_dict()), "unknown_variant")
    assert error.fields["nearest"] == NANO
    assert (
        error.fields["differs"] == f"depths 2-2-4-2 instead of {'-'.join(map(str, VARIANTS[NANO]['depths']))}"
    )


def test_swapped_shapes_are_named(state, file):
    key = "layers.0.blocks.0.mlp.fc1.weight"
    error = _refused(file({**state, key: state[key].T}), "shape")
    assert (error.fields["key"], error.fields["got"], error.fields["expected"]) == (
        key,
        "48 x 192",
        "192 x 48",
    )


@pytest.mark.slow
def test_weights_without_the_right_number_of_axes_are_refused(state, file):
    for key in ("head.weight", "layers.3.blocks.0.attn.pos.pos3.2.weight"):
        for shape in ((), (0,), (0, 12)):
            with pytest.raises(CheckpointError):
                load_checkpoint(file({**state, key: torch.ones(shape)}))
    tables = {key: value for key, value in state.items() if ".attn.pos." not in key}
    for s, heads in enumerate((3, 6, 12, 24)):
        for b in range((2, 2, 2, 1)[s]):
            tables[f"layers.{s}.blocks.{b}.attn.pos.table"] = torch.ones(0, heads)
    with pytest.raises(CheckpointError):
        load_checkpoint(file(tables))


def test_missing_and_foreign_keys_are_named(state, file):
    lacking = {key: value for key, value in state.items() if "mlp.fc2" not in key}
    assert "layers.0.blocks.0.mlp.fc2.weight" in str(_refused(file(lacking), "keys"))
    assert "head.scale" in str(_refused(file({**state, "head.scale": torch.ones(1)}), "keys"))


def test_a_missing_stage_is_noticed(state, file):
    lacking = {key: value for key, value in state.items() if not key.startswith("layers.1.")}
    _refused(file(lacking), "architecture")


@pytest.mark.slow
def test_other_position_biases_are_recognised(file):
    table = load_checkpoint(file(_model(position_bias="rpb", group_size=(7, 7, 14, 7)).state_dict()))
    assert (table.position_bias, table.group_size) == ("rpb", (7, 7, 14, 7))
    none = load_checkpoint(file(_model(position_bias="none", num_classes=0, in_chans=1).state_dict()))
    assert (none.position_bias, none.num_classes, none.in_chans) == ("none", 0, 1)


# ---------------------------------------------------------------- all variants, by shape alone


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of the authors' eight state dicts."""
    shapes = json.loads(GOLDEN.read_text())
    return {name: {key: tuple(shape) for key, shape in entry.items()} for name, entry in shapes.items()}


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in OURS])
def test_the_authors_shapes_are_recognised(published, variant):
    shapes = published[variant]
    structure = read_structure(shapes, "file")
    assert find_variant(structure, "file") == variant
    assert structure.num_heads == tuple(VARIANTS[variant]["num_heads"])
    assert structure.num_classes == 1000
    assert check_shapes(shapes, structure, variant, "file") == ()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in OURS])
def test_the_authors_shapes_are_recognised_without_a_head(published, variant):
    shapes = {key: s for key, s in published[variant].items() if not key.startswith(("head", "norm"))}
    structure = read_structure(shapes, "file")
    assert find_variant(structure, "file") == variant
    assert check_shapes(shapes, structure, variant, "file") == ("norm.weight", "norm.bias")


# ---------------------------------------------------------------- names instead of files


def test_sources_that_do_not_exist_are_refused(tmp_path):
    assert "nowhere.pth" in str(_refused("nowhere.pth", "not_found"))
    _refused("crossformer_gigantic", "not_found")
    _refused(tmp_path, "folder")
    _refused("official:crossformer_gigantic", "no_official")
    _refused("bundled:crossformer_large", "no_bundled")
    _refused("bundled:../secret", "no_bundled")


@pytest.mark.parametrize("size", ["small", "base", "large", "huge"])
def test_variants_that_need_a_manual_download_say_so(size):
    error = _refused(f"official:crossformer_pp_{size}", "needs_person")
    assert "path" in str(error)


def test_bundled_weights_are_checked_against_their_card(state, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    path = tmp_path / "weights" / f"{NANO}.safetensors"
    path.parent.mkdir()
    digest = write_checkpoint(path, state, trained="a test", dataset="imagenette20")
    card = path.with_suffix(".json")
    for written in ({}, {"sha256": digest}):
        card.write_text(json.dumps(written))
        for source in (NANO, f"bundled:{NANO}"):
            checkpoint = load_checkpoint(source)
            assert (checkpoint.source, checkpoint.trained) == ("bundled", "a test")
    assert checkpoints.model_card(NANO) == {"sha256": digest}
    card.write_text(json.dumps({"sha256": digest, "trained_group": [8, 8, 8, 7]}))
    assert load_checkpoint(NANO).trained_group == (8, 8, 8, 7)
    card.write_text(json.dumps({"sha256": "0" * 64}))
    _refused(NANO, "damaged")


def test_errors_can_be_pickled():
    error = pickle.loads(pickle.dumps(CheckpointError("empty", source="x")))
    assert (error.code, error.fields, str(error)) == ("empty", {"source": "x"}, "x is empty (0 bytes).")


def test_sizes_and_lists_of_names_are_readable():
    assert [readable_size(n) for n in (0, 1023, 1536, 5 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 kB",
        "5.0 MB",
        "3.0 TB",
    ]
    assert (some([]), some(["a"]), some(list("abcde"))) == ("nothing", "a", "a, b, c and 2 more")


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_every_refusal_is_translated(lang):
    catalogue = json.loads((ROOT / "assets" / "translations" / lang / "errors.json").read_text("utf-8"))
    translated = {key.removeprefix("checkpoint_") for key in catalogue if key.startswith("checkpoint_")}
    assert translated == set(MESSAGES)
    for code, sentence in MESSAGES.items():
        fields = sorted(name for _, name, _, _ in Formatter().parse(sentence) if name)
        text = catalogue[f"checkpoint_{code}"]
        assert sorted(name for _, name, _, _ in Formatter().parse(text) if name) == fields
        assert lang != "en" or text == sentence


def test_names_from_a_file_cannot_break_a_sentence():
    error = _refused(b"", "empty", name="a\nb\x1b[31m\u202e" + "x" * 1000)
    assert len(str(error)) < 500
    assert error.fields["source"].startswith("ab[31mx")
