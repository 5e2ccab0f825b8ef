"""What the browser itself refuses to send is said in the reader's language."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from safetensors.torch import save

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


def test_weights_of_a_model_of_timm_lead_to_the_place_that_opens_them(
    app: App, open_page: Callable[[str], Any]
) -> None:
    page = open_page(app.url("study", lang="en", size="64"))
    page.get_by_role("button", name="Your own weights").click()
    state = {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(169, 3)}
    file = {"name": "s.safetensors", "mimeType": "application/octet-stream", "buffer": save(state)}
    page.locator("[data-testid=stPopoverBody] input[type=file]").set_input_files([file])
    popover = page.locator("[data-testid=stPopoverBody]")
    expect(popover.get_by_text("s.safetensors is a Swin, one of timm's models")).to_be_visible(timeout=30_000)
    popover.get_by_role("link", name="Open it on the attention page").click()
    expect(popover.get_by_role("combobox")).to_be_in_viewport(timeout=60_000)
