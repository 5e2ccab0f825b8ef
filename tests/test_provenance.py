"""The training of weights: facts in a card, the English sentence unchanged, and one in Chinese."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cfviz.models.factory import build, create_model
from cfviz.models.variants import OURS, WEIGHTS
from cfviz.models.weights.checkpoints import load_checkpoint, write_checkpoint
from cfviz.provenance import Provenance, Training
from cfviz.training.recipe import Phase, Recipe
from cfviz.training.ship import card, export
from cfviz.words import translator

FIRST = {"trained": "photos, a short first training (18 epochs)"}
SECOND = {"trained": "photos, a short training in 2 sittings (18 and 24 epochs, distilled)"}
THIRD = {"trained": "photos, a short training in 3 sittings (18, 24 and 7 epochs)"}
TRAININGS = {
    "photos, a short first training (9 of 20 epochs, distilled)": Training("run", "photos", (9,), 20, True),
    "photos, a short first training (18 epochs)": Training("run", "photos", (18,)),
    "photos, a short training in 2 sittings (18 and 20 epochs, distilled)": Training(
        "run", "photos", (18, 20), distilled=True
    ),
    "photos, a short training in 2 sittings (18 and 9 of 20 epochs)": Training("run", "photos", (18, 9), 20),
    "photos, a short training in 4 sittings (18, 24, 7 and 20 epochs)": Training(
        "run", "photos", (18, 24, 7, 20)
    ),
    "photos, 5 epochs, going on from other weights": Training("run", "photos", (5,), onward=True),
    "ImageNet-1K, by the authors (81.5\u00a0% top-1 published)": Training(
        "authors", "ImageNet-1K", top1=81.5
    ),
    "to epoch 3, says the file": Training("file", epochs=(3,)),
    "to epoch 299, 82.5\u00a0% at best, says the file": Training("file", epochs=(299,), top1=82.5),
    "not recorded in the file": Training("file"),
}


@pytest.mark.parametrize(("text", "training"), TRAININGS.items())
def test_the_english_sentence_is_unchanged_and_the_chinese_one_is_chinese(
    text: str, training: Training
) -> None:
    assert training.sentence() == training.sentence(translator("en")) == text
    chinese = training.sentence(translator("zh-Hant"))
    assert not any(
        word in chinese
        for word in ("training", "authors", "says", "epochs", "recorded", "distilled", "going")
    )
    assert sorted(re.findall(r"\d+", chinese)) == sorted(re.findall(r"\d+", text))


@pytest.mark.parametrize("training", TRAININGS.values())
def test_fields_survive_json(training: Training) -> None:
    assert Training.from_json(json.loads(json.dumps(training.as_json()))) == training


@pytest.mark.parametrize("text", [text for text in TRAININGS if "short" in text])
def test_the_sentence_of_an_older_file_is_parsed(text: str) -> None:
    assert Training.from_sentence(text) == TRAININGS[text]


def test_a_files_own_words_are_kept() -> None:
    assert Training.from_sentence("my own cats, by hand") is None
    provenance = Provenance("cats.safetensors", trained="my own cats, by hand")
    assert provenance.trained_in(translator("zh-Hant")) == "my own cats, by hand"


@pytest.mark.parametrize(
    "told",
    [
        None, "imagenette20", [], {}, {"by": "us"}, {"by": ["run"]}, {"by": "run", "epochs": [3]},
        {"by": "run", "data": "photos"}, {"by": "run", "data": "photos", "epochs": "3"},
        {"by": "run", "data": "photos", "epochs": [True]}, {"by": "run", "data": "photos", "epochs": [-1]},
        {"by": "run", "data": "photos", "epochs": [float("nan")]}, {"by": "run", "data": 3, "epochs": [3]},
        {"by": "run", "data": "\x1b[2J", "epochs": [3]}, {"by": "run", "data": "x" * 61, "epochs": [3]},
        {"by": "run", "data": "photos", "epochs": [3], "planned": "all"}, {"by": "authors", "data": "photos"},
        {"by": "run", "data": "photos", "epochs": [3], "distilled": "yes"},
        {"by": "file", "epochs": [3], "top1": "most"}, {"by": "file", "more": 1},
    ],
)  # fmt: skip
def test_senseless_fields_are_ignored(told: Any) -> None:
    assert Training.from_json(told) is None


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (FIRST, "a short training in 2 sittings (18 and 5 epochs)"),
        (SECOND, "a short training in 3 sittings (18, 24 and 5 epochs)"),
        (THIRD, "a short training in 4 sittings (18, 24, 7 and 5 epochs)"),
        ({"trained": "photos, a short training in two sittings (18 and 24 epochs)"},
         "a short training in 3 sittings (18, 24 and 5 epochs)"),
        ({"trained": "photos, a short first training (9 of 20 epochs)"},
         "5 epochs, going on from other weights"),
        # It used to say that both sittings were on these photos.
        ({"trained": "imagenette20, a short first training (18 epochs)"},
         "5 epochs, going on from other weights"),
        ({"trained": "my own cats, by hand"}, "5 epochs, going on from other weights"),
        ({"trained": None}, "5 epochs, going on from other weights"),
    ],
)  # fmt: skip
def test_every_sitting_is_counted(start: dict[str, Any], said: str) -> None:
    recipe, state = Recipe("photos/train", [Phase(64, 7, 5)]), {"epoch": 5}
    assert export.training(recipe, state, start).sentence() == f"photos, {said}"
    if facts := Training.from_sentence(start["trained"] or ""):
        fields = {"trained": "whatever it says", "training": facts.as_json()}
        assert export.training(recipe, state, fields) == export.training(recipe, state, start)


def test_a_run_cut_short_says_how_far_it_got() -> None:
    recipe = Recipe("photos/train", [Phase(64, 7, 20)], teacher="t")
    assert export.training(recipe, {"epoch": 9}).sentence() == (
        "photos, a short first training (9 of 20 epochs, distilled)"
    )
    assert export.training(recipe, {"epoch": 20}, FIRST).epochs == (18, 20)


@pytest.mark.parametrize("name", OURS)
def test_fields_and_sentence_of_a_bundled_card_agree(name: str) -> None:
    facts = card.read(WEIGHTS / f"{name}.json")
    for told in (facts, facts["start"]):
        training = Training.from_json(told["training"])
        assert training is not None
        assert training.sentence() == told["trained"]
        assert training.epochs[-1] == told["epochs"]
    assert create_model(name).provenance == Provenance(
        "bundled", facts["sha256"], facts["trained"], "imagenette20", Training.from_json(facts["training"])
    )


def test_weights_without_a_record_of_their_training_say_so() -> None:
    training = Training("file")
    its = Provenance("cats.pth", trained=training.sentence(), training=training)
    said = "Weights from cats.pth; how they were trained is not recorded in the file."
    assert its.sentence(translator("en")) == said
    known = Training("file", epochs=(3,))
    its = Provenance("cats.pth", trained=known.sentence(), training=known)
    assert its.sentence(translator("en")) == "Weights from cats.pth: to epoch 3, says the file."


def saved(path: Path, **facts: Any) -> Any:
    """The training stated by a file with these facts in its header, in both languages."""
    state = create_model("crossformer_nano", weights=None).state_dict()
    write_checkpoint(path, state, torch.float16, **facts)
    provenance = build(load_checkpoint(path)).provenance
    return provenance.trained, provenance.trained_in(translator("zh-Hant"))


@pytest.mark.slow
def test_a_file_states_its_training(tmp_path: Path) -> None:
    path, zh = tmp_path / "mine.safetensors", translator("zh-Hant")
    training = Training("run", "cats", (3, 4), distilled=True)
    told = (training.sentence(), training.sentence(zh))
    assert saved(path, trained=training.sentence(), training=training.as_json()) == told
    assert saved(path, trained="in its own words", training=training.as_json()) == told
    assert saved(path, trained=training.sentence()) == told  # written before there were fields
    assert saved(path, trained="my own cats", training={"by": "us"}) == ("my own cats", "my own cats")
    assert saved(path)[0] == "not recorded in the file"
    assert saved(path, trained=None)[0] is None  # never trained


@pytest.mark.slow
def test_a_senseless_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    assert saved(path, epoch=3, max_accuracy="most")[0] == "to epoch 3, says the file"
    assert saved(path, epoch="<b>3</b>", max_accuracy=81.5)[0] == "not recorded in the file"
