"""What the browser itself refuses to send is said in the reader's language."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.conftest import App

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("lang", "photo_refused", "weights_refused"),
    [
        ("en", "photos may have up to 40\u00a0MB", "weights are .safetensors files"),
        ("zh-Hant", "照片最多 40\u00a0MB", "權重須為 .safetensors 檔"),
    ],
)
def test_what_streamlit_itself_refuses_is_said_in_the_readers_language(
    lang: str,
    photo_refused: str,
    weights_refused: str,
    app: App,
    open_page: Callable[[str], Any],
    tmp_path: Path,
) -> None:
    """It used to be "File must be 40.0MB or smaller.", in every language."""
    page = open_page(app.url("predict", lang=lang))
    shown = """(alert) => [getComputedStyle(alert, '::after').content, getComputedStyle(alert).visibility,
                          alert.getBoundingClientRect().height > 10]"""
    large = tmp_path / "scan.tif"
    with large.open("wb") as file:
        file.truncate(41 * 2**20)
    page.locator(".st-key-cf-drop-page input[type=file]").set_input_files(large)
    chip = page.locator(".st-key-cf-drop-page [data-testid=stFileChip]")
    words, visibility, tall = chip.locator("[role=alert]").evaluate(shown)
    assert photo_refused in words
    assert (visibility, tall) == ("hidden", True)
    chip.hover(force=True)
    page.wait_for_timeout(400)
    expect(page.locator("[data-testid=stTooltipErrorContent]")).to_be_hidden()
    chip.locator("[data-testid=stFileChipDeleteBtn] button").click()
    expect(chip).to_have_count(0)
    page.get_by_role("button", name="Your own weights" if lang == "en" else "用自己的權重").click()
    drop = page.locator("[data-testid=stPopoverBody] input[type=file]")
    drop.set_input_files([{"name": "w.pth", "mimeType": "application/octet-stream", "buffer": b"x"}])
    words, visibility, _ = page.locator(".st-key-w-weights [role=alert]").evaluate(shown)
    assert weights_refused in words
    assert visibility == "hidden"
