"""Reasons for files that are left out, from the English that results keep to the reader's language."""

from __future__ import annotations

import pytest

from cfviz.data.header import SENTENCES, ImageError
from cfviz.data.left_out import in_words, reason, sentence
from cfviz.words import LANGUAGES, placeholders, section_words, translator

FOLDERS = [name.removeprefix("left_") for name in section_words("jobs") if name.startswith("left_")]


def values(text: str) -> dict[str, str]:
    """A value for each placeholder."""
    return {name: f"{name} 7" for name in placeholders(text)}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_reason_is_found_again_with_its_facts(lang: str) -> None:
    t = translator(lang)
    for code, text in SENTENCES.items():
        said = t(f"images.error_{code}", **values(text)).rstrip(".。")
        assert in_words(str(ImageError(code, **values(text))), lang) == said
    assert len(FOLDERS) > 8
    for code in FOLDERS:
        facts = values(section_words("jobs")[f"left_{code}"])
        assert in_words(reason(code, **facts), lang) == t(f"jobs.left_{code}", **facts)


def test_a_reason_that_is_none_of_ours_stays() -> None:
    assert in_words("the moon was in the way", "zh-Hant") == "the moon was in the way"


def test_the_sentence_names_the_first_files_and_counts_the_rest() -> None:
    skipped = {"a.jpg": reason("empty"), "b.txt": str(ImageError("text")), "c": "lost"}
    assert sentence(skipped, "en") == (
        "Files skipped (3): a.jpg (an empty file), b.txt (The file contains text, not a picture), c (lost)."
    )
    assert sentence(skipped, "zh-Hant", 2) == (
        "有 3 個檔案沒有用到：a.jpg（空的檔案）、b.txt（檔案內容是文字，不是圖片），以及另外 1 個。"
    )
    assert sentence({}, "en") == ""
