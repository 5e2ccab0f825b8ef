"""A lesson in a browser, done by pointing and by keyboard; progress survives a reload."""

from __future__ import annotations

import json
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect

from cfviz.lessons import load_lessons
from cfviz.models import create_model
from tests.conftest import settle
from tests.e2e.test_accessibility import violations

pytestmark = pytest.mark.browser

MAP = ".cf[data-lesson] .map"
ALL = len(load_lessons().places())


def rest(page: Any) -> None:
    """Wait until a click has been to the server and back."""
    page.wait_for_timeout(250)
    settle(page)


def point(page: Any, row: int, col: int, side: int = 8) -> None:
    """Click a token of the map."""
    over = page.locator(f"{MAP} canvas.over")
    box = over.bounding_box()
    over.click(position={"x": (col + 0.5) * box["width"] / side, "y": (row + 0.5) * box["height"] / side})
    rest(page)


def check(page: Any) -> str:
    page.locator(".st-key-learn-check button").click()
    verdict = page.locator('.st-key-cf-ask [data-testid="stAlert"]')
    verdict.wait_for(timeout=30_000)
    return str(verdict.inner_text())


def onward(page: Any) -> None:
    page.locator(".st-key-learn-next button").click()
    rest(page)


def test_a_lesson_can_be_done_by_pointing_and_by_keyboard(app: Any, open_page: Any) -> None:
    page = open_page(app.url("learn", lang="en", photo="cat", size=160, lesson=2, step=1))
    page.locator(MAP).wait_for(timeout=60_000)
    point(page, 3, 3)
    point(page, 2, 4)
    point(page, 2, 4)  # a second click unpicks it
    point(page, 4, 4)
    page.get_by_text("Picked (row, column): (3, 3), (4, 4)").wait_for(timeout=30_000)
    assert "2 of its 4 neighbours" in check(page)
    onward(page)

    page.get_by_text("Long distance attention", exact=True).wait_for(timeout=30_000)
    page.locator(MAP).focus()  # from the ringed token (1, 2), by keyboard alone
    for key in ("ArrowRight",) * 4 + ("Enter",) + ("ArrowDown",) * 4 + ("Enter",):
        page.keyboard.press(key)
    page.get_by_text("Picked (row, column): (1, 6), (5, 6)").wait_for(timeout=30_000)
    assert page.locator(".cf .live").text_content() == "Row 5, column 6: picked. 2 picked in all"
    page.locator(".st-key-learn-check button").focus()
    page.keyboard.press("Enter")
    page.get_by_text("1 of the 3 are still missing").wait_for(timeout=30_000)
    focused = "() => Boolean(document.activeElement?.closest('.st-key-learn-next'))"
    page.wait_for_function(focused, timeout=10_000)
    marks = page.locator(".cf").evaluate("(root) => root.figure.test.what.right")
    assert marks == ["1.6", "5.2", "5.6"]
    onward(page)

    page.get_by_text("64", exact=True).click()
    rest(page)
    assert "Yes, 64" in check(page)
    onward(page)

    page.locator(".cf .head").nth(1).click()
    rest(page)
    expect(page.locator('.st-key-cf-ask input[type="radio"]').nth(1)).to_be_checked()
    assert "pixels" in check(page)
    page.evaluate(AXE_SCRIPT)
    assert violations(page) == []

    kept = json.loads(page.evaluate("localStorage.getItem('cfviz.lessons')"))["first"]
    assert len(kept) == 4
    assert [kept[f"near_far.{step}"] for step in ("border", "lattice", "two_blocks")] == [1, 0, 1]
    page.reload()
    settle(page)
    right = sum(kept.values())
    page.get_by_role("button", name=f"{right} of {ALL} right").wait_for(timeout=30_000)
    other = open_page(
        app.url("learn", lang="en", photo="cat", size=160)
    )  # another student on the same server
    other.get_by_role("button", name=f"0 of {ALL} right").wait_for(timeout=30_000)


