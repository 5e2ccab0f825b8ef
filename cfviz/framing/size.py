"""The size of an input: height x width in pixels, or one number for a square; how it is typed and written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cfviz.words import NO_BREAK, unbroken

Size = int | tuple[int, int]  # the side of a square, else (height, width)

STEP = 32  # total stride of the model: a side of the input must be a multiple of it
SMALLEST, LARGEST = 32, 2048


def parse_size(text: str) -> Size:
    """Read a size as people and links write it: "224", or "192x640" for height x width.

    Raises:
        ValueError: If it is not a size, or no input can have it; one sentence says what came and what fits.
    """
    plain = text.replace(NO_BREAK, " ")  # as `size_text` writes it
    sides = re.fullmatch(r"\s*(\d{1,6})\s*(?:[x×*]\s*(\d{1,6})\s*)?", plain, re.ASCII | re.IGNORECASE)
    if sides is None:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise ValueError(f"{shown!r} is not a size like 224 or 192x640 (height x width)")
    height, width = int(sides[1]), int(sides[2] or sides[1])
    return as_size(*check_input_size((height, width)))


def as_size(height: int, width: int) -> Size:
    """The simplest form: one number for a square."""
    return height if height == width else (height, width)


def as_pair(size: Size) -> tuple[int, int]:
    """The height and the width."""
    return (size, size) if isinstance(size, int) else size


def size_code(size: Size | Sequence[int]) -> str:
    """A size as `parse_size` reads it: "224" or "192x640"."""
    height, width = (size, size) if isinstance(size, int) else size
    return str(height) if height == width else f"{height}x{width}"


def size_text(size: Size | Sequence[int]) -> str:
    """A size to read, which no line tears apart, height first: "224 × 224", "192 × 640"."""
    height, width = (size, size) if isinstance(size, int) else size
    return unbroken(f"{height} × {width}")


def nearest_sizes(side: int, step: int = STEP) -> tuple[int, ...]:
    """The allowed sides nearest to this one: itself if it is allowed, else those below and above."""
    below = min(max(side // step * step, SMALLEST), LARGEST)
    above = min(max(-(-side // step) * step, SMALLEST), LARGEST)
    return (below,) if below == above else (below, above)


def check_input_size(size: Size, step: int = STEP) -> tuple[int, int]:
    """Check an input size and return it as (height, width).

    Args:
        size: A side or (height, width).
        step: What both sides must be multiples of.

    Raises:
        ValueError: If it is not a size, not multiples of the step, or out of range. The message names both
            sides and the nearest allowed sizes.
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(hasattr(side, "__index__") for side in sides):
        raise ValueError(f"input size {size!r} is not a side or a pair (height, width) of whole pixels")
    height, width = (int(side) for side in sides)
    near = [nearest_sizes(side, step) for side in (height, width)]
    if near != [(height,), (width,)]:
        needed = f"multiples of {step} from" if step > 1 else "from"
        raise ValueError(
            f"input of {height} x {width} pixels (height x width): both must be {needed} {SMALLEST} to "
            f"{LARGEST}; nearest for the height: {_or(near[0])}, for the width: {_or(near[1])}"
        )
    return height, width


def _or(sides: tuple[int, ...]) -> str:
    return " or ".join(map(str, sides))


def shape_of_photo(photo: tuple[int, int], short_side: int = 224) -> tuple[int, int]:
    """The height and width, multiples of 32, closest to a photo's shape.

    Args:
        photo: Width and height of the photo.
        short_side: The short side of the input in pixels, an allowed side.

    Raises:
        ValueError: If `short_side` is not allowed.
    """
    check_input_size(short_side)
    width, height = photo
    long_side = round(short_side * max(width, height) / min(width, height) / STEP) * STEP
    long_side = min(max(long_side, short_side), LARGEST)
    return (short_side, long_side) if width >= height else (long_side, short_side)
