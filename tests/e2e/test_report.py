"""The report opened from disk without a network: its figures respond, and its numbers are the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfviz.data.samples import sample
from cfviz.models.factory import create_model
from cfviz.report import page as report
from cfviz.run import inspect
from cfviz.words import section_words
from tests.conftest import soon

pytestmark = pytest.mark.browser


def test_the_report_works_offline(browser: Any, tmp_path: Path) -> None:
    model, photo = create_model("crossformer_nano"), sample("german-shepherd").path
    trace = inspect(photo, model, 224, report.WATCH)
    file = tmp_path / "report.html"
    file.write_text(report.html(trace, model, report.Origin(str(photo), "german-shepherd")), "utf-8")
    window = browser.new_context(
        viewport={"width": 1440, "height": 900},
        offline=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page, errors = window.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda r: None if r.url.startswith(("file:", "blob:", "data:")) else errors.append(r.url)
    )
    page.goto(file.as_uri())
    page.wait_for_selector(".cf-host .cf[data-ready]")
    page.wait_for_selector(".em-host canvas")
    page.wait_for_selector(".pb-host canvas")
    ranks = page.eval_on_selector_all("[data-part]", "all => all.map((r) => Math.abs(+r.dataset.points))")
    assert len(ranks) == 20
    assert ranks == sorted(ranks, reverse=True)
    shown = page.eval_on_selector_all(
        ".rp-answers tr", "all => all.map((r) => [+r.dataset.class, +r.dataset.p])"
    )
    assert [tuple(row) for row in shown] == [(i, p) for i, _, p in trace.top(5)]
    over = page.locator(".cf-host .over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    for row, col in [(3, 5), (40, 30)]:
        page.mouse.move(
            box["x"] + (col + 0.5) * box["width"] / 56, box["y"] + (row + 0.5) * box["height"] / 56
        )
        read = "(({ row, col }) => [row, col])(document.querySelector('.cf-host .cf').figure.state)"
        soon(page, lambda read=read: page.evaluate(read), [row, col])
    host = page.locator(".em-host")
    host.scroll_into_view_if_needed()
    canvas = page.locator(".em-host canvas").last.bounding_box()
    before = host.inner_text()
    page.mouse.move(canvas["x"] + 0.1 * canvas["width"], canvas["y"] + 0.1 * canvas["height"])
    seen = set()
    for x in (0.15, 0.5, 0.85):
        for target in page.locator(".em-host canvas").all()[:2]:
            at = target.bounding_box()
            page.mouse.move(at["x"] + x * at["width"], at["y"] + x * at["height"])
            page.wait_for_timeout(80)
            seen.add(host.inner_text())
    assert len(seen | {before}) > 2
    page.locator("[data-copy]").last.click()
    page.get_by_text(section_words("report")["copied"]).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == report.notebook_code(
        trace, report.Origin(str(photo))
    )
    page.set_viewport_size({"width": 390, "height": 800})
    page.reload()
    page.wait_for_selector(".cf-host .cf[data-ready]")
    page.wait_for_selector(".em-host canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    window.close()
    assert not errors, f"the browser reported: {errors}"
