"""The brush of the lab: painting changes the prediction, undoing brings back the very same numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from cfviz.data.brush import paint, read
from cfviz.data.images import load_image, prepare
from cfviz.run import inspect
from cfviz.words import translator
from tests.conftest import settle, soon

pytestmark = pytest.mark.browser
SIZE = 64
PHOTO = "gallery:german-shepherd"


@pytest.fixture
def page(app: Any, open_page: Any) -> Any:
    opened = open_page(app.url("lab", lang="en", size=SIZE, photo="german-shepherd", open="brush", do="none"))
    opened.locator(".br[data-ready]").wait_for(timeout=60_000)
    return opened


def logits(page: Any) -> dict[str, float]:
    """The logits that the figure shows, by class, once the answer to the latest stroke is there."""
    page.locator(".br:not([data-waits])").wait_for(timeout=30_000)
    rows = page.locator(".br-rows tbody tr")
    return {
        row.locator("th").inner_text(): float(row.locator("[data-logit]").get_attribute("data-logit"))
        for row in rows.all()
    }


def wanted(strokes: str) -> dict[str, float]:
    trace = inspect(load_image(PHOTO).brushed(strokes), size=SIZE)
    names = [label.split(",")[0] for label in trace.labels]
    return dict(zip(names, map(float, trace.logits), strict=True))


def stroke_of(page: Any) -> str:
    return str(page.evaluate("new URLSearchParams(location.search).get('brush')"))


def test_painting_changes_the_prediction_and_undoing_restores_it(page: Any) -> None:
    before = logits(page)
    canvas = page.locator(".br-left canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + box["height"] / 2, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(r"brush=mean-150-500\.\d+-500\.\d+(&|$)"), timeout=30_000)
    link, after = stroke_of(page), logits(page)
    assert after != before
    plain = wanted(link)
    assert after == pytest.approx({name: plain[name] for name in after}, abs=1e-4)
    shown = page.locator(".br").evaluate(
        """(root) => {
          const { photo } = root.figure;
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [photo.width, photo.height];
          const pen = canvas.getContext('2d');
          pen.drawImage(photo, 0, 0);
          return [...pen.getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
    )
    pixels = np.array(shown, np.uint8).reshape(SIZE, SIZE, 4)[..., :3]
    crop = np.asarray(prepare(load_image(PHOTO), SIZE).crop)
    assert (pixels == paint(crop, read(link))).all()

    page.locator(".br").get_by_role("button", name="Undo").click()
    page.wait_for_url("**brush=none*", timeout=30_000)
    assert logits(page) == before
    canvas.press("Control+y")
    page.wait_for_url(f"**brush={link}*", timeout=30_000)
    assert logits(page) == after
    page.locator(".br").get_by_role("button", name="Clear").click()
    page.wait_for_url("**brush=none*", timeout=30_000)
    assert logits(page) == before


def test_undoing_is_not_taken_back_by_a_click_that_came_with_the_link_of_before(
    app: Any, open_page: Any
) -> None:
    """The browser learns of a new link late on a slow line or a busy machine; the stroke came back."""
    page, held, line = open_page(app.url("learn", room="test", lang="en")), [], {}

    def route(socket: Any) -> None:
        server = line["server"] = socket.connect_to_server()
        socket.on_message(server.send)
        server.on_message(lambda told: held.append(told) if "late" in line else socket.send(told))
        line["socket"] = socket

    page.route_web_socket(re.compile("_stcore/stream"), route)
    page.goto(app.url("lab", lang="en", size=SIZE, photo="german-shepherd", open="brush", do="none"))
    page.locator(".br[data-ready]").wait_for(timeout=60_000)
    canvas = page.locator(".br-left canvas")
    canvas.press("Enter")
    page.wait_for_url("**brush=mean-rect*", timeout=30_000)
    page.locator(".br:not([data-waits])").wait_for()
    settle(page)
    line["late"] = True
    canvas.press("Control+z")
    soon(
        page, lambda: any(b"brush=none" in told for told in held), True
    )  # undone; nobody has told the browser
    page.get_by_role("button", name=translator("en")("common.view_input")).click()
    soon(page, lambda: any(b"pixels=input" in told for told in held), True)
    del line["late"]
    for told in held:
        line["socket"].send(told)
    page.wait_for_url("**pixels=input*", timeout=30_000)
    assert stroke_of(page) == "none"
    page.locator(".br:not([data-waits])").wait_for()
    undo, redo = (page.locator(".br").get_by_role("button", name=name) for name in ("Undo", "Redo"))
    expect(undo).to_be_disabled()
    redo.click()
    page.wait_for_url("**brush=mean-rect*", timeout=30_000)
    expect(redo).to_be_disabled()
    page.keyboard.press("Control+z")  # it kept the keyboard
    page.wait_for_url("**brush=none*", timeout=30_000)


def test_the_keyboard_paints_rectangles_and_copies(page: Any) -> None:
    canvas = page.locator(".br-left canvas")
    canvas.focus()
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Enter"):
        canvas.press(key)
    page.wait_for_url("**brush=mean-rect-325.325-650.625*", timeout=30_000)
    before = logits(page)
    canvas.press("Enter")  # where everything is erased already: no pixel changes, and nothing stays marked
    page.wait_for_url("**_mean-rect-325.325-650.625*", timeout=30_000)
    assert logits(page) == before
    page.locator(".br").get_by_role("radio", name="Copy from").click()
    expect(page.locator(".br-said")).to_contain_text("First press the place")
    canvas.focus()
    canvas.press("Enter")  # the rectangle's corner is the source
    canvas.press("ArrowDown")
    canvas.press("Enter")
    page.wait_for_url("**_copy-rect-325.325-325.350-650.650*", timeout=30_000)
    found, plain = logits(page), wanted(stroke_of(page))
    assert found == pytest.approx({name: plain[name] for name in found}, abs=1e-4)
    assert canvas.evaluate("(one) => one.getRootNode().activeElement === one")


def test_a_link_with_forged_strokes_is_refused_with_a_sentence(app: Any, open_page: Any) -> None:
    page = open_page(app.url("lab", lang="en", size=SIZE, brush="mean-60-5000.1", do="none"))
    expect(page.get_by_text("The strokes in the link could not be used")).to_contain_text("path has")
    page.locator(".br[data-ready]").wait_for(timeout=60_000)
    assert len(logits(page)) >= 4
