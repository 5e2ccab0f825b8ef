"""Photos with boxes, masks or label maps drawn over them, as pictures to save."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GOLDEN = 0.61803398875  # of a circle of hues: neighbouring classes get hues far apart
VEIL = 0.5  # share of a class's colour over the photo


def class_colour(index: int) -> tuple[int, int, int]:
    """Return the colour of a class, the same in every picture."""
    value = (0.95, 0.75, 0.6)[index // 50 % 3]
    r, g, b = colorsys.hsv_to_rgb(index * GOLDEN % 1, 0.75, value)
    return round(255 * r), round(255 * g), round(255 * b)


def palette(count: int) -> list[int]:
    """Return the colours of classes as the palette of a PNG, and black for all other values."""
    return [part for index in range(256) for part in (class_colour(index) if index < count else (0, 0, 0))]


def boxes_over(
    photo: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[int],
    captions: Sequence[str],
    mask: Callable[[int], np.ndarray] | None = None,
) -> Image.Image:
    """Draw boxes, and masks if there are some, over a photo.

    Args:
        photo: RGB.
        boxes: (n, 4) in its pixels, best first; the best are drawn last, on top.
        labels: (n,), numbers of classes.
        captions: (n,), written at each box, in Latin letters.
        mask: Gives the mask (H, W) of a box by its index.
    """
    pixels = np.array(photo)
    for i in reversed(range(len(boxes) if mask else 0)):
        inside = mask(i) if mask else None
        pixels[inside] = (1 - VEIL) * pixels[inside] + VEIL * np.array(class_colour(labels[i]))
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    line = max(2, round(min(photo.size) / 250))
    font = ImageFont.load_default(max(11, round(min(photo.size) / 40)))
    for i in reversed(range(len(boxes))):
        x1, y1, x2, y2 = boxes[i].tolist()
        colour = class_colour(labels[i])
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=line)
        left, top, right, bottom = draw.textbbox((x1 + line, y1 + line), captions[i], font=font)
        draw.rectangle((left - line, top - line, right + line, bottom + line), fill=colour)
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        draw.text((x1 + line, y1 + line), captions[i], fill="black" if light else "white", font=font)
    return picture


def labels_over(photo: Image.Image, labels: np.ndarray) -> Image.Image:
    """Lay a label map (H, W), of the photo's size, over a photo."""
    colours = np.array([class_colour(index) for index in range(int(labels.max()) + 1)])
    return Image.fromarray(((1 - VEIL) * np.array(photo) + VEIL * colours[labels]).astype(np.uint8))


def label_picture(labels: np.ndarray, count: int) -> Image.Image:
    """Return a label map as a picture whose values are the numbers of the classes: 8 bits with a palette.

    With more than 256 classes it has 16 bits and no palette.
    """
    if count > 256:
        return Image.fromarray(labels.astype(np.uint16))
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(palette(count))
    return picture
