"""From a photo to a batch and back, with the sizes that the authors' transforms computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from cfviz.models.dense import pipeline
from cfviz.models.dense.model import MaskRCNN, SemanticFPN
from cfviz.models.dense.pipeline import (
    SIDES,
    check_task,
    find,
    fit,
    fit_scales,
    label,
    labels_of,
    scaled_size,
)
from cfviz.models.dense.variants import SIX_SCALES

DETECT = [  # photo, resized, padded: height x width
    ((480, 640), (800, 1067), (800, 1088)),
    ((640, 480), (1067, 800), (1088, 800)),
    ((427, 640), (800, 1199), (800, 1216)),
    ((375, 500), (800, 1067), (800, 1088)),
    ((333, 500), (800, 1201), (800, 1216)),
    ((612, 612), (800, 800), (800, 800)),
    ((1080, 1920), (750, 1333), (768, 1344)),
    ((200, 1000), (267, 1333), (288, 1344)),
    ((1333, 800), (1333, 800), (1344, 800)),
]
SEGMENT = [
    ((512, 683), (512, 683), (512, 704)),
    ((683, 512), (683, 512), (704, 512)),
    ((375, 500), (512, 683), (512, 704)),
    ((256, 256), (512, 512), (512, 512)),
    ((1536, 2048), (512, 683), (512, 704)),
    ((480, 640), (512, 683), (512, 704)),
    ((300, 1600), (384, 2048), (384, 2048)),
]


def photo(height: int, width: int) -> Image.Image:
    numbers = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(numbers)


@pytest.mark.parametrize(("task", "examples"), [("detect", DETECT), ("segment", SEGMENT)])
def test_sizes_are_those_of_the_authors_transforms(task: str, examples: list[Any]) -> None:
    for size, resized, network in examples:
        assert scaled_size(*size, *SIDES[task]) == resized
        assert tuple(-(-side // 32) * 32 for side in resized) == network


def test_a_detectors_photo_is_padded_after_normalising() -> None:
    fitted = fit(photo(48, 64), "detect", (134, 80))
    assert (fitted.size, fitted.photo, fitted.tensor.shape) == ((80, 107), (48, 64), (1, 3, 96, 128))
    assert fitted.scale == (80 / 48, 107 / 64)
    assert not fitted.tensor[..., 80:, :].any()
    assert not fitted.tensor[..., 107:].any()
    assert fitted.tensor[..., :80, :107].std() > 0.5


def test_a_segmenters_photo_is_stretched_and_pixels_are_normalised() -> None:
    fitted = fit(Image.new("RGB", (50, 37), (124, 116, 104)), "segment", (200, 64))
    assert (fitted.size, tuple(fitted.tensor.shape[2:])) == ((64, 96), (64, 96))
    wanted = torch.tensor([(124 - 123.675) / 58.395, (116 - 116.28) / 57.12, (104 - 103.53) / 57.375])
    torch.testing.assert_close(fitted.tensor[0].mean((1, 2)), wanted, atol=1e-5, rtol=0)


def test_pixels_are_resized_between_centres_without_smoothing() -> None:
    """As OpenCV does it; Pillow would average the four."""
    image = Image.fromarray(np.tile(np.array([0, 0, 255, 255] * 32, np.uint8), (128, 1)), "L").convert("RGB")
    pixels = fit(image, "detect", (32, 32)).tensor[0, 0] * 58.395 + 123.675
    assert set(pixels[0].round().tolist()) == {128.0}
    assert fit(photo(32, 32), "detect", (32, 32)).tensor.shape == (1, 3, 32, 32)


def test_wrong_photos_and_sides_get_one_sentence() -> None:
    with pytest.raises(ValueError, match="the image is L; expected RGB"):
        fit(Image.new("L", (40, 40)), "detect")
    for sides in ((20, 10), (64, 80), (0, 0)):
        with pytest.raises(ValueError, match="expected the long and the short one, from 32"):
            fit(photo(40, 40), "detect", sides)
    assert fit(photo(1, 3000), "detect").tensor.shape == (1, 3, 32, 1344)


@pytest.fixture
def make(tiny_model: Callable[..., Any]) -> Callable[..., Any]:
    def made(kind: type, **sizes: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return kind(tiny_model(lda="whole"), num_classes=5, **sizes).eval()

    return made


@pytest.mark.slow
def test_boxes_and_masks_are_in_the_photos_pixels(make: Callable[..., Any]) -> None:
    model = make(MaskRCNN, channels=16, hidden=32)
    model.roi_head.bbox_head.threshold = 0.0
    image = photo(48, 64)
    found = find(model, image, (134, 80))
    fitted = fit(image, "detect", (134, 80))
    with torch.inference_mode():
        raw = model(fitted.tensor, [fitted.size])[0]
    assert found.size == (48, 64)
    assert found.boxes[:, 2].max() <= 64 + 1e-3
    assert found.boxes[:, 3].max() <= 48 + 1e-3
    np.testing.assert_allclose(found.boxes[:, 0] * 107 / 64, raw["boxes"][:, 0].numpy(), atol=1e-3)
    assert found.labels.tolist() == raw["labels"].tolist()
    masks = [found.mask(i) for i in range(len(found.boxes))]
    assert {mask.shape for mask in masks} == {(48, 64)}
    x1, y1, x2, y2 = found.boxes[0]
    outside = masks[0].copy()
    outside[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = False
    assert not outside.any()


def test_label_maps_have_the_photos_size(make: Callable[..., Any]) -> None:
    model = make(SemanticFPN, channels=16, hidden=8)
    found = label(model, photo(37, 50), (200, 64))
    assert (found.shape, found.dtype) == ((37, 50), np.int64)
    assert set(np.unique(found)) <= set(range(5))


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (130, 200), (1, 1)])
def test_labels_in_bands_are_those_of_the_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = torch.randn((5, 16, 24), generator=torch.Generator().manual_seed(0))
    logits = twice(cells, (64, 96), size)
    monkeypatch.setattr(pipeline, "BAND", 5 * size[1] * 7)
    assert (labels_of([cells], [(64, 96)], size) != logits.argmax(0).numpy()).mean() <= 0.001


def twice(cells: torch.Tensor, inner: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Logits resized to the input, then to the photo, whole."""
    wide = interpolate(cells[None], inner, mode="bilinear", align_corners=False)
    return interpolate(wide, size, mode="bilinear", align_corners=False)[0]


