"""Links: what they record, and what happens to nonsense in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfviz.framing import CENTRE, LARGEST, SMALLEST, STEP, as_pair, as_size
from cfviz.options import LDA
from cfviz.ui.session.state import AS_TRAINED, DTYPES, MODES, SHARED, Settings, read

MODELS, PHOTOS = ["crossformer_nano", "crossformer_small"], ["berlin-cathedral", "lemurs"]
BASE = Settings()


sides = st.integers(SMALLEST // STEP, LARGEST // STEP).map(lambda n: n * STEP)
shares = st.integers(0, 10_000).map(lambda n: n / 10_000)
settings = st.builds(
    Settings, st.sampled_from(MODELS), st.sampled_from(PHOTOS), st.builds(as_size, sides, sides),
    st.sampled_from(DTYPES), st.sampled_from(["en", "zh-Hant"]), st.just("cpu"),
    lda=st.sampled_from([AS_TRAINED, *LDA]), mode=st.sampled_from(sorted(MODES)),
    centre=st.tuples(shares, shares),
)  # fmt: skip


@given(settings)
def test_a_link_restores_the_settings_it_was_made_from(made: Settings) -> None:
    assert read(made.query(), BASE, MODELS, PHOTOS) == (made, [])


def test_links_of_squares_stay_as_they_were() -> None:
    assert read({"size": "224"}, BASE, MODELS, PHOTOS)[0].size == 224
    assert Settings(size=224).query() == {
        "model": "crossformer_nano", "photo": "berlin-cathedral", "size": "224", "lang": "en",
    }  # fmt: skip


def test_a_crop_belongs_to_its_photo() -> None:
    moved = Settings(centre=(0.2, 0.5))
    assert read({"photo": "lemurs"}, moved, MODELS, PHOTOS)[0].centre == CENTRE
    assert read({"photo": "lemurs", "centre": "0.1,1"}, moved, MODELS, PHOTOS)[0].centre == (0.1, 1)
    assert read({"photo": "own-0123", "centre": "0.1,1"}, BASE, MODELS, PHOTOS)[0].centre == CENTRE
    assert moved.elsewhere.centre == CENTRE


def test_shown_code_names_the_size_and_what_is_unusual_about_the_fitting() -> None:
    assert Settings().framing_code == "224"
    unusual = Settings(size=(192, 640), mode="pad", centre=(0.2, 0.5))
    assert unusual.framing_code == '(192, 640), mode="pad", centre=(0.2, 0.5)'


def test_a_link_holds_neutral_codes_only() -> None:
    query = Settings(lang="zh-Hant", dtype="bfloat16", lda="whole", mode="pad", centre=(0, 1))
    query = replace(query, pixels="input", present=True).query()
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
        ("size", "192x", "errors.link.size"),
        ("size", "200x640", "errors.link.size"),
        ("size", "32x4096", "errors.link.size"),
        ("mode", "stretch", "errors.link.mode"),
        ("centre", "0.5", "errors.link.centre"),
        ("centre", "0.5,2", "errors.link.centre"),
        ("dtype", "int8", "errors.link.dtype"),
        ("lda", "global", "errors.link.lda"),
        ("pixels", "sharp", "errors.link.pixels"),
        ("present", "yes", "errors.link.present"),
        ("lda", AS_TRAINED, "errors.link.lda"),
        ("lang", "<script>", "errors.link.lang"),
    ],
)
def test_nonsense_in_a_link_is_reported_and_ignored(name: str, value: str, note: str) -> None:
    settings, notes = read({name: value, "other": "kept out"}, BASE, MODELS, PHOTOS)
    assert settings == BASE
    assert [found.key for found in notes] == [note]


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(SHARED), st.text(max_size=20)))
def test_no_link_breaks_the_page(query: dict[str, str]) -> None:
    settings, notes = read(query, BASE, MODELS, PHOTOS)
    assert settings.model in MODELS
    assert settings.photo in PHOTOS
    assert all(SMALLEST <= side <= LARGEST and side % STEP == 0 for side in as_pair(settings.size))
    assert len(notes) <= len(query)
