"""The figure of detectors and segmenters in a browser: what it shows is in its message, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from cfviz.figures.live import dense
from cfviz.geometry import grouping
from cfviz.words import figure_words, named

pytestmark = pytest.mark.browser
SIZE, INPUT = (64, 90), (64, 96)
BOXES = np.array([[4.0, 4, 60, 60], [20, 20, 40, 40], [62, 10, 88, 50]])
SCORES = np.array([0.8, 0.6, 0.4])
RUN = "run({ parentElement, data });"


def stages() -> list[list[Any]]:
    return [
        [grouping("sda", 64 // s, 96 // s, 2), grouping("lda", 64 // s, 96 // s, 2, 1)]
        for s in (4, 8, 16, 32)
    ]


def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return Image.fromarray(pixels).resize((180, 128))


def detected() -> dense.Answer:
    whole = dense.View(None, np.array([0, 1, 0]), BOXES, SCORES, np.array([2, 0, 1]), np.arange(3))
    less = dense.View(
        3, np.array([1, 2]), BOXES[1:], np.array([0.7, 0.5]), np.array([0, 0]), np.array([1, -1])
    )
    levels = [("P3", 8), ("P4", 16), ("P5", 32)]
    names = ["cat", "dog", "boat"]
    return dense.Answer(
        "detect", photo(), SIZE, INPUT, names, stages(), [1, 1, 2, 2], levels, [whole, less]
    )  # fmt: skip


def segmented() -> dense.Answer:
    labels = np.zeros(SIZE, int)
    labels[:32, :40] = 1
    likely = np.stack([labels, 1 - labels, labels * 0 + 2])
    probs = np.stack([np.full(SIZE, p, np.float32) for p in (0.75, 0.2, 0.05)])
    which = np.zeros((16, 24), int)
    which[:8, :10] = 1
    whole = dense.Found(which, [0, 1], [0.79, 0.21])
    less = dense.Found(which * 0, [0], [1.0])
    return dense.Answer(
        "segment", photo(), SIZE, INPUT, ["ground", "dog", "boat"], stages(), [1, 1, 2, 2], [],
        [dense.View(None, labels, regions=whole), dense.View(0, labels * 0, regions=less)],
        0, (likely, probs),
    )  # fmt: skip


def reason(of: str, sign: float) -> dense.Reason:
    maps = [np.full((64 // s, 96 // s), sign * 0.1) for s in (4, 8, 16, 32)]
    heads = [[np.full(n, sign * (1 + b)) for b in range(2)] for n in (1, 1, 2, 2)]
    return dense.Reason(of, 2.5, maps, heads, np.ones((16, 24)))


@pytest.fixture
def figure(opened_file: Callable[..., Any]) -> Callable[..., Any]:
    """A function that opens an answer as an offline page, or as if it were served, and returns the page."""

    def show(answer: dense.Answer, *given: dense.Reason, served: bool = False, **start: Any) -> Any:
        packed = dense.pack(
            answer, strings=figure_words("dense"), start={"threshold": 0.3, **start}, source="s"
        )
        html = dense.html(packed, dense.reasons(given, source="s"), "test", [])
        if served:
            assert html.count(RUN) == 1
            html = html.replace(RUN, RUN.replace("data", "data, setStateValue() {}"))
        return opened_file(html, width=1200)

    return show


def point(page: Any, row: float, col: float) -> None:
    """Move the pointer to a pixel of the input."""
    box = page.locator(".dn-canvas").bounding_box()
    page.mouse.move(box["x"] + col / SIZE[1] * box["width"], box["y"] + row / SIZE[0] * box["height"])


def test_an_enlarged_photo_points_at_what_it_draws(figure: Callable[..., Any]) -> None:
    """Twice as large, a pixel is twice as far from the corner; a key brings what it chooses into sight."""
    page = figure(segmented())
    state = "(({ row, col }) => [row, col])(document.querySelector('.dn').figure.state)"
    seen = "(({ times, left, top }) => [times, left, top])(document.querySelector('.dn').figure.zoom)"
    page.evaluate("document.querySelector('.dn').figure.zoom.to(2, 0, 0)")
    box = page.locator(".dn-canvas").bounding_box()
    side = 2 * box["width"] / SIZE[1]
    page.mouse.click(box["x"] + 20.5 * side, box["y"] + 10.5 * side)
    assert page.evaluate(state) == [10, 20]
    colour = """([x, y]) => {
      const { canvas, ink, ratio } = document.querySelector('.dn').figure.pen;
      return [...ink.getImageData(x * ratio, y * ratio, 1, 1).data];
    }"""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    ring = page.evaluate(colour, [20.5 * side + 6, 10.5 * side])
    assert ring == [255, 255, 255, 255]  # of the pixel, where it was pointed at
    for _ in range(10):
        page.locator(".dn .map").press("ArrowRight")
    assert page.evaluate(state) == [10, 60]
    times, left, _ = page.evaluate(seen)
    assert left < 60.5 / SIZE[1] < left + 1 / times
    page.locator(".dn .map").press("0")
    assert page.evaluate(seen) == [1, 0, 0]


def test_pointing_threshold_and_stages_change_the_figure_in_the_browser(figure: Callable[..., Any]) -> None:
    page = figure(detected(), reason("box.0", 1), reason("box.1", -1))
    root, rows = page.locator(".dn"), page.locator(".dn-row")
    expect(rows).to_have_count(3)
    point(page, 30, 30)
    expect(root).to_have_attribute("data-label", "1")  # the smaller of two boxes
    expect(page.locator(".dn .value")).to_have_text("60.0 %")
    expect(page.locator(".dn .rank")).to_have_text("level P3, stride 8")
    expect(page.locator(".dn-effects b")).to_have_text(["70.0 %"])
    assert page.locator(".dn-head").count() == 12
    point(page, 30, 75)
    expect(root).to_have_attribute("data-reason", "no")
    expect(page.locator(".dn-where")).to_have_text("")
    point(page, 10, 10)
    expect(page.locator(".dn-effects b")).to_have_text(["lost"])
    expect(page.locator(".dn-heads-note")).to_contain_text("+2.00")
    page.locator('.dn input[type="range"]').fill("70")
    expect(rows).to_have_count(1)
    page.get_by_role("radio", name="without stage 4").click()
    expect(page.locator(".dn-changes")).to_contain_text(
        "Boxes at this threshold without stage 4: 1 (lost: 1, new: 1)"
    )
    page.locator('.dn input[type="range"]').fill("95")
    expect(page.locator(".dn .looks")).to_have_text("No box reaches the threshold.")


@pytest.mark.parametrize("width", [1200, 390])
def test_views_that_follow_are_awaited_in_their_place(opened_file: Callable[..., Any], width: int) -> None:
    answer, words = detected(), figure_words("dense")
    first = replace(answer, views=answer.views[:1], pending=[3])
    packed = dense.pack(first, strings=words, start={"threshold": 0.3, "box": 1}, source="s")
    page = opened_file(dense.html(packed, dense.reasons([], source="s"), "test", []), width=width)
    changes, without = page.locator(".dn-changes"), page.get_by_role("radio", name="without stage 4")
    expect(changes.locator("[role=status]")).to_have_text(words["change_wait"])
    expect(without).to_be_disabled()
    expect(page.locator(".dn-effects b")).to_have_text(["…"])
    tall = page.locator(".dn").evaluate("root => root.offsetHeight")
    later = list(dense.others(answer, source="s"))
    page.locator(".dn").evaluate("(root, bytes) => root.figure.join(Uint8Array.from(bytes))", later)
    expect(changes.locator("[role=status]")).to_have_text(words["change_none"])
    expect(page.locator(".dn-effects b")).to_have_text(["70.0 %"])
    assert page.locator(".dn").evaluate("root => root.offsetHeight") == tall
    without.click()
    expect(page.locator(".dn-name")).to_have_text(["dog", "boat"])
    expect(changes).to_contain_text("lost: 2, new: 1")


def test_the_list_is_sorted_and_the_keyboard_walks_through_it(figure: Callable[..., Any]) -> None:
    page = figure(detected(), reason("box.2", 1))
    names = page.locator(".dn-name")
    expect(names).to_have_text(["cat", "dog", "cat"])
    page.get_by_role("radio", name="class").click()
    expect(names).to_have_text(["cat", "cat", "dog"])
    page.get_by_role("radio", name="size").click()
    page.locator(".dn .map").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    state = page.locator(".dn").evaluate("root => root.figure.state")
    assert (state["box"], state["held"]) == (2, True), "the second in size"
    page.get_by_role("radio", name="tokens, stage 2").click()
    expect(page.locator(".dn .legend")).to_be_visible()
    expect(page.locator(".dn .legend")).to_contain_text("+0.10")
    page.locator(".dn .map").focus()
    page.keyboard.press("Escape")
    expect(page.locator(".dn .looks")).to_have_text(figure_words("dense")["point_box"])


def test_a_pixel_shows_its_classes_and_its_region(figure: Callable[..., Any]) -> None:
    page = figure(segmented(), reason("region.1", 1), reason("pixel.40.70", -1))
    point(page, 10, 10)
    expect(page.locator(".dn .value")).to_have_text("75.0 %")
    expect(page.locator(".dn .looks")).to_have_text("dog; next ground 20.0 % · boat 5.0 %")
    expect(page.locator(".dn-effects b")).to_have_text(["ground"])
    expect(page.locator(".dn")).to_have_attribute("data-reason", "yes")
    words = figure_words("dense")
    expect(page.locator(".dn-where")).to_have_text(words["of_region"])
    page.locator(".dn").evaluate("root => root.figure.set({ row: 40, col: 70, held: true })")
    page.mouse.move(0, 0)
    expect(page.locator(".dn-where")).to_have_text(words["of_pixel"])
    page.get_by_role("radio", name="without stage 1").click()
    expect(page.locator(".dn-changes")).to_contain_text("22 % of the pixels")


def test_two_classes_that_begin_alike_are_told_apart_and_none_is_named_twice(
    figure: Callable[..., Any],
) -> None:
    names = named(["pepper, healthy", "pepper, spotted"])
    three = segmented()
    assert three.likely is not None
    first, probs = (one[:2] for one in three.likely)
    page = figure(replace(three, names=names, likely=(first, probs), ground=None))
    point(page, 10, 10)
    expect(page.locator(".dn .looks")).to_have_text("pepper, spotted; next pepper, healthy 20.0 %")
    expect(page.locator(".dn-effects b")).to_have_text(["pepper, healthy"])
    page.get_by_role("radio", name="without stage 1").click()
    point(page, 10, 12)
    expect(page.locator(".dn .value")).to_have_text("pepper, healthy")
    expect(page.locator(".dn-effects b")).to_have_text(["pepper, spotted", "pepper, healthy"])
    page = figure(replace(detected(), names=named(["cat", *names])), threshold=0.3)
    drawn = page.locator(".dn").evaluate("root => root.figure.answer.visible(0, 0.3).map("
                                         "(one) => root.figure.answer.short(one.label))")  # fmt: skip
    assert drawn == ["cat", "pepper, healthy", "cat"]


def test_a_segmenter_of_one_class_names_no_next(figure: Callable[..., Any]) -> None:
    """Its line ended in "; next"."""
    one = segmented()
    assert one.likely is not None
    first = one.likely[0][:1] * 0, one.likely[1][:1] * 0 + 1
    views = [replace(view, labels=view.labels * 0) for view in one.views]
    page = figure(replace(one, names=["road"], likely=first, views=views, ground=None))
    point(page, 10, 10)
    expect(page.locator(".dn .looks")).to_have_text("road")
    page.get_by_role("radio", name="without stage 1").click()
    point(page, 10, 12)
    alone = figure_words("dense")["pixel_alone_all"].format(name="road", p="100.0 %")
    expect(page.locator(".dn .looks")).to_have_text(alone)


def test_all_that_is_said_of_a_segmentation_follows_the_stages_in_use_or_says_which(
    figure: Callable[..., Any],
) -> None:
    """The list showed the regions found with all stages, beside a picture of those without one."""
    page, words = figure(segmented(), reason("region.1", 1)), figure_words("dense")
    expect(page.locator(".dn-name")).to_have_text(["ground", "dog"])
    page.get_by_role("radio", name="without stage 1").click()
    expect(page.locator(".dn-name")).to_have_text(["ground"])
    expect(page.locator(".dn-area")).to_have_text(["100 %"])
    page.locator(".dn").get_by_role("radio", name="ground").click()
    page.mouse.move(0, 0)
    assert page.locator(".dn").evaluate("root => root.figure.look().target.cells.length") == 16 * 24
    point(page, 10, 10)
    expect(page.locator(".dn .value")).to_have_text("ground")
    all_stages = words["pixel_class_all"].format(name="dog", p="75.0 %", others="ground 20.0 % · boat 5.0 %")
    expect(page.locator(".dn .looks")).to_have_text(all_stages)
    expect(page.locator(".dn-effects b")).to_have_text(["dog", "ground"])
    expect(page.locator(".dn-where")).to_have_text(words["of_region_all"].format(name="dog"))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Data (JSON)").click()
    told = json.loads(Path(saved.value.path()).read_text())
    assert told["found"] == [{"class": 0, "name": "ground", "share": 1}]


def test_a_click_is_asked_for_only_where_it_is_answered(figure: Callable[..., Any]) -> None:
    words = figure_words("dense")
    for served, asked in ((True, words["needs_click"]), (False, "")):
        page = figure(detected(), reason("box.0", 1), served=served, box=0, held=1)
        clicks = page.get_by_text(words["heads_click"])
        expect(clicks).to_have_count(int(served))
        point(page, 30, 75)
        expect(page.locator(".dn-where")).to_have_text(asked)
        page = figure(segmented(), reason("region.1", 1), served=served)
        point(page, 10, 10)
        of_region = words["of_region"] + (f" {words['click_pixel']}" if served else "")
        expect(page.locator(".dn-where")).to_have_text(of_region)
        expect(clicks).to_have_count(0)


def test_the_figure_is_saved_as_picture_vector_and_numbers(
    figure: Callable[..., Any], tmp_path: Path
) -> None:
    page = figure(detected(), reason("box.1", 1), box=1, held=1)
    for name, begins in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("Data (JSON)", b"{")):
        with page.expect_download() as saved:
            page.get_by_role("button", name=name, exact=True).click()
        data = Path(saved.value.path()).read_bytes()
        assert data.startswith(begins)
        if name == "Data (JSON)":
            told = json.loads(data)
            assert [one["score"] for one in told["found"]] == pytest.approx(SCORES)
            assert told["why"]["logit"] == 2.5
            assert told["threshold"] == 0.3
