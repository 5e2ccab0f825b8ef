"""From a photo to the model's input, and back to the pixels that the model saw.

The transforms are timm's own evaluation transforms; what is added here is knowing exactly which pixels of the
photo they kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

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
# How each mode is called in timm's data config, and the share of the resized photo that it keeps (None: the
# model's own, 224 of 256 pixels).
MODES: dict[str, tuple[str, float | None]] = {
    "crop": ("center", None),
    "resize": ("squash", 1.0),
    "pad": ("border", 1.0),
}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prepared:
    """A photo made ready for the model.

    Attributes:
        tensor: 3 x H x W float32, normalised.
        crop: H x W pixels, exactly what the tensor holds.
        box: Left, top, right, bottom of the crop in pixels of the upright photo; it reaches beyond the photo
            where the crop was padded.
        photo_box: Where the photo lies in the crop, in pixels of the crop; the whole crop unless padded.
        scale: Pixels of the crop for one pixel of the photo, across and down; over 1 the photo was enlarged,
            unequal it was stretched.
        mode: "crop", "resize" or "pad".
        mean, std: What the tensor was normalised with, one value per channel.
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
        """A point of the crop (pixels) as a point of the upright photo (pixels)."""
        return self.box[0] + x / self.scale[0], self.box[1] + y / self.scale[1]


def prepare(
    photo: Photo,
    size: int | tuple[int, int] = 224,
    mode: str = "crop",
    data_config: Mapping[str, Any] | None = None,
) -> Prepared:
    """Make a photo ready for the model, through timm's evaluation transform.

    Args:
        photo: From `load_image`.
        size: Side of the input in pixels, or its height and width; multiples of 32 from 32 to 1024.
        mode: "crop" resizes the short side to `size / crop_pct` (224: 256) and cuts the centre out, as the
            published accuracies were measured; "resize" takes the whole photo, stretched where its shape
            differs (`whole_photo_size` finds a shape that hardly does); "pad" takes the whole photo
            unstretched and fills the rest with the mean colour.
        data_config: `timm.data.resolve_model_data_config(model)`; timm's defaults at 224 / 256 bicubic with
            ImageNet's mean and deviation where not given.

    Raises:
        ValueError: A size that is no multiple of 32 or out of range, or an unknown mode.
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
    """The crop in the photo's pixels, and the photo in the crop's; sizes as width, height."""
    # torchvision and timm round the offset of a centred crop like this, timm's padding rounds down.
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
    """The pixels behind a normalised input: H x W x 3 uint8, exactly those of `Prepared.crop`.

    Args:
        tensor: 3 x H x W.
        mean: Of each channel, on a scale of 0 to 1.
        std: Of each channel.
    """
    channels = tensor.detach().to("cpu", torch.float64)
    values = channels * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    pixels = (values * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().numpy()  # H, W, 3


def nearest_sizes(side: int) -> tuple[int, ...]:
    """The allowed sides next to this one: itself where it is allowed, else those below and above."""
    below = min(max(side // STEP * STEP, SMALLEST), LARGEST)
    above = min(max(-(-side // STEP) * STEP, SMALLEST), LARGEST)
    return (below,) if below == above else (below, above)


def check_input_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of the input.

    Raises:
        ValueError: Not a size, not multiples of 32, or out of range; it names both sides and the nearest
            allowed.
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
    """Height and width, multiples of 32, closest to the photo's shape: for `prepare(…, mode="resize")`.

    Args:
        photo: Whose shape to keep.
        short_side: An allowed side, pixels.

    Raises:
        ValueError: `short_side` is not allowed.
    """
    check_input_size(short_side)
    width, height = photo.size
    long_side = round(short_side * max(width, height) / min(width, height) / STEP) * STEP
    long_side = min(max(long_side, short_side), LARGEST)
    return (short_side, long_side) if width >= height else (long_side, short_side)
