"""Downloads under a figure, in a browser: PNG, SVG, data, code with one click, the whole report."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.conftest import settle

pytestmark = pytest.mark.browser


def saved(page: Any, row: Any, name: str) -> tuple[str, bytes]:
    with page.expect_download(timeout=60_000) as download:
        row.get_by_role("button", name=name, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def coloured(page: Any, theme: str) -> None:
    """Change the colours of the page, and wait until it has been drawn in them."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
    settle(page)


def test_picture_data_code_and_report_can_be_downloaded(app: Any, open_page: Any, tmp_path: Path) -> None:
    page = open_page(app.url("predict", lang="en", size=160))
    page.locator(".st-key-bars-predict-top .cf-top").wait_for(timeout=90_000)
    row = page.locator(".st-key-cf-take-predict-top")
    file, data = saved(page, row, "PNG")
    assert file == "cfviz-top.png"
    assert np.asarray(Image.open(BytesIO(data)).convert("RGB")).std() > 5  # something is drawn
    coloured(page, "dark")
    _, data = saved(page, row, "PNG")
    colours = np.asarray(Image.open(BytesIO(data)).convert("RGBA"))
    assert (colours[..., 3] == 255).all()
    assert np.median(colours[..., :3]) < 64, "a plot of a dark page is saved on a dark background"
    file, data = saved(page, row, "SVG")
    assert file == "cfviz-top.svg"
    text = data.decode()
    assert text.startswith("<svg")
    assert "church" in text
    file, data = saved(page, row, "Data (CSV)")
    assert file == "cfviz-top.csv"
    assert data.decode("utf-8-sig").count("\n") == 21  # a heading and twenty classes
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    row.get_by_role("button", name="Copy the code").click()
    row.get_by_role("button", name="Copied").wait_for(timeout=10_000)
    code = page.evaluate("navigator.clipboard.readText()")
    assert code.startswith("import cfviz")
    assert "size=160" in code
    file, data = saved(page, page.locator(".st-key-report-save"), "Report of this session (HTML)")
    assert file == "cfviz-report.html"
    report = tmp_path / file
    report.write_bytes(data)
    page.goto(report.as_uri())
    page.locator(".cf-host .cf[data-ready]").wait_for(timeout=60_000)
    assert "church" in page.locator(".rp-answers").inner_text()


FIGURES = (
    ("", "home-model", "model", "224"),
    ("lab", "lab-board", "board", "CEL"),
)


@pytest.mark.parametrize(("name", "row", "file", "word"), FIGURES, ids=[row for _, row, _, _ in FIGURES])
def test_a_figure_made_of_elements_is_saved_as_shown(
    app: Any, open_page: Any, name: str, row: str, file: str, word: str
) -> None:
    page = open_page(app.url(name, lang="en"))
    take = page.locator(f".st-key-cf-take-{row}")
    take.get_by_role("button", name="PNG", exact=True).wait_for(timeout=90_000)
    for theme in ("light", "dark"):
        coloured(page, theme)
        page.wait_for_timeout(1500)  # room is reserved for what loads later
        title, data = saved(page, take, "PNG")
        assert title == f"cfviz-{file}.png"
        picture = Image.open(BytesIO(data)).convert("RGBA")
        assert min(picture.size) > 200
        colours = np.asarray(picture, float)
        assert (colours[..., 3] == 255).all()  # on the page's own background
        assert (np.median(colours[..., :3]) > 128) == (theme == "light"), theme
        assert colours[..., :3].std() > 5
        title, data = saved(page, take, "SVG")
        assert title == f"cfviz-{file}.svg"
        root = ElementTree.fromstring(data)
        assert word in "".join(root.itertext())
        assert int(root.attrib["width"]) * 2 == picture.width
        assert not re.search(r'(?:src|href)="(?!data:|#)', data.decode())  # nothing needs to be fetched
