"""Links: what they record, and what happens to nonsense in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfviz.options import LDA
from cfviz.ui.session.state import AS_TRAINED, DTYPES, SHARED, SIZES, Settings, read

MODELS, PHOTOS = ["crossformer_nano", "crossformer_small"], ["berlin-cathedral", "lemurs"]
BASE = Settings()


@given(
    st.sampled_from(MODELS), st.sampled_from(PHOTOS), st.sampled_from(SIZES), st.sampled_from(DTYPES),
    st.sampled_from(["en", "zh-Hant"]), st.sampled_from([AS_TRAINED, *LDA]),
)  # fmt: skip
def test_a_link_restores_the_settings_it_was_made_from(
    model: str, photo: str, size: int, dtype: str, lang: str, lda: str
) -> None:
    made = Settings(model, photo, size, dtype, lang, lda=lda)
    assert read(made.query(), BASE, MODELS, PHOTOS) == (made, [])


def test_a_link_holds_neutral_codes_only() -> None:
    query = Settings(lang="zh-Hant", dtype="bfloat16", lda="whole").query()
    assert set(query) == set(SHARED)
    assert all(value.isascii() for value in query.values())


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        ("model", "resnet50", "errors.link.model"),
        ("model", "own-0123456789", "errors.link.own_model"),
        ("photo", "../../etc/passwd", "errors.link.photo"),
        ("photo", "own-0123456789", "errors.link.own_photo"),
        ("size", "225", "errors.link.size"),
        ("size", "-1", "errors.link.size"),
        ("size", "", "errors.link.size"),
        ("dtype", "int8", "errors.link.dtype"),
        ("lda", "global", "errors.link.lda"),
        ("lda", AS_TRAINED, "errors.link.lda"),
        ("lang", "<script>", "errors.link.lang"),
    ],
)
def test_nonsense_in_a_link_is_reported_and_ignored(name: str, value: str, note: str) -> None:
    settings, notes = read({name: value, "other": "kept out"}, BASE, MODELS, PHOTOS)
    assert settings == BASE
    assert [found.key for found in notes] == [note]


@given(st.dictionaries(st.sampled_from(SHARED), st.text(max_size=20)))
def test_no_link_breaks_the_page(query: dict[str, str]) -> None:
    settings, notes = read(query, BASE, MODELS, PHOTOS)
    assert settings.model in MODELS
    assert settings.photo in PHOTOS
    assert settings.size in SIZES
    assert len(notes) <= len(query)
