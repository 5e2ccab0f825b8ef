"""Strokes of a brush: their geometry, the pixels they give, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cfviz.data.brush import Stroke, covered, from_url, paint, read, to_url
from cfviz.data.images import load_image, original, prepare
from cfviz.data.samples import recognised
from cfviz.measured.dense import explain
from cfviz.run import inspect

SIZE = (64, 96)
EVERY = [
    {"how": "mean", "size": 60, "path": [[500, 500], [520, 510]]},
    {"how": "dataset", "rect": [0, 0, 1000, 20]},
    {"how": "blur", "size": 500, "path": [[0, 1000]]},
    {"how": "copy", "size": 10, "path": [[1, 2], [3, 4], [5, 6]], "source": [7, 8]},
    {"how": "copy", "rect": [100, 100, 300, 200], "source": [1000, 0]},
]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_strokes_are_the_same_in_json_and_in_a_link() -> None:
    strokes = read(EVERY)
    text = to_url(strokes)
    assert text == (
        "mean-60-500.500-520.510_dataset-rect-0.0-1000.20_blur-500-0.1000_"
        "copy-10-7.8-1.2-3.4-5.6_copy-rect-1000.0-100.100-300.200"
    )
    assert from_url(text) == read(text) == strokes
    assert [one.to_dict() for one in strokes] == EVERY
    assert read(strokes) == strokes
    assert from_url("") == read([]) == ()


@pytest.mark.parametrize(("height", "width"), [(224, 224), (192, 640), (640, 192), (32, 32)])
def test_a_brush_covers_the_pixels_whose_centres_are_near_its_path(height: int, width: int) -> None:
    """Distances as in a textbook, in pixels: the brush is round although thousandths of the sides differ."""
    stroke = Stroke("mean", ((100, 200), (700, 650), (720, 100)), 150)
    y, x = np.mgrid[:height, :width] + 0.5
    wanted = np.zeros((height, width), bool)
    radius = 0.15 * min(height, width) / 2
    points = [(a * width / 1000, b * height / 1000) for a, b in stroke.path]
    for (ax, ay), (bx, by) in pairwise(points):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        wanted |= np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)) <= radius
    assert (stroke.mask(height, width) == wanted).all()
    assert wanted.any()
    assert not wanted.all()


def test_a_rectangle_covers_the_pixels_whose_centres_are_inside() -> None:
    found = read({"how": "mean", "rect": [250, 500, 500, 1000]})[0].mask(192, 640)
    wanted = np.zeros((192, 640), bool)
    wanted[96:, 160:320] = True
    assert (found == wanted).all()
    edge = read({"how": "mean", "rect": [0, 0, 15, 16]})[0].mask(100, 100)  # centres at 0.5 and 1.5
    assert [tuple(at) for at in np.argwhere(edge)] == [(0, 0), (1, 0)]


def test_erasing_gives_the_mean_colour_of_the_whole_input_or_of_the_data_set() -> None:
    pixels = noise(*SIZE)
    strokes = read([{"how": "dataset", "rect": [0, 0, 500, 1000]}, {"how": "mean", "rect": [0, 0, 250, 500]}])
    out = paint(pixels, strokes, (1, 2, 3))
    assert (out[:32, :24] == np.floor(pixels.mean((0, 1)) + 0.5)).all()  # of the input before any stroke
    assert (out[32:, :48] == (1, 2, 3)).all()
    assert (out[:, 48:] == pixels[:, 48:]).all()
    assert (pixels == noise(*SIZE)).all()


def test_a_blur_is_three_box_means_of_the_whole_input_and_stays_inside_its_stroke() -> None:
    pixels = noise(*SIZE)
    stroke = read({"how": "blur", "size": 300, "path": [[0, 500], [300, 0]]})[0]
    reach = int(0.3 * 64) // 6
    wide = 2 * reach + 1
    wanted = pixels.astype(int)
    for _ in range(3):
        for axis in (0, 1):
            around = [(reach, reach) if one == axis else (0, 0) for one in range(3)]
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(wanted, around, "edge"), wide, axis)
            wanted = (2 * windows.sum(-1) + wide) // (2 * wide)
    mask = stroke.mask(*SIZE)
    assert (paint(pixels, [stroke]) == np.where(mask[..., None], wanted, pixels)).all()
    flat = np.full((*SIZE, 3), 77, np.uint8)
    assert (paint(flat, [stroke]) == flat).all()


def test_a_copy_shows_what_was_at_its_source() -> None:
    pixels = noise(*SIZE)
    out = paint(pixels, read({"how": "copy", "rect": [0, 0, 250, 500], "source": [500, 500]}))
    assert (out[:32, :24] == pixels[32:, 48:72]).all()
    assert (out[:, 24:] == pixels[:, 24:]).all()
    over = paint(pixels, read({"how": "copy", "rect": [0, 0, 500, 1000], "source": [750, 0]}))
    assert (over[:, :24] == pixels[:, 72:]).all()
    assert (over[:, 24:48] == pixels[:, 95:]).all()  # beyond the edge, the edge is repeated


def test_later_strokes_paint_over_earlier_ones() -> None:
    pixels, strokes = noise(*SIZE), read(EVERY)
    step = pixels
    for stroke in strokes:
        if stroke.how != "mean":
            step = paint(step, [stroke])
    assert (paint(pixels, [one for one in strokes if one.how != "mean"]) == step).all()
    assert (covered(strokes, *SIZE) == np.any([one.mask(*SIZE) for one in strokes], 0)).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (5, "strokes is 5; expected a list"),
        ([5], "stroke 1 is 5; expected an object"),
        ([{"how": "burn", "size": 60, "path": [[1, 1]]}], "how is 'burn'; expected one of mean"),
        ([{"how": ["mean"], "size": 60, "path": [[1, 1]]}], "how is"),
        ([{"size": 60, "path": [[1, 1]]}], "how is ''"),
        ([{"how": "mean", "size": 60, "path": [[1, 1]], "x": 1}], "stroke 1 has 'x'"),
        ([{"how": "mean", "path": [[1, 1]]}], "either a size and a path, or a rect"),
        ([{"how": "mean", "size": 60, "rect": [0, 0, 9, 9]}], "either a size and a path, or a rect"),
        ([{"how": "mean", "size": 0, "path": [[1, 1], [2, 2]]}], "size is 0; expected a whole number"),
        ([{"how": "mean", "size": 501, "path": [[1, 1]]}], "size is 501"),
        ([{"how": "mean", "size": 60.0, "path": [[1, 1]]}], "size is 60.0"),
        ([{"how": "mean", "size": True, "path": [[1, 1]]}], "size is True"),
        ([{"how": "mean", "size": 60, "path": []}], "the path has no points"),
        ([{"how": "mean", "size": 60, "path": "11"}], "path is '11'; expected a list"),
        ([{"how": "mean", "size": 60, "path": [[1, 1001]]}], r"path has \[1, 1001\]; expected \[x, y\]"),
        ([{"how": "mean", "size": 60, "path": [[1, 1, 1]]}], "path has"),
        ([{"how": "mean", "size": 60, "path": [[1, float("nan")]]}], "path has"),
        ([{"how": "mean", "rect": [9, 0, 9, 9]}], "a rectangle is"),
        ([{"how": "mean", "rect": [0, 9, 9]}], "rect is"),
        ([{"how": "copy", "size": 60, "path": [[1, 1]]}], "copy needs the source"),
        ([{"how": "mean", "size": 60, "path": [[1, 1]], "source": [1, 1]}], "mean has no source"),
        ([{"how": "copy", "size": 60, "path": [[1, 1]], "source": [-1, 1]}], "source has"),
        ([{"how": "mean", "size": 60, "path": [[1, 1]]}] * 33, "more than 32 strokes or 400 points"),
        ([{"how": "mean", "size": 60, "path": [[1, 1]] * 401}], "more than 32 strokes or 400 points"),
        ("[" * 100_000, "not JSON"),
        ("mean-60", "'mean-60' is no stroke"),
        ("mean-60-1.1_", "'' is no stroke"),
        ("mean-0060-1.1-99999.1", "is no stroke"),
        ("mean-9-1.1", "'mean-9-1.1': size is 9"),
        ("mean-rect-1.1", "a rectangle is"),
        ("copy-60-1.1", "the path has no points"),
        ("mean-٦٠-1.1", "is no stroke"),
        ("_".join(["mean-60-1.1"] * 33), "more than 32 strokes"),
    ],
)
def test_other_strokes_are_refused_with_a_sentence(wrong: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as told:
        read(wrong)
    assert len(str(told.value)) < 250
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("mode", ["crop", "pad", "resize"])
def test_an_input_is_the_painted_one_and_its_tensor_too(mode: str) -> None:
    photo = load_image(noise(150, 200))
    plain, brushed = prepare(photo, SIZE, mode), prepare(photo.brushed(EVERY), SIZE, mode)
    wanted = paint(np.asarray(plain.crop), read(EVERY))
    assert (np.asarray(brushed.crop) == wanted).all()
    again = prepare(load_image(wanted), SIZE, "resize")
    assert (again.tensor == brushed.tensor).all()


def test_a_brushed_photo_is_another_photo() -> None:
    photo = load_image(noise(64, 64))
    brushed = photo.brushed(EVERY[:2])
    assert photo.brushed([]) is photo
    assert brushed.sha256 != photo.sha256
    assert brushed.brushed(EVERY[2:]).strokes == photo.brushed(EVERY).strokes
    assert brushed == photo.brushed(to_url(read(EVERY[:2])))
    with pytest.raises(ValueError, match="more than 32 strokes"):
        brushed.brushed(EVERY[:1] * 31)


def test_the_sharp_photo_is_painted_in_the_same_places() -> None:
    photo = load_image(np.full((400, 400, 3), 200, np.uint8)).brushed(
        {"how": "dataset", "rect": [0, 0, 500, 500]}
    )
    prepared = prepare(photo, 64, "resize")
    sharp = np.asarray(original(photo, prepared))
    times = len(sharp) // 64
    assert times > 1
    assert (sharp[: 32 * times, : 32 * times] == (124, 116, 104)).all()
    assert (sharp[32 * times :] == 200).all()


def test_a_model_sees_the_painted_pixels_and_the_trace_says_so(tiny_model: Any) -> None:
    model, photo = tiny_model(), load_image(noise(70, 70))
    brushed = photo.brushed(EVERY)
    trace = inspect(brushed, model, 64, mode="resize")
    assert trace.settings["strokes"] == to_url(read(EVERY))
    assert "strokes" not in inspect(photo, model, 64).settings
    pixels = Image.fromarray(paint(np.asarray(prepare(photo, 64, "resize").crop), read(EVERY)))
    assert (inspect(pixels, model, 64, mode="resize").logits == trace.logits).all()
    assert (inspect(photo, model, 64, mode="resize").logits != trace.logits).any()


def test_what_a_gallery_photo_shows_is_not_known_once_it_is_painted() -> None:
    photo = load_image("gallery:german-shepherd")
    assert recognised(photo.sha256) is not None
    assert recognised(photo.brushed(EVERY[:1]).sha256) is None


def test_a_detector_refuses_strokes_instead_of_leaving_them_out() -> None:
    with pytest.raises(ValueError, match="the photo has strokes"):
        explain(load_image(noise(64, 64)).brushed(EVERY))
