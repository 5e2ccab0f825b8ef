"""Accessibility of every page: what axe-core finds, in both themes and languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from cfviz.words import LANGUAGES, translator
from tests.conftest import App, settle

pytestmark = pytest.mark.browser
Open = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("home", *sorted(path.stem for path in (ROOT / "pages").glob("[!_]*.py")))
THEMES = ("light", "dark")
THEMED = ("color-contrast", "link-in-text-block")  # the rules that read colours
TALL = 6000  # pixels; figures are drawn when they come into view


OPEN_ALL = """() => {
  const visit = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.tagName === "DETAILS" && !node.open) {
        if (node.closest("[data-testid=stExpander]")) node.querySelector("summary").click();
        else node.open = true;
      }
      if (node.shadowRoot) visit(node.shadowRoot);
    }
  };
  visit(document);
}"""
COUNT = """() => {
  const count = (root) => [...root.querySelectorAll("*")]
    .reduce((n, node) => n + 1 + (node.shadowRoot ? count(node.shadowRoot) : 0), 0);
  return count(document);
}"""


def still(page: Any) -> None:
    """Wait until nothing more is added to the page."""
    settle(page)
    before, same = -1, 0
    while same < 2:
        page.wait_for_timeout(120)
        now = page.evaluate(COUNT)
        same, before = (same + 1 if now == before else 0), now


def go(page: Any, name: str, lang: str) -> None:
    """Follow the link to a page, as a reader would, without a reload."""
    t = translator(lang)
    page.locator(".st-key-cf-nav").get_by_role("link", name=t(f"common.page_{name}"), exact=True).click()
    page.get_by_role("heading", level=1, name=t(f"{name}.title")).wait_for()
    still(page)


def violations(page: Any, *rules: str) -> list[str]:
    """The serious and critical findings of axe-core on the whole page, shadow roots included.

    If rules are named, only theirs.
    """
    only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    result = page.evaluate("options => axe.run(options)", {"resultTypes": ["violations"], **only})
    return [
        f"{found['impact']} {found['id']}: {node['html'][:200]}\n  {node['failureSummary']}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.timeout(600)  # half a minute; a busy machine is no failure
@pytest.mark.parametrize("lang", LANGUAGES)
def test_axe_finds_nothing_serious_on_a_page(app: App, open_page: Open, lang: str) -> None:
    page = open_page(app.url(lang=lang), height=TALL)
    page.evaluate(AXE_SCRIPT)
    page.emulate_media(reduced_motion="reduce")  # no text is judged while its ground fades in
    themes, found = list(THEMES), []
    for name in PAGES:
        go(page, name, lang)
        assert page.evaluate("document.documentElement.lang") == lang
        assert page.get_by_test_id("stException").count() == 0, name
        for _ in range(2):  # what a section holds is drawn once it is open
            page.evaluate(OPEN_ALL)
            still(page)
        for theme, rules in zip(themes, ((), THEMED), strict=True):
            page.emulate_media(color_scheme=theme)
            page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
            still(page)
            found += [f"{name}, {lang}, {theme}: {text}" for text in violations(page, *rules)]
        themes.reverse()
    if found:
        pytest.fail("\n".join(found))


def test_axe_finds_nothing_serious_in_popovers_and_menus(app: App, open_page: Open) -> None:
    page, t = open_page(app.url("predict", lang="en")), translator("en")
    page.evaluate(AXE_SCRIPT)
    found = []
    for label in ("own_photo", "own_weights", "show_code"):
        button = page.get_by_role("button", name=t(f"common.{label}")).first
        button.click()
        page.locator('[data-testid="stPopoverBody"]').wait_for()
        found += [f"{label}: {text}" for text in violations(page)]
        page.keyboard.press("Escape")
        page.locator('[data-testid="stPopoverBody"]').wait_for(state="detached")
    page.get_by_role("combobox", name=t("common.model")).click()
    page.get_by_role("option").first.wait_for()
    found += [f"model: {text}" for text in violations(page)]
    if found:
        pytest.fail("\n".join(found))


def test_nothing_moves_by_itself_with_reduced_motion(app: App, open_page: Open) -> None:
    page = open_page(app.url(lang="en"), reduced_motion="reduce")
    page.locator(".whole .said b").wait_for()
    before = page.locator(".whole .said").inner_text()
    page.wait_for_timeout(3200)  # the tour of the stages would have moved on
    assert page.locator(".whole .said").inner_text() == before
    go(page, "attention", "en")
    page.locator(".cf").first.wait_for()
    where = "root => JSON.stringify(root.figure.state)"
    before = page.locator(".cf").first.evaluate(where)
    page.wait_for_timeout(2500)
    assert page.locator(".cf").first.evaluate(where) == before