@pytest.mark.slow
def test_at_several_scales_the_mean_of_the_probabilities_decides(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image, scales = make(SemanticFPN, channels=16, hidden=8), photo(37, 50), (0.5, 1.0, 1.75)
    total = torch.zeros(5, 37, 50)
    with torch.inference_mode():
        for scale in scales:
            fitted = fit(image, "segment", (int(200 * scale), int(64 * scale)))
            logits = model(fitted.tensor)
            total += interpolate(logits, (37, 50), mode="bilinear", align_corners=False)[0].softmax(0)
    monkeypatch.setattr(pipeline, "BAND", 5 * 50 * 11)
    found = label(model, image, (200, 64), scales)
    assert (found != total.argmax(0).numpy()).mean() <= 0.001
    assert (found != label(model, image, (200, 64))).mean() > 0.01, "the scales make a difference"
    sizes = [tuple(one.tensor.shape[2:]) for one in fit_scales(image, (2048, 512), SIX_SCALES)]
    assert sizes == [(256, 352), (384, 544), (512, 704), (640, 896), (768, 1056), (896, 1216)]
    with pytest.raises(ValueError, match="there are no scales"):
        label(model, image, (200, 64), ())


def test_logits_that_no_memory_holds_are_refused_before_they_are_computed(make: Callable[..., Any]) -> None:
    model = make(SemanticFPN, channels=16, hidden=8)
    model.num_classes, model.logits = 25_000, None  # calling it would fail
    with pytest.raises(ValueError, match="25,000 classes on a map of 256 x 256 are 1,638,400,000 logits"):
        model(torch.zeros(1, 3, 256, 256))
    with pytest.raises(ValueError, match="more than 1,100,000,000; use a smaller input"):
        label(model, photo(512, 2048), (2048, 512))


def test_a_model_for_another_task_is_refused(
    make: Callable[..., Any], tiny_model: Callable[..., Any]
) -> None:
    segmenter = make(SemanticFPN, channels=16, hidden=8)
    assert check_task(segmenter, "segment") is segmenter
    with pytest.raises(ValueError, match="this is SemanticFPN; expected a detector"):
        check_task(segmenter, "detect")
    with pytest.raises(ValueError, match="this is CrossFormer; expected a segmenter"):
        check_task(tiny_model(), "segment")
