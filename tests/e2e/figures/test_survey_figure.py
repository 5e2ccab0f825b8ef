"""The figure of many photos in a browser: channels, stages and heads, by clicks and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from cfviz.measured.survey import survey_of

pytestmark = pytest.mark.browser


def test_channels_stages_and_heads(tiny_model: Callable[..., Any], opened_file: Callable[..., Any]) -> None:
    random = np.random.default_rng(0)
    photos = [Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(3)]
    found = survey_of(photos, tiny_model(), 64)
    page = opened_file(found.page())
    cards = page.locator(".sv .cards canvas[data-drawn]")
    expect(cards).to_have_count(3)
    page.get_by_role("radio", name="CEL 2").click()
    page.get_by_role("radio", name="4\u00a0×\u00a04").click()
    page.locator(".sv input[type=number]").fill("99")
    page.keyboard.press("Enter")
    best = found.strongest(1, 1, 15)  # the last channel there is
    expect(page.locator(".sv-said")).to_contain_text("Channel 16 of the 4 × 4 kernel of CEL 2")
    expect(page.locator(".sv .cards b").first).to_have_text(f"{best[0].value:.2f}".replace("-", "−"))
    page.get_by_role("radio", name="How far stages see").click()
    expect(page.locator(".sv-fields canvas")).to_have_count(4)
    page.get_by_role("radio", name="Heads and their bias").click()
    expect(page.locator(".sv-cells button")).to_have_count(2 * (1 + 2 + 4 + 8))
    page.locator(".sv-cells button").first.click()
    page.keyboard.press("ArrowRight")
    r = found.offsets[0, 1].agreement[0]
    expect(page.locator(".sv-said")).to_contain_text("stage 1, block 2, head 1")
    said = f"{r:.2f}".replace("-", "−") if np.isfinite(r) else "–"
    expect(page.locator(".sv-cells button[aria-checked=true]")).to_have_text(said)
    expect(page.locator(".sv-cells button[tabindex='0']")).to_have_count(1)
