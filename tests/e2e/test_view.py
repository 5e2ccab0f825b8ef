"""The tools beside the title: what photos are drawn from, and the whole screen for a presenter."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from cfviz.words import translator
from tests.conftest import App, settle, soon

pytestmark = pytest.mark.browser
Open = Callable[..., Any]

DRAWN = """() => {
  const inside = (root) => {
    for (const one of root.querySelectorAll("*")) {
      const found = one.figure ?? (one.shadowRoot && inside(one.shadowRoot));
      if (found) return found;
    }
  };
  return inside(document)?.photo?.width ?? 0;
}"""


def test_photos_are_drawn_from_the_original_or_from_the_input(app: App, open_page: Open) -> None:
    page, t = open_page(app.url("attention", lang="en", photo="german-shepherd")), translator("en")
    soon(page, lambda: page.evaluate(DRAWN), 3 * 224)  # the photo is 768 x 576 px
    page.get_by_role("button", name=t("common.view_input")).click()
    soon(page, lambda: page.evaluate(DRAWN), 224)
    page.wait_for_url("**pixels=input**")
    page.get_by_role("link", name=t("common.page_embedding")).click()
    page.get_by_role("heading", level=1, name=t("embedding.title")).wait_for()
    settle(page)
    soon(page, lambda: page.evaluate(DRAWN), 224)
    page.get_by_role("button", name=t("common.view_input")).click()
    soon(page, lambda: page.evaluate(DRAWN), 3 * 224)


OUTSIDE = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  const wide = [...document.querySelectorAll("[data-cf-figure]:not([data-cf-away])")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.left < 0 || box.right > innerWidth || box.width < innerWidth / 2;
  });
  return [main.scrollWidth - main.clientWidth, main.scrollHeight - main.clientHeight, wide.length];
}"""


def press(page: Any, key: str) -> None:
    """Press a key once the page hears it."""
    page.get_by_role("button", name=translator("en")("common.view_leave")).wait_for()
    settle(page)
    if key:
        page.keyboard.press(key)


def test_a_presenter_turns_the_pages_and_nothing_is_cut(app: App, open_page: Open) -> None:
    page, t = open_page(app.url(lang="en", size=160), width=1280, height=720), translator("en")
    page.get_by_role("button", name=t("common.view_full"), exact=True).click()
    page.wait_for_function("document.fullscreenElement && location.search.includes('present=1')")
    page.locator(".whole .photo").wait_for()
    expect(page.locator(".whole .stages")).to_be_hidden()
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    expect(page.get_by_text(t("home.lede"))).to_be_hidden()
    size = page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)")
    assert size >= 18
    press(page, "PageDown")
    expect(page.locator(".whole .stages")).to_be_visible()
    expect(page.locator(".whole .photo")).to_be_hidden()
    press(page, "PageDown")
    page.get_by_role("heading", level=1, name=t("learn.title")).wait_for()
    turned(page)
    press(page, "PageDown")
    page.wait_for_url("**step=2**")
    page.goto(page.url.replace("/learn?", "/predict?"))  # past the other steps
    page.get_by_role("heading", level=1, name=t("predict.title")).wait_for()
    press(page, "PageDown")
    page.get_by_role("heading", level=1, name=t("grouping.title")).wait_for()
    press(page, "PageUp")
    page.get_by_role("heading", level=1, name=t("predict.title")).wait_for()
    assert "present=1" in page.url
    press(page, "Escape")
    page.wait_for_function("!location.search.includes('present')")
    expect(page.get_by_test_id("stSidebar")).to_be_visible()


def turned(page: Any) -> int:
    """Go through all views of a page or a step, each of which must fit; return how many there are."""
    place = page.locator(".tools .place")
    for _ in range(20):
        settle(page)
        soon(page, lambda: page.evaluate(OUTSIDE)[:2], [0, 0])
        found = re.search(r"View (\d+) of (\d+)", place.inner_text())
        if found is None or found[1] == found[2]:
            return int(found[2]) if found else 1
        press(page, "PageDown")
    raise AssertionError("there is no end")


PARTS = """() => ["say", "figure", "ask"].filter((one) => {
  const part = document.querySelector(`.st-key-cf-${one}`);
  return part && getComputedStyle(part.parentElement).display !== "none";
})"""


def test_a_step_that_is_too_high_for_a_projector_is_divided(app: App, open_page: Open) -> None:
    """Measured before: 79 to 453 px to scroll; and 133 px once this question was answered."""
    page = open_page(app.url("learn", lang="en", present=1, lesson=5, step=4), width=1280, height=720)
    page.locator(".dn[data-ready]").wait_for(state="attached", timeout=60_000)
    soon(page, lambda: page.evaluate(PARTS), ["say", "ask"])
    assert turned(page) == 2
    assert page.evaluate(PARTS) == ["figure"]
    press(page, "PageDown")
    page.wait_for_url("**step=5**")
    page.goto(app.url("learn", lang="en", present=1, lesson=2, step=3))
    settle(page)
    soon(page, lambda: page.evaluate(PARTS), ["say", "figure", "ask"])
    page.get_by_test_id("stRadioOption").first.click()
    page.locator(".st-key-learn-check button").click()
    page.locator('.st-key-cf-ask [data-testid="stAlert"]').wait_for()
    soon(page, lambda: page.evaluate(PARTS), ["figure", "ask"])  # the verdict is in sight
    soon(page, lambda: page.evaluate(OUTSIDE)[:2], [0, 0])


def test_what_is_in_open_sections_is_shown_view_by_view(app: App, open_page: Open) -> None:
    """A presenter saw no chart of a section, and had to scroll by up to 1,431 px."""
    link = app.url("position_bias", lang="en", present=1, open="made.learning")
    page = open_page(link, width=1280, height=720)
    page.locator(".pb").nth(2).wait_for(state="attached", timeout=60_000)
    assert turned(page) == 3 + 2 + 3
    page.goto(app.url("attention", lang="en", present=1, open="heads"))
    page.locator('[data-cf-figure] [data-testid="stDataFrame"]').wait_for(state="attached", timeout=60_000)
    assert turned(page) == 3 + 2
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    expect(page.get_by_test_id("stPlotlyChart")).to_be_hidden()
