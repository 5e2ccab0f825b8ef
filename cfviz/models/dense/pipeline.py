"""From a photo to the batch that a detector or segmenter takes, and from its outputs back to the photo.

The steps and sizes are those of the authors' test settings. Images are resized bilinearly as OpenCV does it:
between pixel centres, without smoothing where they shrink, and rounded to 8 bits after each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from cfviz.geometry import PATCH
from cfviz.models.inputs import input_for

from .model import DenseModel, Detector, Segmenter
from .parts.masks import paste
from .variants import ONE_SCALE, SIDES, Task

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BAND = 4_000_000  # logits of the photo's size that are held at one time


@dataclass(frozen=True)
class Fitted:
    """A photo prepared for a detector or segmenter.

    Attributes:
        tensor: (1, 3, H, W) float32, normalised, H and W multiples of 32.
        size: Height and width of the part of it that is photo; a detector's input is padded at the right and
            at the bottom, a segmenter's is not.
        photo: Height and width of the photo.
    """

    tensor: torch.Tensor = field(repr=False, compare=False)
    size: tuple[int, int]
    photo: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input per pixel of the photo, vertically and horizontally."""
        return self.size[0] / self.photo[0], self.size[1] / self.photo[1]


def scaled_size(height: int, width: int, long: int, short: int) -> tuple[int, int]:
    """Return the largest size of a photo's shape with a long and a short side of at most so many pixels."""
    scale = min(long / max(height, width), short / min(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def fit(image: Image.Image, task: Task, sides: tuple[int, int] | None = None) -> Fitted:
    """Prepare a photo.

    Args:
        image: RGB, upright.
        task: "detect" or "segment".
        sides: Most pixels of the long and of the short side; None for those of the authors' settings,
            1333 and 800 or 2048 and 512.

    Raises:
        ValueError: If the image is not RGB, or a side is less than 32 pixels.
    """
    if image.mode != "RGB":
        raise ValueError(f"the image is {image.mode}; expected RGB, as `load_image` returns it")
    long, short = sides or SIDES[task]
    if not short >= PATCH or not long >= short:
        raise ValueError(
            f"the sides are {long} and {short}; expected the long and the short one, from {PATCH}"
        )
    photo = image.height, image.width
    size = scaled_size(*photo, long, short)
    pixels = _resized(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float(), size)
    H, W = (-(-side // PATCH) * PATCH for side in size)
    if task == "segment":
        pixels, size = _resized(pixels, (H, W)), (H, W)
    tensor = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return Fitted(F.pad(tensor, (0, W - size[1], 0, H - size[0])), size, photo)


def _resized(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False).round().clamp(0, 255)


def picture(fitted: Fitted) -> Image.Image:
    """Return a model's input as a picture; padding is the mean colour."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    pixels = (fitted.tensor[0] * std + mean).round().clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector found in a photo, in pixels of the photo, best first.

    Attributes:
        boxes: (n, 4), as x1, y1, x2, y2.
        scores: (n,), from 0 to 1.
        labels: (n,), numbers of classes.
        size: Height and width of the photo.
        mask_logits: (n, 28, 28), or None if the detector draws no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    size: tuple[int, int]
    mask_logits: torch.Tensor | None = None

    def mask(self, index: int) -> np.ndarray:
        """Return which pixels of the photo belong to a detection, (H, W) bool.

        Raises:
            ValueError: If the detector draws no masks.
        """
        if self.mask_logits is None:
            raise ValueError("this detector finds boxes only; Mask R-CNN draws masks, too")
        box = torch.from_numpy(self.boxes[index : index + 1])
        return (paste(self.mask_logits[index : index + 1], box, self.size)[0, 0] >= 0.5).numpy()


def find(model: Detector, image: Image.Image, sides: tuple[int, int] | None = None) -> Found:
    """Find things in a photo.

    Args:
        model: In eval mode.
        image: RGB, upright.
        sides: As in `fit`; None for the model's own.

    Raises:
        ValueError: As in `fit` and `Detector.detect`.
    """
    return find_in(model, fit(image, "detect", sides or model.sides))


@torch.inference_mode()
def find_in(model: Detector, fitted: Fitted) -> Found:
    """Find things in a photo that was prepared; see `find`."""
    found = model.detect(input_for(model, fitted.tensor), [fitted.size])[0]
    vertical, horizontal = fitted.scale
    scale = torch.tensor([horizontal, vertical, horizontal, vertical])
    logits = found.get("mask_logits")
    return Found(
        (found["boxes"].float().cpu() / scale).numpy(),
        found["scores"].float().cpu().numpy(),
        found["labels"].cpu().numpy(),
        fitted.photo,
        None if logits is None else logits.float().cpu(),
    )


def label(
    model: Segmenter,
    image: Image.Image,
    sides: tuple[int, int] | None = None,
    scales: Sequence[float] = ONE_SCALE,
) -> np.ndarray:
    """Label a photo's pixels with the numbers of classes: (H, W) int64, of the photo's size.

    Logits are resized twice, to the input and from there to the photo, as in the authors' code. With several
    scales the photo is labelled at each, and the mean of the probabilities decides.

    Args:
        model: In eval mode.
        image: RGB, upright.
        sides: As in `fit`; None for the model's own.
        scales: What the sides are multiplied by; `SIX_SCALES` are those of the authors' settings for UPerNet.

    Raises:
        ValueError: As in `fit_scales` and `Segmenter.forward`.
    """
    return label_in(model, fit_scales(image, sides or model.sides, scales))


def fit_scales(image: Image.Image, sides: tuple[int, int], scales: Sequence[float]) -> list[Fitted]:
    """Prepare a photo for a segmenter, once for each scale.

    Raises:
        ValueError: As in `fit`, or if there are no scales.
    """
    if not scales:
        raise ValueError("there are no scales; expected one or more, such as 1")
    long, short = sides
    return [fit(image, "segment", (int(long * scale), int(short * scale))) for scale in scales]


@torch.inference_mode()
def label_in(model: Segmenter, fitted: Sequence[Fitted]) -> np.ndarray:
    """Label the pixels of a photo that was prepared at one or several scales; see `label`."""
    cells = [model.cells(input_for(model, one.tensor))[0].float().cpu() for one in fitted]
    inputs = [(int(one.tensor.shape[2]), int(one.tensor.shape[3])) for one in fitted]
    return labels_of(cells, inputs, fitted[0].photo)


def labels_of(
    cells: Sequence[torch.Tensor], inputs: Sequence[tuple[int, int]], size: tuple[int, int]
) -> np.ndarray:
    """Resize logits to the input and then to the photo, and take the likeliest class: (h, w) int64.

    It is done in bands of rows: all logits of a photo of twelve megapixels would take seven gigabytes.

    Args:
        cells: Logits at stride 4, (K, H/4, W/4), one for each scale.
        inputs: Height and width of each scale's input.
        size: Height and width of the photo.
    """
    K, (h, w) = cells[0].shape[0], size
    rows = max(1, BAND // (K * w))
    bands = []
    for top in range(0, h, rows):
        span = (h, top, min(top + rows, h))
        each = [_band(one, size_in, w, *span) for one, size_in in zip(cells, inputs, strict=True)]
        best = each[0] if len(each) == 1 else torch.stack([one.softmax(0) for one in each]).sum(0)
        bands.append(best.argmax(0))
    return torch.cat(bands).numpy()


def _band(
    cells: torch.Tensor, size_in: tuple[int, int], w: int, h: int, top: int, bottom: int
) -> torch.Tensor:
    """Return rows of the logits at the photo's size: (K, bottom - top, w)."""
    H, W = size_in
    above, below, share = _taps(H, h, top, bottom)
    first, last = int(above[0]), int(below[-1]) + 1
    inner = _wide(_blend(cells, *_taps(cells.shape[1], H, first, last)), W)  # K, last - first, W
    return _wide(_blend(inner, above - first, below - first, share), w)


def _taps(height: int, to: int, top: int, bottom: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the rows above and below that rows of a resized map lie between, and the share of the lower."""
    y = ((torch.arange(top, bottom) + 0.5) * (height / to) - 0.5).clamp(min=0)
    above = y.long().clamp(max=height - 1)
    return above, (above + 1).clamp(max=height - 1), (y - above).view(-1, 1)


def _blend(maps: torch.Tensor, above: torch.Tensor, below: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return maps[:, above] * (1 - share) + maps[:, below] * share


def _wide(maps: torch.Tensor, width: int) -> torch.Tensor:
    """Resize maps horizontally: (K, n, W) -> (K, n, width)."""
    return F.interpolate(maps[None], (maps.shape[1], width), mode="bilinear", align_corners=False)[0]


def check_task(model: Any, task: Task) -> DenseModel:
    """Return a model if it is for a task.

    Raises:
        ValueError: If it is not.
    """
    kind = {"detect": Detector, "segment": Segmenter}[task]
    if not isinstance(model, kind):
        what = {"detect": "a detector", "segment": "a segmenter"}[task]
        raise ValueError(f"this is {type(model).__name__}; expected {what}")
    return model
