"""The part of the original photo that an input shows: every token lies at the same place in both."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cfviz.data.images import load_image, original, prepare
from cfviz.framing import Size

WIDE, HIGH = 640, 427  # not multiples of anything here


def ramp(wide: int = WIDE, high: int = HIGH, turned: int = 1) -> bytes:
    """A photo whose red and green say where a pixel is, from 0 to 255; `turned` is EXIF's orientation."""
    row, column = np.mgrid[:high, :wide]
    there = np.stack([255 * (column + 0.5) / wide, 255 * (row + 0.5) / high, 0 * row + 99.0], -1)
    image = Image.fromarray(there.round().astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turned
    if turned == 6:  # upright after a quarter turn to the right
        image = image.transpose(Image.Transpose.ROTATE_90)
    out = BytesIO()
    image.save(out, "PNG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize(
    ("size", "mode", "centre"),
    [
        (64, "crop", (0.5, 0.5)), (64, "crop", (0.13, 0.9)), ((64, 160), "crop", (1, 0)),
        (96, "resize", (0.5, 0.5)), ((96, 160), "pad", (0.5, 0.5)), (128, "pad", (0.5, 0.5)),
    ],
)  # fmt: skip
def test_a_tokens_corner_is_at_the_same_place_of_the_photo(
    size: Size, mode: str, centre: tuple[float, float], turned: int
) -> None:
    photo = load_image(ramp(turned=turned))
    assert photo.size == (WIDE, HIGH)
    prepared = prepare(photo, size, mode, centre=centre)
    sharp = original(photo, prepared)
    times = sharp.width // prepared.crop.width
    assert times >= 3
    assert sharp.size == (prepared.crop.width * times, prepared.crop.height * times)
    pixels = np.asarray(sharp, float)
    left, top, right, bottom = map(int, prepared.photo_box)
    for y in range(top + 4, bottom - 3, 4):  # corners of the tokens of stage 1
        for x in range(left + 4, right - 3, 4):
            around = pixels[y * times - 1 : y * times + 1, x * times - 1 : x * times + 1].mean((0, 1))
            at, down = prepared.to_photo(x, y)
            expected = 255 * at / WIDE, 255 * down / HIGH
            assert np.abs(around[:2] - expected).max() < 1  # a pixel of the input is 2 to 10 levels wide


@pytest.mark.parametrize("mode", ["crop", "resize", "pad"])
def test_averaged_over_the_inputs_pixels_it_is_the_input(mode: str) -> None:
    photo = load_image(ramp())
    prepared = prepare(photo, (64, 96), mode)
    sharp = original(photo, prepared)
    small = np.asarray(sharp.reduce(sharp.width // 96), float)
    assert np.abs(small - np.asarray(prepared.crop, float)).max() <= 3  # bicubic overshoots at padding


def test_it_has_as_many_pixels_as_the_original_up_to_a_limit() -> None:
    photo = load_image(ramp())
    prepared = prepare(photo, 64, "resize")
    assert original(photo, prepared).width == 64 * 10  # 640 px
    assert original(photo, prepared, longest=300).width == 64 * 4
    assert original(photo, prepare(photo, 448)).size == (448, 448)  # nothing is gained: 427 px high
    large = prepare(photo, (800, 1216), "resize")
    assert original(photo, large, longest=300).tobytes() == large.crop.tobytes()
