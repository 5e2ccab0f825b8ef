"""From a photo to the model's input, and back to the pixels that the model saw.

The transforms are timm's own evaluation transforms; this module also tracks exactly which pixels of the photo
they keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from cfviz.options import MODES

from .decode import NOTES, Photo, load_image
from .header import ImageError

__all__ = [
    "MODES",
    "NOTES",
    "ImageError",
    "Photo",
    "Prepared",
    "check_input_size",
    "load_image",
    "nearest_sizes",
    "prepare",
    "unnormalise",
    "whole_photo_size",
]

STEP = 32  # total stride of the model: a side of the input must be a multiple of it
SMALLEST, LARGEST = 32, 1024
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prepared:
    """A photo prepared for the model.

    Attributes:
        tensor: (3, H, W) float32, normalised.
        crop: The image in the tensor before normalisation, H x W pixels.
        box: Left, top, right, bottom of the crop in pixels of the upright photo; extends beyond the photo
            if the crop was padded.
        photo_box: Position of the photo in the crop, in pixels of the crop; the whole crop unless padded.
        scale: Pixels of the crop per pixel of the photo, horizontally and vertically; above 1 if the photo
            was enlarged, unequal if it was stretched.
        mode: "crop", "resize" or "pad".
        mean, std: Mean and standard deviation used to normalise the tensor, one value per channel.
    """

    tensor: torch.Tensor = field(repr=False, compare=False)
    crop: Image.Image = field(repr=False, compare=False)
    box: Box
    photo_box: Box
    scale: tuple[float, float]
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_photo(self, x: float, y: float) -> tuple[float, float]:
        """Convert a point from pixels of the crop to pixels of the upright photo."""
        return self.box[0] + x / self.scale[0], self.box[1] + y / self.scale[1]


def prepare(
    photo: Photo,
    size: int | tuple[int, int] = 224,
    mode: str = "crop",
    data_config: Mapping[str, Any] | None = None,
) -> Prepared:
    """Prepare a photo for the model with timm's evaluation transform.

    Args:
        photo: From `load_image`.
        size: Side of the input in pixels, or its height and width; multiples of 32 from 32 to 1024.
        mode: "crop" resizes the short side to `size / crop_pct` (256 for 224) and crops the centre, as for
            the published accuracies; "resize" uses the whole photo, stretched if its shape differs
            (`whole_photo_size` finds a shape that hardly does); "pad" uses the whole photo unstretched and
            fills the rest with the mean colour.
        data_config: `timm.data.resolve_model_data_config(model)`; None uses timm's defaults: 224 / 256,
            bicubic, ImageNet's mean and standard deviation.

    Raises:
        ValueError: If a side is not a multiple of 32 or is out of range, or the mode is unknown.
    """
    height, width = check_input_size(size)
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not known; choose one of {', '.join(map(repr, MODES))}")
    config = resolve_data_config(args=dict(data_config or {}), pretrained_cfg={"crop_pct": 0.875})
    timm_mode, crop_pct = MODES[mode]
    steps = create_transform(
        input_size=(3, height, width),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=crop_pct or config["crop_pct"],
        crop_mode=timm_mode,
    ).transforms
    resize, cut, to_tensor, normalise = steps
    resized = resize(photo.image)
    crop = cut(resized)
    scale = (resized.width / photo.size[0], resized.height / photo.size[1])
    box, photo_box = _boxes(resized.size, (width, height), scale)
    tensor = normalise(to_tensor(crop))
    return Prepared(tensor, crop, box, photo_box, scale, mode, tuple(config["mean"]), tuple(config["std"]))


def _boxes(resized: tuple[int, int], crop: tuple[int, int], scale: tuple[float, float]) -> tuple[Box, Box]:
    """The crop in the photo's pixels, and the photo in the crop's; sizes are (width, height)."""
    # torchvision and timm round the offset of a centre crop this way; timm's padding rounds down.
    left, top = (
        round((r - c) / 2.0) if r >= c else -((c - r) // 2) for r, c in zip(resized, crop, strict=True)
    )
    corners = (left, top, left + crop[0], top + crop[1])
    box = (corners[0] / scale[0], corners[1] / scale[1], corners[2] / scale[0], corners[3] / scale[1])
    inside = (
        float(max(0, -left)),
        float(max(0, -top)),
        float(min(crop[0], resized[0] - left)),
        float(min(crop[1], resized[1] - top)),
    )
    return box, inside


def unnormalise(
    tensor: torch.Tensor,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
) -> np.ndarray:
    """Recover the pixels of a normalised input: (H, W, 3) uint8, exactly those of `Prepared.crop`.

    Args:
        tensor: (3, H, W).
        mean: Mean of each channel, on a scale of 0 to 1.
        std: Standard deviation of each channel, on the same scale.
    """
    channels = tensor.detach().to("cpu", torch.float64)
    values = channels * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    pixels = (values * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().numpy()  # H, W, 3


def nearest_sizes(side: int) -> tuple[int, ...]:
    """The allowed sides nearest to this one: itself if it is allowed, else those below and above."""
    below = min(max(side // STEP * STEP, SMALLEST), LARGEST)
    above = min(max(-(-side // STEP) * STEP, SMALLEST), LARGEST)
    return (below,) if below == above else (below, above)


def check_input_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Check an input size and return it as (height, width).

    Raises:
        ValueError: If it is not a size, not multiples of 32, or out of range. The message names both sides
            and the nearest allowed sizes.
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) for side in sides):
        raise ValueError(f"input size {size!r} is not a side or a pair (height, width) of whole pixels")
    height, width = (int(side) for side in sides)
    if nearest_sizes(height) != (height,) or nearest_sizes(width) != (width,):
        raise ValueError(
            f"input of {height} x {width} pixels (height x width): both must be multiples of {STEP} from "
            f"{SMALLEST} to {LARGEST}; nearest for the height: {_or(nearest_sizes(height))}, "
            f"for the width: {_or(nearest_sizes(width))}"
        )
    return height, width


def _or(sides: tuple[int, ...]) -> str:
    return " or ".join(map(str, sides))


def whole_photo_size(photo: Photo, short_side: int = 224) -> tuple[int, int]:
    """The height and width, multiples of 32, closest to a photo's shape, for `prepare(…, mode="resize")`.

    Args:
        photo: The photo whose shape to keep.
        short_side: The short side in pixels, an allowed side.

    Raises:
        ValueError: If `short_side` is not allowed.
    """
    check_input_size(short_side)
    width, height = photo.size
    long_side = round(short_side * max(width, height) / min(width, height) / STEP) * STEP
    long_side = min(max(long_side, short_side), LARGEST)
    return (short_side, long_side) if width >= height else (long_side, short_side)
