"""From a photo to the model's input, and back to the pixels that the model saw.

The results equal those of timm's evaluation transforms bit for bit; timm itself is not imported, which would
take a second. This module also tracks exactly which pixels of the photo are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import torch
from PIL import Image

from cfviz.framing import CENTRE, KEEP, STEP, Box, Centre, Frame, Size, frame
from cfviz.options import MEAN, MODES, STD

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


def normalisation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how photos are fitted and normalised for a model, from timm's record of it.

    Args:
        config: `model.pretrained_cfg`, or a part of it; what is missing is as for CrossFormer.

    Returns:
        `crop_pct`, `interpolation`, `mean` and `std`.
    """
    usual = {"crop_pct": KEEP, "interpolation": "bicubic", "mean": MEAN, "std": STD}
    return {name: config.get(name) or value for name, value in usual.items()}


def prepare(
    photo: Photo,
    size: Size = 224,
    mode: str = "crop",
    data_config: Mapping[str, Any] | None = None,
    centre: Centre = CENTRE,
    step: int = STEP,
) -> Prepared:
    """Prepare a photo for the model as timm's evaluation transform would, to the last bit.

    Args:
        photo: From `load_image`; its strokes, if any, are applied to the pixels of the input.
        size: Side of the input in pixels, or its height and width; multiples of `step` from 32 to 2048.
        mode: "crop" resizes the short side to `size / crop_pct` (256 for 224) and crops the centre, as for
            the published accuracies; "resize" uses the whole photo, stretched if its shape differs
            (`framing.shape_of_photo` finds a shape that hardly does); "pad" uses the whole photo
            unstretched and fills the rest with the mean colour.
        data_config: As for `normalisation`; None is as for CrossFormer: 224 / 256, bicubic, ImageNet's mean
            and standard deviation.
        centre: Where "crop" crops: the centre as a share of the photo's width from the left and of its height
            from the top, moved as far as the photo reaches.
        step: What both sides must be multiples of: 32 for a CrossFormer.

    Raises:
        ValueError: If a side is not a multiple of `step` or is out of range, the mode is unknown, or the
            centre is not two shares.
    """
    config = normalisation(data_config or {})
    shown = frame(photo.size, size, mode, centre, config["crop_pct"], step)
    width, height = shown.size
    method = Image.Resampling[str(config["interpolation"]).upper()]
    resized = photo.image if photo.size == shown.resized else photo.image.resize(shown.resized, method)
    (left, top), colour = shown.corner, tuple(round(255 * one) for one in config["mean"])
    crop = Image.new("RGB", (width, height), colour)  # seen where no part of the photo lies
    crop.paste(resized, (-left, -top))
    if photo.strokes:
        crop = Image.fromarray(paint(np.asarray(crop), photo.strokes, list(colour)))
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    return Prepared(
        pixels.sub_(mean).div_(std), crop, shown, mode, tuple(config["mean"]), tuple(config["std"])
    )


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
