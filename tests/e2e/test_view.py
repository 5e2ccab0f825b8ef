"""The tools beside the title: what photos are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