@pytest.mark.parametrize("model", ["crossformer_nano", "crossformer_pp_small"])
def test_the_window_grows_only_with_the_answer(app: Any, open_page: Any, model: str) -> None:
    """The window is square, as large as the sentences say, and shows no share while the question is open."""
    page = open_page(app.url("learn", lang="en", photo="cat", size=160, model=model, lesson=4, step=4))
    trained = create_model(model, weights="bundled" if "nano" in model else None).trained_group[
        1
    ]  # the step is about stage 2
    page.locator(".pb[data-lesson='ask'][data-ready]").wait_for(timeout=120_000)
    window = "(root) => [root.figure.state.Gh, root.figure.state.Gw]"
    assert page.locator(".pb").evaluate(window) == [trained, trained]
    assert not page.locator(".pb > .note").is_visible()
    share = round(100 * (1 - (2 * trained - 1) ** 2 / (4 * trained - 1) ** 2))
    page.locator(".st-key-cf-ask").get_by_text(f"{share}\u00a0%", exact=True).click()
    rest(page)
    assert f"Yes, {share}" in check(page)
    page.locator(".pb[data-lesson='told']").wait_for(timeout=30_000)
    assert page.locator(".pb").evaluate(window) == [2 * trained, 2 * trained]
    said = f"at most {trained} × {trained} in training: {share} %"
    page.locator(".pb > .note").get_by_text(said).wait_for(timeout=30_000)


def test_a_lesson_fills_the_screen_and_its_sandbox_links_back(app: Any, open_page: Any) -> None:
    page = open_page(app.url("learn", lang="en", photo="cat", size=160, lesson=1, step=3))
    page.locator(MAP).wait_for(timeout=60_000)
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("() => document.fullscreenElement && location.search.includes('present=1')")
    rest(page)
    expect(page.locator('[data-testid="stSidebar"]')).to_be_hidden()
    page.keyboard.press("PageDown")
    page.wait_for_function("() => location.search.includes('step=4')", timeout=30_000)
    page.get_by_role("button", name="Leave full screen").click()
    page.wait_for_function("() => !document.fullscreenElement && !location.search.includes('present')")
    rest(page)
    expect(page.locator('[data-testid="stSidebar"]')).to_be_visible()
    page.get_by_text("Explore freely: Grouping tokens").click()
    page.wait_for_url("**/grouping?*", timeout=30_000)
    assert "photo=cat" in page.url
    page.get_by_text("Back to lesson 1, step 4").click()
    page.wait_for_url("**/learn?*step=4*", timeout=30_000)
    page.get_by_text("What a window saves").wait_for(timeout=30_000)


def test_the_board_of_a_lesson_follows_its_question(app: Any, open_page: Any) -> None:
    """On a phone; measured before: 94 px of nothing above it."""
    page = open_page(app.url("learn", lang="en", photo="cat", size=160, lesson=5, step=2), 390, 844)
    page.locator(".lab.quiz .stages").wait_for()
    board, parts = (page.locator(f".lab.quiz{inside}").bounding_box() for inside in ("", " .stages"))
    assert parts["y"] - board["y"] < 8


def test_the_self_test_survives_a_reload(app: Any, open_page: Any) -> None:
    page = open_page(app.url("learn", lang="en", room="test", set="reload"))
    page.locator(".st-key-selftest-begin-before button").click()
    page.get_by_text("question 1 of 10").wait_for(timeout=60_000)
    shown = page.locator(".st-key-cf-test .cf-still").evaluate(
        "(one) => [one.complete, one.naturalWidth > 0]"
    )
    assert shown == [True, True]
    assert "the ring is in row" in page.locator(".st-key-cf-test .cf-still").get_attribute("alt").lower()
    page.evaluate(AXE_SCRIPT)
    assert violations(page) == []
    page.locator(".st-key-cf-test-ask").get_by_text("I do not know").click()
    rest(page)
    page.locator('.st-key-cf-test-ask [data-testid="stButton"] button').click()
    page.get_by_text("question 2 of 10").wait_for(timeout=30_000)
    page.reload()
    page.get_by_text("question 2 of 10").wait_for(timeout=60_000)
    assert page.locator(".st-key-cf-test-ask input:checked").count() == 0
