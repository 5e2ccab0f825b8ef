"""The size of an input as people type it, links carry it and sentences say it."""

from __future__ import annotations

import pytest

from cfviz.framing import as_pair, nearest_sizes, parse_size, shape_of_photo, size_code, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("224", 224),
        ("192x640", (192, 640)),
        (" 800 × 1216 ", (800, 1216)),
        ("224X224", 224),
        ("64*32", (64, 32)),
    ],
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert parse_size(text) == size
    assert parse_size(size_code(size)) == size
    assert size_text(size) == "\u00a0×\u00a0".join(map(str, as_pair(size)))
    assert parse_size(size_text(size)) == size


@pytest.mark.parametrize("text", ["", "x", "224x", "x224", "1x2x3", "-224", "22.4", "224px", "9" * 400])
def test_what_is_no_size_is_refused_in_one_short_sentence(text):
    with pytest.raises(ValueError, match="is not a size like 224 or 192x640") as raised:
        parse_size(text)
    assert len(str(raised.value)) < 120


def test_a_size_out_of_steps_is_refused_with_the_nearest_for_each_side():
    with pytest.raises(ValueError, match=r"200 x 640 .* the height: 192 or 224, for the width: 640"):
        parse_size("200x640")
    with pytest.raises(ValueError, match="from 32 to 2048"):
        parse_size("4096")
    assert nearest_sizes(224) == (224,)
    assert nearest_sizes(1) == (32,)
    assert nearest_sizes(5000) == (2048,)
    assert nearest_sizes(1000) == (992, 1024)


def test_the_whole_photo_has_the_nearest_allowed_size():
    assert shape_of_photo((640, 400)) == (224, 352)
    assert shape_of_photo((400, 640)) == (352, 224)
    assert shape_of_photo((320, 10)) == (224, 2048)
    assert shape_of_photo((1000, 1000), 160) == (160, 160)
