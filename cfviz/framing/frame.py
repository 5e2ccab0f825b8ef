"""How a photo is fitted to the input: what of it the model sees, computed from sizes alone.

The sizes after resizing follow timm's evaluation transforms, rounding included; `cfviz.data.images.prepare`
makes the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import floor

from cfviz.options import MODES

from .size import STEP, Size, check_input_size

Box = tuple[float, float, float, float]
Centre = tuple[float, float]

CENTRE: Centre = (0.5, 0.5)
TOLD = 0.005  # what is lost, empty or stretched is told from half a per cent up: below it is rounding
KEEP = 0.875  # side of the crop as a share of the resized photo, as for the published accuracies: 224 of 256


@dataclass(frozen=True)
class Frame:
    """Which part of a photo an input shows, and how large.

    Attributes:
        photo: Width and height of the photo in pixels.
        resized: Width and height of the photo after resizing.
        corner: Left and top edge of the input in the resized photo; negative if the photo was padded.
        size: Width and height of the input in pixels.
        mode: "crop", "resize" or "pad".
    """

    photo: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]
    mode: str

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input per pixel of the photo, horizontally and vertically."""
        return self.resized[0] / self.photo[0], self.resized[1] / self.photo[1]

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of the input in pixels of the photo; beyond the photo if it was padded."""
        (left, top), (wide, high), (x, y) = self.corner, self.size, self.scale
        return left / x, top / y, (left + wide) / x, (top + high) / y

    @property
    def photo_box(self) -> Box:
        """Position of the photo in the input, in pixels of the input; the whole input unless padded."""
        (left, top), (wide, high) = self.corner, self.size
        return (
            float(max(0, -left)),
            float(max(0, -top)),
            float(min(wide, self.resized[0] - left)),
            float(min(high, self.resized[1] - top)),
        )

    @property
    def kept(self) -> float:
        """Share of the photo's area that is in the input."""
        left, top, right, bottom = self.photo_box
        return (right - left) * (bottom - top) / (self.resized[0] * self.resized[1])

    @property
    def empty(self) -> float:
        """Share of the input that no part of the photo covers."""
        left, top, right, bottom = self.photo_box
        return 1 - (right - left) * (bottom - top) / (self.size[0] * self.size[1])

    @property
    def stretch(self) -> float:
        """How much wider things look than in the photo: 1 keeps their shape, 2 makes them twice as wide."""
        return self.scale[0] / self.scale[1]

    @property
    def movable(self) -> tuple[bool, bool]:
        """Whether the input could show another part of the photo, to the side and up or down."""
        return self.resized[0] > self.size[0], self.resized[1] > self.size[1]

    def sentence(self, t: Callable[..., str]) -> str:
        """Say what the model sees of the photo, and what was lost or stretched.

        Args:
            t: Translates a key with its fields, see `cfviz.words`.
        """
        if self.kept < 1 - TOLD:
            return t("framing.crop", kept=f"{100 * self.kept:.0f}")
        if self.empty > TOLD:
            return t("framing.pad", empty=f"{100 * self.empty:.0f}")
        if abs(self.stretch - 1) > TOLD:
            wider = self.stretch > 1
            times = self.stretch if wider else 1 / self.stretch
            return t(f"framing.{'wider' if wider else 'narrower'}", times=f"{times:.2f}")
        return t("framing.whole")


def frame(
    photo: tuple[int, int], size: Size, mode: str = "crop", centre: Centre = CENTRE, keep: float = KEEP,
    step: int = STEP,
) -> Frame:  # fmt: skip
    """Return what an input shows of a photo.

    Args:
        photo: Width and height of the photo in pixels.
        size: Side of the input in pixels, or its height and width.
        mode: "crop" fills the input with a part of the photo, "resize" squeezes or stretches the whole photo
            into it, "pad" shows the whole photo in its shape and leaves the rest empty.
        centre: Where "crop" centres the input: as a share of the photo's width from the left, and of its
            height from the top. Moved as far as the photo reaches.
        keep: Side of the crop as a share of the resized photo; other modes keep the whole photo.
        step: What the sides of the input must be multiples of.

    Raises:
        ValueError: If the size, the mode or the centre is not allowed.
    """
    height, width = check_input_size(size, step)
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not known; choose one of {', '.join(map(repr, MODES))}")
    centre = check_centre(centre)
    resized = _resized(photo, (width, height), mode, keep)
    sides = zip(centre if mode == "crop" else CENTRE, resized, (width, height), strict=True)
    left, top = (_corner(at, long, short) for at, long, short in sides)
    return Frame(photo, resized, (left, top), (width, height), mode)


def _corner(at: float, resized: int, size: int) -> int:
    # torchvision and timm round the offset of a centre crop this way; timm's padding rounds down.
    if resized < size:
        return -((size - resized) // 2)
    return min(max(round(at * resized - size / 2), 0), resized - size)


def _resized(photo: tuple[int, int], size: tuple[int, int], mode: str, keep: float) -> tuple[int, int]:
    """Width and height of the photo after timm's resizing."""
    if mode == "resize":
        return size
    (wide, high), target = photo, size if mode == "pad" else tuple(floor(side / keep) for side in size)
    if mode == "crop" and target[0] == target[1]:  # torchvision's: the short side is exact, the long one cut
        short, long = min(photo), max(photo)
        new = int(target[0] * long / short)
        return (target[0], new) if wide <= high else (new, target[0])
    ratios = high / target[1], wide / target[0]
    ratio = max(ratios) if mode == "pad" else min(ratios)
    return round(wide / ratio), round(high / ratio)


def check_centre(centre: Centre) -> Centre:
    """Check a crop's centre.

    Raises:
        ValueError: If it is not two shares from 0 to 1.
    """
    shares = tuple(centre) if isinstance(centre, (tuple, list)) else ()
    if len(shares) != 2 or not all(isinstance(one, (int, float)) and 0 <= one <= 1 for one in shares):
        raise ValueError(
            f"centre {centre!r} is not two shares from 0 to 1: of the photo's width from the left, and of "
            "its height from the top"
        )
    return float(shares[0]), float(shares[1])


def parse_centre(text: str) -> Centre:
    """Read a crop's centre as people and links write it: "0.3,0.5", from the left and from the top.

    Raises:
        ValueError: If it is not two shares from 0 to 1.
    """
    sides = re.fullmatch(r"\s*(\d?\.?\d{1,12})\s*,\s*(\d?\.?\d{1,12})\s*", text, re.ASCII)
    if sides is None or max(shares := (float(sides[1]), float(sides[2]))) > 1:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise ValueError(
            f"{shown!r} is not a centre like 0.3,0.5 (shares from 0 to 1 of the photo's width from the left, "
            "and of its height from the top)"
        )
    return shares


def centre_code(centre: Centre) -> str:
    """A crop's centre as `parse_centre` reads it: "0.3,0.5"."""
    return ",".join(f"{one:.12f}".rstrip("0").rstrip(".") for one in centre)
