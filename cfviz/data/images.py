"""From a photo to the model's input, and back to the pixels that the model saw.

The transforms are timm's own evaluation transforms; this module also tracks exactly which pixels of the photo
they keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from cfviz.framing import CENTRE, KEEP, STEP, Box, Centre, Frame, Size, frame
from cfviz.options import MODES

from .brush import covered, paint
from .decode import NOTES, Photo, load_image
from .header import ImageError

__all__ = [
    "LONGEST",
    "MODES",
    "NOTES",
    "ImageError",
    "Photo",
    "Prepared",
    "load_image",
    "original",
    "prepare",
    "unnormalise",
]

LONGEST = 1280  # pixels of the longer side of what figures draw of a photo


@dataclass(frozen=True)
class Prepared:
    """A photo prepared for the model.

    Attributes:
        tensor: (3, H, W) float32, normalised.
        crop: The image in the tensor before normalisation, H x W pixels.
        frame: Which part of the photo that is, and how large.
        mode: "crop", "resize" or "pad".
        mean, std: Mean and standard deviation used to normalise the tensor, one value per channel.
    """

    tensor: torch.Tensor = field(repr=False, compare=False)
    crop: Image.Image = field(repr=False, compare=False)
    frame: Frame
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of the crop in pixels of the upright photo, see `Frame.box`."""
        return self.frame.box

    @property
    def photo_box(self) -> Box:
        """Position of the photo in the crop, in pixels of the crop, see `Frame.photo_box`."""
        return self.frame.photo_box

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the crop per pixel of the photo, horizontally and vertically."""
        return self.frame.scale

    def to_photo(self, x: float, y: float) -> tuple[float, float]:
        """Convert a point from pixels of the crop to pixels of the upright photo."""
        return self.box[0] + x / self.scale[0], self.box[1] + y / self.scale[1]


def prepare(
    photo: Photo,
    size: Size = 224,
    mode: str = "crop",
    data_config: Mapping[str, Any] | None = None,
    centre: Centre = CENTRE,
    step: int = STEP,
) -> Prepared:
    """Prepare a photo for the model with timm's evaluation transform.

    Args:
        photo: From `load_image`; its strokes, if any, are applied to the pixels of the input.
        size: Side of the input in pixels, or its height and width; multiples of `step` from 32 to 2048.
        mode: "crop" resizes the short side to `size / crop_pct` (256 for 224) and crops the centre, as for
            the published accuracies; "resize" uses the whole photo, stretched if its shape differs
            (`framing.shape_of_photo` finds a shape that hardly does); "pad" uses the whole photo
            unstretched and fills the rest with the mean colour.
        data_config: `timm.data.resolve_model_data_config(model)`; None uses timm's defaults: 224 / 256,
            bicubic, ImageNet's mean and standard deviation.
        centre: Where "crop" crops: the centre as a share of the photo's width from the left and of its height
            from the top, moved as far as the photo reaches.
        step: What both sides must be multiples of: 32 for a CrossFormer.

    Raises:
        ValueError: If a side is not a multiple of `step` or is out of range, the mode is unknown, or the
            centre is not two shares.
    """
    config = resolve_data_config(args=dict(data_config or {}), pretrained_cfg={"crop_pct": KEEP})
    shown = frame(photo.size, size, mode, centre, config["crop_pct"], step)
    width, height = shown.size
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
    assert resized.size == shown.resized  # what is drawn on the photo is what the model sees
    (left, top), cropped = shown.corner, mode == "crop"
    crop = resized.crop((left, top, left + width, top + height)) if cropped else cut(resized)
    if photo.strokes:
        colour = [round(255 * one) for one in config["mean"]]
        crop = Image.fromarray(paint(np.asarray(crop), photo.strokes, colour))
    tensor = normalise(to_tensor(crop))
    return Prepared(tensor, crop, shown, mode, tuple(config["mean"]), tuple(config["std"]))


def original(photo: Photo, prepared: Prepared, longest: int = LONGEST) -> Image.Image:
    """The same part of the original photo as in the input, with as many pixels as it has there.

    A whole number of pixels stands for each pixel of the input, so both show every token at the same place;
    what no part of the photo covers is the input's.

    Args:
        photo: The photo.
        prepared: The same photo as the model gets it.
        longest: Pixels of the longer side, at most; never fewer than the input has.
    """
    shown, (wide, high) = prepared.frame, prepared.frame.size
    times = max(1, min(longest // max(wide, high), ceil(1 / min(shown.scale))))
    picture = prepared.crop.resize((wide * times, high * times), Image.Resampling.NEAREST)
    if times == 1:
        return picture
    left, top, right, bottom = shown.photo_box
    (x0, y0), (x1, y1) = prepared.to_photo(left, top), prepared.to_photo(right, bottom)
    inside = max(0, x0), max(0, y0), min(photo.size[0], x1), min(photo.size[1], y1)  # despite rounding
    size = round((right - left) * times), round((bottom - top) * times)
    part = photo.image.resize(size, Image.Resampling.BICUBIC, inside, reducing_gap=3)
    picture.paste(part, (round(left * times), round(top * times)))
    if photo.strokes:
        mask = Image.fromarray(np.where(covered(photo.strokes, high, wide), np.uint8(255), np.uint8(0)))
        near = Image.Resampling.NEAREST
        picture.paste(prepared.crop.resize(picture.size, near), mask=mask.resize(picture.size, near))
    return picture


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
