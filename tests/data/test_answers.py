"""What a model can answer at all, and whether its answer can be right: wherever an answer is shown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import cfviz
from cfviz import notebook
from cfviz.cli import main
from cfviz.data import answers
from cfviz.data.labels import labels, wordnet_ids
from cfviz.data.samples import gallery, sample
from cfviz.figures.theme import LIGHT
from cfviz.measured import whole_model
from cfviz.models.probes.cost import cost
from cfviz.provenance import Note, Provenance
from cfviz.run import about_answer, calibration_of, shown_classes
from cfviz.trace import Trace
from cfviz.ui.compute import models
from cfviz.words import translator

EN, ZH = translator("en"), translator("zh-Hant")
TWENTY = Provenance("bundled", trained="x", dataset="imagenette20")
DIGESTS = models._digests()


def trace_of(known: Provenance, shown: tuple[int, ...] | None, count: int = 20) -> Trace:
    logits = np.zeros(count, np.float32)
    logits[3] = 2
    names = tuple(f"name {i}" for i in range(count))
    return Trace({"logits": logits}, names, "m", (224, 224), (), weights=known, shown=shown)


def test_photos_show_classes_of_imagenet_only() -> None:
    known = set(wordnet_ids("imagenet-1k"))
    assert all(set(photo.shows) <= known for photo in gallery())
    assert len([photo for photo in gallery() if not photo.shows]) == 3


def test_two_photos_of_the_gallery_are_among_the_twenty_classes() -> None:
    found = {id: shown_classes(digest, TWENTY, 20) for id, digest in DIGESTS.items()}
    names = labels("imagenette20")
    assert {id for id, shown in found.items() if shown} == {"berlin-cathedral", "worms-cathedral"}
    assert {names[i] for shown in found.values() for i in shown or ()} == {"church"}
    assert sum(shown == () for shown in found.values()) == 14


@pytest.mark.parametrize(
    ("known", "count", "expected"),
    [
        (Provenance("f", trained="x", classes=("n02106662_dog", "n02123045_cat")), 2, (1,)),
        (Provenance("f", trained="x", classes=("n02106662_dog", "n03028079_church")), 2, ()),
        (Provenance("f", trained="x", classes=("dog", "pet")), 2, None),  # a cat may be a pet
        (Provenance("f", trained="x", classes=("n02121808_domestic_cat", "n03028079_x")), 2, None),
        (Provenance("f", trained="x", dataset="cats"), 20, None),
        (Provenance("f", trained="x", dataset="imagenet-1k"), 1000, (281, 282)),
        (Provenance("f", trained="x", dataset="imagenet-1k"), 20, None),  # another number of classes
        (Provenance(), 1000, None),
    ],
)
def test_nothing_is_said_that_is_not_known(known: Provenance, count: int, expected: Any) -> None:
    assert shown_classes(DIGESTS["cat"], known, count) == expected
    assert shown_classes("0" * 64, known, count) is None


@pytest.mark.parametrize("t", [EN, ZH])
def test_a_text_that_states_an_answer_says_why_it_is_not_right(t: Any) -> None:
    names = ["dog", "cat", "bird"]
    none, right, wrong, unknown = (answers.aside(t, names, 0, shown) for shown in ((), (0,), (1, 2), None))
    assert right == unknown == ""
    assert "3" in none
    assert "cat" in wrong
    assert "dog" not in none + wrong, "the text says that itself"


def test_the_whole_model_says_once_that_the_photo_shows_none_of_its_classes(tiny_model: Any) -> None:
    model, names = tiny_model(), [f"name {i}" for i in range(7)]
    known = Provenance("bundled", trained="x", dataset="d")
    trace = replace(cfviz.inspect(sample("coffee").path, model, size=64), weights=known)
    draw = partial(
        whole_model, model=model, lang="en", title="", labels=names, pictures=[""] * 5,
        costs=cost(model, 64, 64), links={}, theme=LIGHT,
    )  # fmt: skip
    none, unknown = (draw(replace(trace, shown=shown)) for shown in ((), None))
    assert none["none"]
    assert not none["line"]
    assert not unknown["none"]
    assert "7" in unknown["line"]


@pytest.mark.parametrize("t", [EN, ZH])
def test_the_sentence_fits_what_is_known(t: Any) -> None:
    names = ["dog", "cat", "bird"]
    none, right, wrong, unknown = (
        answers.sentence(t, names, 0, 0.648, shown) for shown in ((), (0,), (1, 2), None)
    )
    assert len({none, right, wrong, unknown}) == 4
    assert "3" in none
    assert "dog" in none
    assert "64.8\u00a0%" in none
    assert "dog" in right
    assert "cat" in wrong
    assert "bird" in wrong
    assert "dog" not in wrong
    assert "3" in unknown
    assert "dog" in answers.sentence(t, ["dog"], 0, 1.0, None)
    assert not any("{" in text or "answer." in text for text in (none, right, wrong, unknown))


def test_the_list_holds_every_name_and_a_long_one_can_be_searched() -> None:
    few, many = (answers.folded_list(EN, labels(data)) for data in ("imagenette20", "imagenet-1k"))
    assert few.count("<li>") == 20
    assert "<input" not in few
    assert many.count("<li>") == 1000
    assert 'type="search"' in many
    assert "All 1,000 classes" in many
    assert answers.folded_list(EN, ["<b>"]).count("<b>") == 0


def test_random_weights_and_new_classifiers_predict_nothing() -> None:
    assert TWENTY.predicts
    assert not Provenance().predicts
    assert not replace(TWENTY, notes=(Note("new_head"),)).predicts


def test_a_notebook_says_what_the_model_can_answer() -> None:
    told = notebook.show(trace_of(TWENTY, ()))
    assert "none of the 20 classes" in told
    assert told.count("<li>") == 20
    assert "only answer with one of its 20 classes" in notebook.show(trace_of(TWENTY, None))
    many = notebook.show(trace_of(TWENTY, None, 1000))
    assert "trace.labels" in many
    assert "<li>" not in many
    assert "name 3" not in notebook.show(trace_of(Provenance(), None)), "random weights have no answer"


@pytest.mark.slow
def test_a_trace_knows_what_a_bundled_photo_shows() -> None:
    church, coffee = (cfviz.inspect(f"gallery:{id}", size=64) for id in ("worms-cathedral", "coffee"))
    assert [church.labels[i] for i in church.shown or ()] == ["church"]
    assert coffee.shown == ()
    assert cfviz.inspect(np.zeros((64, 64, 3), np.uint8), size=64).shown is None


@pytest.mark.slow
def test_the_command_line_lists_the_classes_and_names_the_nearest(capsys: Any) -> None:
    assert main(["predict", "gallery:coffee", "gallery:worms-cathedral", "--size", "64"]) == 0
    out = capsys.readouterr().out
    assert out.count("none of the 20 classes") == 1
    assert re.search(r"only answer with one of these 20 classes: tench, .*parachute", out)
    assert main(["predict", "gallery:coffee", str(sample("cat").path), "--size", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [one["shows"] for one in found] == [[], []]


def test_photos_the_model_can_know_come_first() -> None:
    ids = [photo.id for photo in gallery()]
    assert [models.shown("crossformer_nano", id) != () for id in ids] == [True, True] + [False] * 14
    assert {models.shown("crossformer_pp_huge", id) for id in ids} == {None}, "random weights know nothing"


def test_how_often_such_an_answer_is_right_stands_beside_it() -> None:
    found = {"bins": [{"from": 0.6, "to": 0.7, "photos": 624, "right": 0.7516, "low": 0.71, "high": 0.78}]}
    said = (
        "If the photo shows one of its classes, it is right 75\u00a0% of the time when it says 60 to "
        "70\u00a0% (624 validation photos)."
    )
    assert answers.confidence(EN, found, 0.648) == said
    assert "75\u00a0%" in answers.confidence(ZH, found, 0.6)
    assert answers.confidence(EN, found, 0.7) == "", "few photos: nothing is said"
    assert answers.confidence(EN, None, 0.65) == ""
    last = {"bins": [{**found["bins"][0], "from": 0.9, "to": 1}]}
    assert answers.confidence(EN, last, 1.0) != ""


def test_it_is_said_only_as_measured_and_for_photos_that_may_be_of_its_classes() -> None:
    church = cfviz.inspect("gallery:worms-cathedral")
    assert "validation photos" in about_answer(church, church.labels, EN)
    assert calibration_of(replace(church, dtype="bfloat16")) is None
    assert calibration_of(replace(church, size=(192, 192))) is None
    assert calibration_of(replace(church, weights=replace(church.weights, source="mine"))) is None
    other = replace(church, shown=())
    assert "validation" not in about_answer(other, other.labels, EN)


def test_how_sure_it_is_of_what_it_does_not_know_and_when_it_is_wrong() -> None:
    bins = [
        {"from": 0.4, "to": 0.5, "photos": 40, "right": 0.25, "low": 0.1, "high": 0.4},  # 30 wrong
        {"from": 0.6, "to": 0.7, "photos": 40, "right": 0.75, "low": 0.6, "high": 0.9},  # 10
        {"from": 0.9, "to": 1.0, "photos": 100, "right": 0.9, "low": 0.8, "high": 0.95},  # 10
    ]
    found = {"bins": bins, "others": {"pictures": 14, "median": 0.42, "most": 0.79}}
    others = "on 14 such gallery photos the top class got 42\u00a0% in the median, 79\u00a0% at most."
    unknown, none, right, wrong = (
        answers.confidence(EN, found, 0.95, known) for known in ("unknown", "none", "right", "wrong")
    )
    assert unknown.startswith("If the photo shows one of its classes, it is right 90\u00a0%")
    assert unknown.endswith(f"If it shows something else, a high probability means nothing: {others}")
    assert none == f"Such a probability means nothing here: {others}"
    assert others not in right
    assert wrong == (
        f"{right} When it was wrong there, it said less than 50\u00a0% in 60\u00a0% of cases, "
        "and 80\u00a0% or more in 20\u00a0%."
    )
    assert "42\u00a0%" in answers.confidence(EN, found, 0.1), "no row for 10 %, but what is known of others"
    assert "中位數是 42\u00a0%" in answers.confidence(ZH, found, 0.95, "none")
