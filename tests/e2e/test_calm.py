"""Pages change calmly: nothing in sight is pushed aside; sections open from link and keyboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from cfviz.words import translator
from tests.conftest import App, settle, soon

pytestmark = pytest.mark.browser
Open = Callable[..., Any]

MOST = 0.1  # of layout shift: "good" by the definition of Core Web Vitals
HEIGHT = "document.querySelector('[data-testid=stMain]').scrollHeight"
WATCH = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (!entry.hadRecentInput) window.shifts.push([entry.startTime, entry.value]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


def shift(page: Any) -> float:
    """The cumulative layout shift so far: the worst burst of at most 5 s without a pause of 1 s."""
    worst = burst = 0.0
    start = last = -1e9
    for when, value in page.evaluate("window.shifts"):
        if when - last > 1000 or when - start > 5000:
            start, burst = when, 0.0
        burst, last = burst + value, when
        worst = max(worst, burst)
    return worst


def test_another_photo_pushes_nothing_aside(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en"))
    page.evaluate(WATCH)
    page.get_by_role("radio", name="Lemurs").click()
    settle(page)
    page.wait_for_timeout(300)
    assert shift(page) < MOST


def test_colours_that_come_later_push_no_part_of_the_lab_aside(app: App, open_page: Open) -> None:
    """Measured before: 0.22 with every photo."""
    page = open_page(app.url("lab", lang="en", photo="german-shepherd"))
    scale = page.locator(".lab .legend i")
    scale.wait_for(timeout=120_000)  # every part is measured
    page.evaluate(WATCH)
    page.locator(".st-key-w-photo input").click()
    page.get_by_role("option", name="Lemurs").click()
    expect(scale).to_have_count(0)
    scale.wait_for(timeout=120_000)
    page.wait_for_timeout(300)
    assert shift(page) < MOST


def test_what_follows_a_detectors_first_answer_comes_by_itself_and_keeps_its_place(
    app: App, open_page: Open
) -> None:
    """Of two questions that the page asked at once, Streamlit's browser code sent one."""
    page = open_page(app.url("dense", lang="en", photo="lemurs"), width=390, height=844)
    told = "root => [root.figure.answer.pending.length, root.figure.answer.views.length > 1]"
    figure = page.locator(".dn[data-ready]:not([data-waits])")
    for photo in ("", "German shepherd"):
        if photo:
            settle(page)
            page.evaluate(WATCH)
            page.get_by_role("radio", name=photo).click()
        figure.wait_for(timeout=120_000)
        assert figure.evaluate(told) == [0, True]
        soon(page, lambda: figure.evaluate("root => root.figure.reasons.size > 0"), True)
    page.wait_for_timeout(300)
    assert shift(page) < MOST


def test_the_first_photo_has_its_place_while_it_is_decoded(app: App, open_page: Open) -> None:
    """The figure below it moved up and down again with each other photo: 0.20 on a phone."""
    page = open_page(app.url(lang="en"), width=390, height=844)
    image = page.locator(".whole .frame img")
    image.wait_for(timeout=60_000)
    height = "image => image.parentElement.getBoundingClientRect().height"
    drawn = image.evaluate(height)
    image.evaluate("image => image.removeAttribute('src')")
    assert drawn > 300
    assert image.evaluate(height) == drawn


def test_the_figure_of_a_step_keeps_its_place_while_it_is_made_anew(app: App, open_page: Open) -> None:
    """Another photo let the question below it jump up and down again: 0.21 on a phone."""
    page = open_page(app.url("learn", lang="en"), width=390, height=844)
    figure = page.locator(".st-key-cf-figure > :first-child")
    figure.locator(".cf[data-ready]").wait_for(timeout=60_000)
    kept, whole = figure.evaluate("place => [getComputedStyle(place).minHeight, place.offsetHeight]")
    assert 0.9 * whole < float(kept.removesuffix("px")) <= whole


def test_a_section_opens_from_the_keyboard_and_from_its_link(app: App, open_page: Open) -> None:
    page, t = open_page(app.url("position_bias", lang="en")), translator("en")
    made = page.locator("summary").filter(has_text=t("position_bias.made_title"))
    made.wait_for()
    expect(page.locator(".pb[data-ready]")).to_have_count(1)  # what is in a closed section is not sent
    made.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**open=made**")
    expect(page.locator(".pb")).to_have_count(2)
    expect(page.locator(".pb-place")).to_have_text("Stage 2, block 1 (SDA), head 1")
    page.reload()
    expect(page.locator(".pb")).to_have_count(2)
    settle(page)
    made.focus()
    page.keyboard.press("Space")
    expect(page.locator(".pb")).to_have_count(1)
    page.wait_for_function("!location.search.includes('open=')")


def test_on_a_phone_choices_and_overview_are_one_touch_away(app: App, open_page: Open) -> None:
    """The page was 4,180 px tall with its sections closed."""
    page = open_page(app.url("position_bias", lang="en"), width=390, height=844)
    page.locator(".pb[data-ready]").wait_for()
    assert page.evaluate(HEIGHT) < 3600
    for button, inside in (("How it is drawn", ".pb .bar .seg"), ("Every head of every block", ".pb-all")):
        for seen in (False, True, False):
            expect(page.locator(inside).first).to_be_visible(visible=seen)
            page.get_by_role("button", name=button).click()
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(page.get_by_role("button", name="How it is drawn")).to_be_hidden()
    expect(page.locator(".pb .bar .seg").first).to_be_visible()
    expect(page.locator(".pb-all")).to_be_visible()
