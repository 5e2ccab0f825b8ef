"""The lab in a browser: a click on a part changes the list, the link and the prediction."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_clicks_and_keys_build_the_list(app: Any, open_page: Any) -> None:
    page = open_page(app.url("lab", lang="en", size=160, do=""))
    board = page.locator(".lab[data-ready]")
    board.wait_for(timeout=60_000)
    page.locator(".lab .legend i").wait_for(timeout=120_000)  # every part is measured
    page.locator('.lab [data-place="2.1.h3"]').click()
    page.wait_for_url("**do=2.1.h3-zero*", timeout=30_000)
    assert page.locator(".lab .list li").count() == 1
    assert page.locator('.lab [data-place="2.1.h3"]').get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**do=2.1.h3-zero_2.1.h4-zero*", timeout=30_000)
    page.locator('.lab li[data-i="1"] [data-act="up"]').click()
    page.wait_for_url("**do=2.1.h4-zero_2.1.h3-zero*", timeout=30_000)
    page.locator('.lab li[data-i="0"] [data-act="on"]').click()
    page.wait_for_function("() => decodeURIComponent(location.search).includes('do=~2.1.h4')", timeout=30_000)
    assert page.locator(".lab .list li.off").count() == 1
    page.locator('.lab [data-place="2.1.h3"]').click()
    page.wait_for_function("() => !location.search.includes('h3-zero')", timeout=30_000)
