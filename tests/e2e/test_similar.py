"""Similar places in a browser: a click's answer is the library's."""

from __future__ import annotations

from typing import Any

import pytest

from cfviz import point_names
from cfviz.analysis.similarity import nearest
from cfviz.data.samples import gallery
from cfviz.run import inspect

pytestmark = pytest.mark.browser
SIZE = 64


def test_a_click_shows_the_most_similar_token_of_each_other_photo(app: Any, open_page: Any) -> None:
    page = open_page(
        app.url(
            "attention", lang="en", size=SIZE, photo="german-shepherd", open="similar", similar="2,0.1,0.1"
        )
    )
    page.locator(".sm[data-ready]").wait_for(timeout=120_000)
    canvas = page.locator(".sm-left canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 0.7 * box["height"])  # of 8 x 8 tokens
    page.wait_for_url("**similar=2%2C0.4375%2C0.6875*", timeout=30_000)
    page.locator(".sm:not([data-waits])").wait_for(timeout=30_000)
    found = [
        (float(one.get_attribute("data-cosine")), one.evaluate("(b) => b.closest('figure').title"))
        for one in page.locator(".sm .card b").all()
    ]
    point = point_names.stage_outputs((2, 2, 2, 1))[1]
    others = [entry for entry in gallery() if entry.id != "german-shepherd"]
    own, *maps = (
        inspect(path, size=SIZE, watch=point)[point]
        for path in ("gallery:german-shepherd", *(entry.path for entry in others))
    )
    wanted = nearest(own[5, 3], maps)
    assert len(found) == len(wanted) == 15
    for (cosine, title), place in zip(found, wanted, strict=True):
        assert cosine == pytest.approx(place.cosine, abs=1e-4)
        assert title.endswith(f"row {place.row}, column {place.col}")
    page.locator(".sm").get_by_role("radio", name="4").click()
    page.wait_for_url("**similar=4%2C0.4375%2C0.6875*", timeout=30_000)
    page.locator(".sm:not([data-waits])").wait_for(timeout=60_000)
