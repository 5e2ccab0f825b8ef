"""Accessibility: what axe-core finds in popovers and menus; reduced motion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from cfviz.words import translator
from tests.conftest import App, settle

pytestmark = pytest.mark.browser
Open = Callable[..., Any]

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


def violations(page: Any) -> list[str]:
    """The serious and critical findings of axe-core on the whole page, shadow roots included."""
    result = page.evaluate("options => axe.run(options)", {"resultTypes": ["violations"]})
    return [
        f"{found['impact']} {found['id']}: {node['html'][:200]}\n  {node['failureSummary']}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


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
    t = translator("en")
    page.get_by_role("link", name=t("common.page_attention"), exact=True).click()
    page.get_by_role("heading", level=1, name=t("attention.title")).wait_for()
    settle(page)
    page.locator(".cf").first.wait_for()
    where = "root => JSON.stringify(root.figure.state)"
    before = page.locator(".cf").first.evaluate(where)
    page.wait_for_timeout(2500)
    assert page.locator(".cf").first.evaluate(where) == before
