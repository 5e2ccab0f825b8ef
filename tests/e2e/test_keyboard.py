"""The app by keyboard alone: the page's own controls and the figures are reached and operable."""

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

MOST_STOPS = 110  # presses of the tab key on one page
FOCUSED = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  if (!node || node === document.body) return { gone: true };
  const outlined = (one) => {
    const its = one && getComputedStyle(one);
    return its && its.outlineStyle !== "none" && parseFloat(its.outlineWidth) > 0;
  };
  const parent = node.parentElement;
  const box = node.closest("[data-testid$=Container], [data-testid$=RootElement]");
  const around = [node, parent, parent?.parentElement, box];
  return {
    name: (node.getAttribute("aria-label") || node.innerText || node.id || "").trim().slice(0, 60),
    role: node.getAttribute("role"), figure: node.getRootNode() !== document,
    own: node.closest("[data-testid]")?.dataset.testid,
    ring: around.some(outlined) || getComputedStyle(node).boxShadow !== "none",
  };
}"""


def stop(page: Any) -> dict[str, Any]:
    """The element that has the focus; "gone" beyond the end of the page."""
    return page.evaluate(FOCUSED)


def next_stop(page: Any) -> dict[str, Any]:
    """Press the tab key and return the element that gets the focus."""
    page.keyboard.press("Tab")
    return stop(page)


def ended(here: dict[str, Any]) -> bool:
    """Whether the focus is beyond the end of the page or back at its beginning."""
    return here.get("gone", False) or here["own"] == "stSkipToContent"


def tab_to(page: Any, name: str, role: str | None = None, key: str = "Tab") -> None:
    """Press the tab key until an element with this name has the focus."""
    for _ in range(2 * MOST_STOPS):
        page.keyboard.press(key)
        here = stop(page)
        if name in here.get("name", "") and role in (None, here["role"]):
            return
    pytest.fail(f"the tab key never comes to {name!r}")


def follow(page: Any, name: str) -> None:
    """Open a page through its link in the navigation."""
    t = translator("en")
    tab_to(page, t(f"common.page_{name}"))
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name=t(f"{name}.title")).wait_for()
    settle(page)


def test_the_skip_link_leads_past_the_sidebar(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en"))
    page.get_by_role("radio", name="Berlin Cathedral").wait_for()
    assert next_stop(page)["own"] == "stSkipToContent"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement?.dataset.testid === 'stMain'")
    t = translator("en")
    expect(page.get_by_role("toolbar", name=t("common.view_label")).get_by_role("button")).to_have_count(2)
    stops = [next_stop(page) for _ in range(3)]  # the tools of the title, the languages, the photos
    assert [here["name"] for here in stops] == [t("common.view_input"), "English", "Berlin Cathedral"]
    assert [here["role"] for here in stops] == [None, "radio", "radio"]
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert stop(page)["name"] == t("common.view_full"), "the arrow keys go through the tools, one stop"


def test_photo_model_and_language_change_from_the_keyboard(app: App, open_page: Open) -> None:
    page, t = open_page(app.url("predict", lang="en", size=160)), translator("en")
    tab_to(page, t("common.size"), "combobox")
    page.keyboard.press("ArrowDown")  # opens the list at the next size
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("size=192"))
    settle(page)
    tab_to(page, t("common.own_photo"), key="Shift+Tab")
    page.keyboard.press("Enter")
    page.locator('[data-testid="stPopoverBody"]').wait_for()
    page.keyboard.press("Escape")
    page.locator('[data-testid="stPopoverBody"]').wait_for(state="detached")
    assert t("common.own_photo") in stop(page)["name"]
    tab_to(page, "Berlin Cathedral", "radio")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("photo=(?!berlin)"))
    settle(page)
    tab_to(page, "English", "radio", key="Shift+Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name=translator("zh-Hant")("predict.title")).wait_for()
    assert page.evaluate("document.documentElement.lang") == "zh-Hant"


def test_figures_are_driven_by_arrow_keys(app: App, open_page: Open) -> None:
    page = open_page(app.url(lang="en", size=160))
    page.locator(".whole .stage").nth(3).wait_for()
    tab_to(page, "Photo with one token", "application")
    picture = page.locator(".whole .photo canvas")
    before = picture.evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("ArrowRight")
    soon(page, lambda: picture.evaluate("canvas => canvas.toDataURL()") != before, True)
    tab_to(page, "Stage 1, block 2: LDA")
    page.keyboard.press("Enter")
    expect(page.locator(".whole .said")).to_contain_text("long distance (LDA)")

    follow(page, "grouping")
    tab_to(page, "LDA", "radio")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile("kind=sda"))
    tab_to(page, "Map of tokens", "application")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(r"q=20\.21"))

    follow(page, "attention")
    tab_to(page, "Photo with its tokens", "application")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("held=1"))

    follow(page, "position_bias")
    tab_to(page, "Stage 2, block 1 (SDA), head 1")
    page.keyboard.press("ArrowDown")
    assert stop(page)["name"] == "Stage 2, block 2 (LDA), head 1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("head=2"))

    follow(page, "lab")
    page.locator(".lab .legend i").wait_for(timeout=120_000)  # every part is measured
    tab_to(page, "Lower group size G")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_function("before => location.href !== before", arg=before)
