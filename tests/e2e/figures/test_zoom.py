"""A photo that is enlarged: where a token is drawn, pointing finds it, with mouse, keys and two fingers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cfviz import point_names
from cfviz.figures.live import compare, embedding
from cfviz.geometry.schemes import swin
from cfviz.measured import cel
from cfviz.models.probes.embedding import layer
from cfviz.run import inspect
from cfviz.ui.pages.embedding.subject import WATCH
from cfviz.web import COMPARE, EMBEDDING
from cfviz.words import figure_words
from tests.e2e.figures.conftest import alone

pytestmark = pytest.mark.browser
POINTED = """([x, y]) => {
  const figure = document.querySelector(".cf").figure;
  const { row, col } = figure.state;
  if (figure.plane) {
    const { plane, cel } = figure;
    const side = cel.stride * plane.zoom;
    const [left, top] = [plane.across(col * cel.stride), plane.down(row * cel.stride)];
    return [(x * plane.over.width - left) / side, (y * plane.over.height - top) / side];
  }
  const side = figure.sides[1];
  const left = col * side.cell - side.corner[0];
  const top = row * side.high - side.corner[1];
  return [(x * side.over.width - left) / side.cell, (y * side.over.height - top) / side.high];
}"""
PINCH = """(over) => {
  const box = over.getBoundingClientRect();
  const send = (type, pointerId, x, y) => over.dispatchEvent(new PointerEvent(type, {
    pointerId, pointerType: "touch", bubbles: true, buttons: 1,
    clientX: box.x + x * box.width, clientY: box.y + y * box.height,
  }));
  send("pointerdown", 1, 0.4, 0.5);
  send("pointerdown", 2, 0.6, 0.5);
  send("pointermove", 1, 0.2, 0.5);
  send("pointermove", 2, 0.8, 0.5);
  send("pointerup", 1, 0.2, 0.5);
  send("pointerup", 2, 0.8, 0.5);
}"""


@pytest.fixture
def embedded(tiny_model: Callable[..., Any]) -> tuple[Any, bytes]:
    photo = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    model = tiny_model()
    trace = inspect(photo, model, (96, 128), watch=WATCH)
    parts = [cel(layer(model, s), trace[point_names.embedding(s)]) for s in range(4)]
    words = figure_words("embedding")
    return EMBEDDING, embedding.pack(parts, photo=trace.crop, strings=words, start={"row": 3, "col": 5})


@pytest.fixture
def compared() -> tuple[Any, bytes]:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    layers = [compare.Layer("Swin", swin(24, 32, 4, shift), None, 0, 0, ["Block 1"], "") for shift in (0, 2)]
    start = {"row": 3, "col": 5, "held": False, "tour": False}
    return COMPARE, compare.pack(layers, photo=photo, stage=0, strings=figure_words("compare"), start=start)


@pytest.fixture(params=["embedded", "compared"])
def opened(request: pytest.FixtureRequest, opened_file: Callable[..., Any]) -> Any:
    html = alone(*request.getfixturevalue(request.param))
    return opened_file(html, width=1280, reduced_motion="reduce")


def check(page: Any) -> None:
    """Point at three places; each is within the token that the figure then shows."""
    over = page.locator(".map .over").last
    box = over.bounding_box()
    for x, y in ((0.31, 0.3), (0.52, 0.48), (0.66, 0.71)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        off = page.evaluate(POINTED, [x, y])
        assert all(-0.1 <= share <= 1.1 for share in off), f"the token is drawn elsewhere: {off}"


def test_an_enlarged_photo_points_at_what_it_draws(opened: Any) -> None:
    seen = opened.locator(".cf .zoom button").nth(1)
    over = opened.locator(".map .over").last
    over.scroll_into_view_if_needed()
    check(opened)
    opened.locator(".cf .zoom button").nth(2).click()
    opened.locator(".cf .zoom button").nth(2).click()
    assert seen.inner_text() == "2.3×"
    over.scroll_into_view_if_needed()
    check(opened)
    box = over.bounding_box()
    middle = box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"]
    before = opened.evaluate("document.querySelector('.cf').figure.zoom.left")
    opened.mouse.move(*middle)
    opened.mouse.down()
    opened.mouse.move(middle[0] - 60, middle[1])
    opened.mouse.up()
    assert opened.evaluate("document.querySelector('.cf').figure.zoom.left") > before
    assert opened.evaluate("!document.querySelector('.cf').figure.state.held"), "a drag is no click"
    check(opened)


def test_keys_enlarge_and_bring_the_token_into_sight(opened: Any) -> None:
    seen = opened.locator(".cf .zoom button").nth(1)
    opened.locator(".map").last.focus()
    for _ in range(4):
        opened.keyboard.press("+")
    assert seen.inner_text() == "5.1×"
    for _ in range(40):
        opened.keyboard.press("ArrowLeft")
        opened.keyboard.press("ArrowUp")
    assert opened.evaluate("(({ left, top }) => [left, top])(document.querySelector('.cf').figure.zoom)") == [
        pytest.approx(0, abs=0.12), pytest.approx(0, abs=0.12),
    ]  # fmt: skip
    opened.keyboard.press("0")
    assert seen.inner_text() == "1×"


def test_two_fingers_enlarge(opened: Any) -> None:
    opened.locator(".map .over").last.evaluate(PINCH)
    assert opened.locator(".cf .zoom button").nth(1).inner_text() == "3×"
