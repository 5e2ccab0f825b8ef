"""A reader's own weights: their claims about themselves cost no memory or time before they are checked."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import build
from cfviz.models.room import MOST_CLASSES
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.models.weights.errors import CheckpointError
from cfviz.provenance import Provenance
from cfviz.run import class_names
from cfviz.ui import context
from cfviz.ui.context import Context
from cfviz.ui.pages.dense import own
from cfviz.ui.session.state import Settings
from cfviz.ui.widgets import weights
from cfviz.words import translator


def file(classes: int = 3, **says: str) -> Any:
    torch.manual_seed(0)
    state = CrossFormer(**VARIANTS["crossformer_nano"], num_classes=classes).state_dict()
    data = safetensors.torch.save({key: value.contiguous() for key, value in state.items()}, says)
    upload = io.BytesIO(data)
    return SimpleNamespace(name="mine.safetensors", size=len(data), getvalue=upload.getvalue)


@pytest.mark.slow
@pytest.mark.parametrize(
    "says",
    [{"epoch": '"3"'}, {"epoch": "null"}, {"epoch": "[" * 5000}, {"training": "[" * 5000 + "]" * 5000},
     {"training": '{"by": "file", "epochs": "3"}'}, {"group_size": "[true, 7, 7, 7]"}, {"img_size": "1e999"},
     {"group_size": "[1e400, 7, 7, 7]"}, {"interval": '["a", 7, 7, 7]'}, {"trained": "null"}],
)  # fmt: skip
def test_what_a_file_says_about_itself_is_only_a_hint(says: dict[str, str]) -> None:
    opened = weights._opened(file(**says))
    net = build(opened)
    assert net.group_size == (7, 7, 7, 7)
    assert all(type(G) is int for G in net.group_size)
    assert net.provenance.trained_in(translator("zh-Hant")) is not None


def test_groups_that_need_gigabytes_are_refused() -> None:
    mine = file(group_size="[112, 112, 112, 112]", interval="[112, 112, 112, 112]")
    with pytest.raises(ValueError, match="expected no more than 150,000,000"):
        weights._built(weights._opened(mine))


@pytest.mark.slow
def test_more_classes_than_any_data_set_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MOST_CLASSES", 4)
    with pytest.raises(CheckpointError, match=r"has 5 classes; at most 4"):
        weights._opened(file(5))
    assert weights._opened(file(4)).num_classes == 4
    assert MOST_CLASSES > 21_843


@pytest.mark.slow
def test_class_names_are_made_once_per_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def names(model: CrossFormer, lang: str, known: Provenance) -> list[str]:
        asked.append(lang)
        return class_names(model, lang, known)

    monkeypatch.setattr(context, "class_names", names)
    ctx = Context("predict", translator("en"), "en", SimpleNamespace(), Settings())  # type: ignore[arg-type]
    ctx._model = build(load_checkpoint(file(3000).getvalue(), name="x"))
    assert [ctx.labels[n] for n in range(3000)][-1] == "class 2999"
    assert asked == ["en"]


@pytest.mark.parametrize(
    ("says", "channels", "classes", "code"),
    [
        ({"size": weights.MAX_MB * 2**20 + 1}, 3, 20, "too_heavy"),
        ({}, 1, 20, "channels"),
        ({}, 3, 256, "too_many_classes"),  # each pixel's class is sent in 8 bits
    ],
)
def test_files_of_detectors_meet_the_same_limits(
    monkeypatch: pytest.MonkeyPatch, says: dict[str, int], channels: int, classes: int, code: str
) -> None:
    found = SimpleNamespace(backbone=SimpleNamespace(in_chans=channels), num_classes=classes)
    monkeypatch.setattr(own, "load_dense", lambda *_, **__: found)
    monkeypatch.setattr(own, "build_dense", lambda _: pytest.fail("it was built"))
    mine = SimpleNamespace(name="mine.safetensors", getvalue=lambda: b"", **{"size": 9, **says})
    with pytest.raises(CheckpointError) as refused:
        own.keep(mine)
    assert refused.value.code == code
