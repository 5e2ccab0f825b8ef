"""The tree of operations in a browser: it unfolds by click and by keys, and a search finds what is folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from timm.models.vision_transformer import VisionTransformer

from cfviz.figures.live.answer import operations as live
from cfviz.models.probes.operations import operations
from cfviz.words import figure_words

pytestmark = pytest.mark.browser


def test_rows_unfold_by_click_and_keys_and_are_found(
    tiny_model: Callable[..., Any], opened_file: Callable[..., Any]
) -> None:
    found = operations(tiny_model(), torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)), 3)
    page = opened_file(live.html(live.pack(found.root, strings=figure_words("operations")), "en", ""))
    rows, what = page.locator(".op [role=treeitem]"), page.locator(".op-what")
    expect(rows).to_have_count(6)
    rows.nth(1).click()
    expect(rows).to_have_count(9)
    expect(page.locator("[role=treeitem][aria-selected=true]")).to_have_count(1)
    page.mouse.move(0, 0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(what).to_contain_text("Stage 1 › Block 1: ")
    page.keyboard.press("ArrowRight")
    expect(rows).to_have_count(9 + len(found.stages[0].children[1].children))
    expect(page.locator("[role=treeitem][tabindex='0']")).to_have_count(1)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(rows).to_have_count(6)
    page.get_by_role("radio", name="Multiply-adds").click()
    expect(rows.first).to_contain_text(f"{found.root.macs / 1e6:.1f}\u00a0M")
    page.locator(".op-find").fill("softmax")
    expect(page.locator(".op-row", has_text="Softmax")).to_have_count(8)  # one in each block
    page.locator(".op-find").fill("no such thing")
    expect(rows).to_have_count(0)


def test_a_model_of_timm_shows_the_names_of_its_own_modules(opened_file: Callable[..., Any]) -> None:
    model = VisionTransformer(img_size=32, embed_dim=16, depth=2, num_heads=2, num_classes=3).eval()
    found = operations(model, torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 3)
    page = opened_file(live.html(live.pack(found.root, strings=figure_words("operations")), "en", ""))
    rows, what = page.locator(".op [role=treeitem]"), page.locator(".op-what")
    row = rows.filter(has_text="Block 1.2 · blocks.1")
    expect(row).to_have_count(1)
    row.click()
    expect(what).to_contain_text("Block 1.2 · blocks.1: ")
    page.locator(".op-find").fill("blocks.1.attn.qkv")
    expect(rows.last).to_contain_text("qkv · Linear")
    page.keyboard.press("Tab")
    rows.last.click()
    expect(what).to_contain_text("blocks.1.attn.qkv · Linear: ")
