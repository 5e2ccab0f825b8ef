"""What weights were trained on: said in both languages, word for word in English."""

import re

import pytest

from cfviz.models.weights.checkpoints import UNKNOWN_TRAINING
from cfviz.training.recipe import Phase, Recipe
from cfviz.training.ship.export import trained_text
from cfviz.ui.widgets.trained import trained
from cfviz.words import translator

FIRST = {"trained": "photos, a short first training (18 epochs)"}
SECOND = {"trained": "photos, a short training in 2 sittings (18 and 24 epochs, distilled)"}
THIRD = {"trained": "photos, a short training in 3 sittings (18, 24 and 7 epochs)"}
TEXTS = [
    trained_text(Recipe("photos", [Phase(64, 7, 20)], teacher="t"), {"epoch": 9}),
    trained_text(Recipe("photos", [Phase(64, 7, 18)]), {"epoch": 18}),
    trained_text(Recipe("photos", [Phase(64, 7, 20)], teacher="t"), {"epoch": 20}, FIRST),
    trained_text(Recipe("photos", [Phase(64, 7, 20)]), {"epoch": 9}, FIRST),
    trained_text(Recipe("photos", [Phase(64, 7, 20)], teacher="t"), {"epoch": 20}, SECOND),
    trained_text(Recipe("photos", [Phase(64, 7, 20)]), {"epoch": 20}, THIRD),
    "ImageNet-1K, by the authors (81.5 % top-1 published)",
    "to epoch 3, says the file",
    "to epoch 299, 82.5 % at best, says the file",
    UNKNOWN_TRAINING,
]


@pytest.mark.parametrize("text", TEXTS)
def test_english_stays_and_chinese_has_no_english_sentence(text: str) -> None:
    assert trained(translator("en"), text) == text
    chinese = trained(translator("zh-Hant"), text)
    assert not any(
        word in chinese for word in ("training", "authors", "says", "epochs", "recorded", "distilled")
    )
    assert sorted(re.findall(r"\d+", chinese)) == sorted(re.findall(r"\d+", text))


def test_what_a_file_says_in_its_own_words_stays() -> None:
    assert trained(translator("zh-Hant"), "my own cats, by hand") == "my own cats, by hand"


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
        ({"trained": "my own cats, by hand"}, "5 epochs, going on from other weights"),
    ],
)  # fmt: skip
def test_every_sitting_is_counted(start: dict[str, str], said: str) -> None:
    text = trained_text(Recipe("photos", [Phase(64, 7, 5)]), {"epoch": 5}, start)
    assert text == f"imagenette20, {said}"
