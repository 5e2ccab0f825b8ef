"""What `python -m bench pages` clicks on is there."""

from __future__ import annotations

from typing import Any

import pytest

from bench import pages

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", ["predict", "attention", "embedding"])
def test_the_benchmark_can_choose_a_photo_and_sees_the_change(browser: Any, app: Any, path: str) -> None:
    context = pages.window(browser)
    try:
        page, first = pages.opened(context, app.url(path, lang="en"), pages.PAGES[path])
        for seconds in first.values():
            assert 0 < seconds <= pages.LIMIT / 1000
        if path == "predict":
            assert pages.clicked(page, "words", pages.tile(page, 1)) > 0
        else:
            assert pages.chosen(page, "sign", 1) > 0
    finally:
        context.close()
