"""Two models in a browser: one point on both photos, the models' own numbers, clicks recorded in the link."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.framing import size_code
from cfviz.models.others.sides import open_side
from cfviz.words import TRANSLATIONS
from tests.conftest import soon

pytestmark = pytest.mark.browser
STATE = """(root) => { const f = root.figure; return {
  state: f.state, sides: f.sides.map((s, i) => ({ probs: f.frames[i].probs, keys: f.frames[i].look.keys,
    row: f.frames[i].look.row, col: f.frames[i].look.col })) }; }"""


@pytest.mark.parametrize("size", [(160, 160), (96, 320)])
def test_a_point_on_one_photo_is_a_point_on_both(app: Any, open_page: Any, size: tuple[int, int]) -> None:
    page = open_page(app.url("compare", lang="en", size=size_code(size)))
    H, W = size[0] // 4, size[1] // 4
    figure = page.locator(".cp[data-ready]")
    figure.wait_for(timeout=90_000)
    still = figure.evaluate("(root) => JSON.stringify(root.figure.state)")
    # The first paint moves.
    soon(page, lambda: figure.evaluate("(root) => JSON.stringify(root.figure.state)") != still, True)
    over = page.locator(".cp .over").nth(1)
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 12.5 / W, box["y"] + box["height"] * 7.5 / H)
    seen = "(root) => root.figure.frames.map(({ look }) => [look.row, look.col])"
    soon(page, lambda: figure.evaluate(seen), [[7, 12]] * 2)
    now = figure.evaluate(STATE)
    image = prepare(load_image(sample("berlin-cathedral").path), size).tensor
    for name, side in zip(("crossformer_nano", "crossformer_nano_rpb"), now["sides"], strict=True):
        assert (side["row"], side["col"]) == (7, 12)
        model = open_side(name, size)
        scheme = model.schemes(*size)[0][-1]
        group, query = scheme.group_of(7, 12)
        keys = scheme.keys[group][:, 0]
        probs = model.outputs(image, [(0, 1)]).probs[0, 1][group, :, query].mean(0)[keys >= 0]
        np.testing.assert_allclose(side["probs"], probs, atol=2e-5)
        assert side["keys"] == keys[keys >= 0].tolist()
    over.click(position={"x": box["width"] * 12.5 / W, "y": box["height"] * 7.5 / H})
    page.wait_for_function(
        "() => /row=7&col=12/.test(location.search) && location.search.includes('held=1')", timeout=60_000
    )
    page.locator(".cp .seg button").nth(2).click()
    page.wait_for_function("() => /stage=3/.test(location.search)", timeout=60_000)
    page.wait_for_function(
        f"(root) => root.figure?.sides[0]?.layer.H === {H // 4}", arg=figure.element_handle(), timeout=60_000
    )
    state = figure.evaluate(STATE)["state"]
    assert (state["row"], state["col"]) == (1, 3)  # the same place of the photo
    with page.expect_download() as saved:
        figure.get_by_role("button", name="Data (CSV)", exact=True).click()
    assert saved.value.suggested_filename.endswith(".csv")
    page.get_by_text("繁體中文").click()
    words = json.loads((TRANSLATIONS / "zh-Hant" / "compare.json").read_text("utf-8"))
    expect(page.locator(".cp .bar .note").first).to_have_text(words["figure.stage"], timeout=60_000)
    assert page.locator(".cp").count() == 1
    state = figure.evaluate(STATE)["state"]
    assert (state["row"], state["col"]) == (1, 3)
