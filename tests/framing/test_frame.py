"""What an input shows of a photo, computed from sizes: as timm does it, and how much is lost."""

from __future__ import annotations

import pytest
from PIL import Image
from timm.data import create_transform

from cfviz.framing import CENTRE, centre_code, frame, parse_centre
from cfviz.options import MODES

PHOTOS = [(640, 192), (192, 640), (457, 301), (1000, 97), (224, 224), (225, 223), (37, 1024)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [224, (192, 640), (800, 1216), (64, 32)])
def test_photos_get_the_size_that_timm_gives_them(mode, size):
    height, width = (size, size) if isinstance(size, int) else size
    timm_mode, keep = {"crop": ("center", 0.875), "resize": ("squash", 1.0), "pad": ("border", 1.0)}[mode]
    resize, *_ = create_transform((3, height, width), crop_pct=keep, crop_mode=timm_mode).transforms
    for photo in PHOTOS:
        assert resize(Image.new("L", photo)).size == frame(photo, size, mode).resized


def test_a_strip_loses_most_of_its_width_to_a_square_and_none_to_its_own_shape():
    strip = (640, 192)
    square = frame(strip, 224)
    assert square.kept == pytest.approx((0.875 * 192) ** 2 / (640 * 192), abs=0.005)  # 23 %
    assert square.movable == (True, True)
    whole = frame(strip, (192, 640), "resize")
    assert (whole.kept, whole.empty, whole.stretch, whole.movable) == (1, 0, 1, (False, False))
    squeezed = frame(strip, 224, "resize")
    assert (squeezed.kept, squeezed.stretch) == (1, pytest.approx(0.3))
    padded = frame(strip, 224, "pad")
    assert (padded.kept, padded.empty) == (1, pytest.approx(0.7, abs=0.003))
    assert padded.box == pytest.approx((0, -224, 640, 416), abs=3)


@pytest.mark.parametrize("at", [0.0, 0.3, 0.5, 1.0])
def test_a_moved_crop_stays_within_the_photo(at):
    for photo in PHOTOS:
        for size in (224, (192, 640)):
            left, top, right, bottom = frame(photo, size, centre=(at, 1 - at)).box
            assert left >= 0
            assert top >= 0
            assert right <= photo[0] + 1e-6
            assert bottom <= photo[1] + 1e-6


def test_a_centre_is_read_and_written():
    assert parse_centre("0.3,0.5") == (0.3, 0.5)
    assert parse_centre(" 1 , .25 ") == (1, 0.25)
    assert centre_code((0.3, 1.0)) == "0.3,1"
    assert centre_code((0.0, 1 / 3)) == "0,0.333333333333"
    assert parse_centre(centre_code(CENTRE)) == CENTRE


@pytest.mark.parametrize(
    "text", ["", "0.5", "0.5,", "a,b", "0.5,1.01", "2,0", "-0.1,0.5", "nan,0", "0.5,0.5,0.5"]
)
def test_what_is_no_centre_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"is not a centre like 0\.3,0\.5"):
        parse_centre(text)
