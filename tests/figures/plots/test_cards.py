"""A row of cards, saved as one picture."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cfviz.figures.plots.cards import GAP, SIDE, contact, squares
from cfviz.figures.theme import DARK, KERNEL_COLOURS, LIGHT


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_pictures_keep_their_shape_and_pixels() -> None:
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[0, 0] = 255, 0, 0
    png = Image.open(BytesIO(contact([Image.fromarray(pixels)] * 5, list("abcde"), LIGHT)))
    assert png.format == "PNG"
    assert png.width == 4 * (SIDE + GAP) + GAP
    upper = GAP + SIDE - SIDE // 2  # twice as wide as high, just above its caption
    assert png.getpixel((GAP + SIDE // 4 - 1, upper)) == (255, 0, 0)
    assert png.getpixel((GAP + SIDE // 4, upper)) == (0, 0, 0)
    assert png.getpixel((GAP, upper - 1)) == rgb(LIGHT.paper)


def test_captions_are_legible_and_end_with_the_picture() -> None:
    blank = Image.new("RGB", (8, 8), LIGHT.paper)
    page = np.asarray(Image.open(BytesIO(contact([blank], ["long " * 40], LIGHT))), int)
    written = np.abs(page - rgb(LIGHT.paper)).sum(-1)[GAP + SIDE :] > 100
    columns = np.flatnonzero(written.any(0))
    assert columns.size > SIDE / 3
    assert columns.max() < GAP + SIDE + 2


def test_transparent_pixels_are_hatched() -> None:
    page = Image.open(BytesIO(contact([Image.new("RGBA", (4, 4))], [""], DARK)))
    inside = page.crop((GAP, GAP, GAP + SIDE, GAP + SIDE)).getcolors(9999)
    assert {rgb(DARK.panel), rgb(DARK.padding)} <= {colour for _, colour in inside}


@pytest.mark.parametrize(("pictures", "captions"), [(0, 0), (2, 1)])
def test_every_picture_needs_a_caption(pictures: int, captions: int) -> None:
    with pytest.raises(ValueError, match=f"{pictures} pictures and {captions} captions came"):
        contact([Image.new("RGB", (1, 1))] * pictures, [""] * captions, LIGHT)


def test_squares_are_as_wide_as_what_they_read() -> None:
    picture = squares([(8, 0.5, KERNEL_COLOURS[4]), (16, 0.5, KERNEL_COLOURS[8])], 32, LIGHT).convert("RGB")
    row = [picture.getpixel((x, SIDE // 2)) for x in range(SIDE)]
    assert row.index(rgb(KERNEL_COLOURS[8])) == SIDE // 4
    assert row.index(rgb(KERNEL_COLOURS[4])) == 3 * SIDE // 8
