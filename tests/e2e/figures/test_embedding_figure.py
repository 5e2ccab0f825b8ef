"""The embedding figure in a browser: its numbers are the arrays', its squares those of the geometry."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from cfviz import point_names
from cfviz.analysis.embedding import kernel_norms
from cfviz.figures.live.embedding import MEASURES, pack, quantise, rest
from cfviz.geometry import cel_box
from cfviz.measured import cel
from cfviz.models.probes.embedding import layer
from cfviz.run import inspect
from cfviz.ui.pages.embedding.subject import WATCH
from cfviz.web import EMBEDDING, script
from cfviz.words import figure_words
from tests.conftest import pace, soon
from tests.e2e.figures.conftest import alone

pytestmark = pytest.mark.browser
WORDS = figure_words("embedding")
READ = """([cel, measure, row, col]) => new Promise((done) => {
  const figure = document.querySelector('.em').figure;
  figure.choose(cel);
  figure.set({ measure, row, col });
  requestAnimationFrame(() => requestAnimationFrame(() => done({
    values: figure.values, shown: figure.rows.rows.map((row) => row.value.textContent),
    squares: figure.cel.kernels.map(({ k }) => square(figure.cel, k, row, col)),
  })));
})"""
PACE = """() => new Promise((done) => {
  const figure = document.querySelector('.em').figure;
  const times = [];
  for (let i = 0; i < 200; i++) {
    const start = performance.now();
    figure.set({ row: (i * 7) % figure.cel.H, col: (i * 11) % figure.cel.W });
    figure.draw();
    times.push(performance.now() - start);
  }
  // The median: the slowest moves tell how many processes share the cores.
  done(times.sort((a, b) => a - b)[100]);
})"""


@pytest.fixture
def opened(opened_file: Callable[..., Any], tiny_model: Any) -> Any:
    """The figure of a small model on noise, alone on a page, and the values it should show."""
    photo = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    model = tiny_model()
    trace = inspect(photo, model, (96, 128), watch=WATCH)
    parts = [cel(layer(model, s), trace[point_names.embedding(s)]) for s in range(4)]
    data = pack(parts, photo=trace.crop, strings=WORDS, start={"row": 3, "col": 5})
    square = f"{script('plane/plane.js')}\nwindow.square = square;"
    html = f'{alone(EMBEDDING, data)}<script type="module">{square}</script>'
    return opened_file(html, width=1280), parts


def test_numbers_and_squares_are_right(opened: Any) -> None:
    page, parts = opened
    rng = np.random.default_rng(1)
    for stage, part in enumerate(parts):
        H, W, _ = part.tokens.shape
        for name in MEASURES:
            row, col = int(rng.integers(H)), int(rng.integers(W))
            found = page.evaluate(READ, [stage, name, row, col])
            wanted = getattr(part, name)[:, row, col]
            assert found["values"] == pytest.approx(wanted, abs=1e-6)
            if name != "norm":
                assert sum(found["values"]) == pytest.approx(1, abs=1e-5)
                shown = [float(text.replace("−", "-").split()[0]) / 100 for text in found["shown"]]
                assert shown == pytest.approx(wanted, rel=6e-3, abs=5e-5)  # two digits below 1 %
            for k, (top, left, side) in zip(part.kernels, found["squares"], strict=True):
                assert (top, left, top + side, left + side) == cel_box(stage, k, row, col)


def test_the_pointer_moves_the_token_and_a_kernel_shows_its_map(opened: Any) -> None:
    page, parts = opened
    box = page.locator(".em .over").bounding_box()
    part = parts[0]
    margin = 14  # of the 32 px kernel's square beyond the photo
    scale = box["width"] / (128 + 2 * margin)
    for row, col in [(0, 0), (11, 20), (23, 31)]:
        x, y = (margin + 4 * (col + 0.5)) * scale, (margin + 4 * (row + 0.5)) * scale
        page.mouse.move(box["x"] + x, box["y"] + y)
        read = "(({ row, col }) => [row, col])(document.querySelector('.em').figure.state)"
        soon(page, lambda read=read: page.evaluate(read), [row, col])
    assert "padding" in page.locator(".em-where").inner_text()
    page.locator(".em-row").nth(2).click()
    expect(page.locator(".em-row").nth(2)).to_have_attribute("aria-pressed", "true")
    assert "16×16" in page.locator(".em .under").inner_text()
    page.locator(".em .map").press("ArrowLeft")
    assert page.evaluate("document.querySelector('.em').figure.state.col") == part.tokens.shape[1] - 2


def test_nothing_read_aloud_answers_a_lessons_question(opened: Any) -> None:
    """While a question is open, and after one that shows no shares, no share and no padding is spoken."""
    page, _ = opened
    spoken = """(what) => {
      const { figure } = document.querySelector('.em');
      figure.quiz(what);
      figure.set({ row: 0, col: 0 });
      figure.draw();
      return figure.spoken();
    }"""
    asked = page.evaluate(spoken, {"open": True, "show": "shares", "pick": "kernel"})
    assert asked == "Token (0, 0) of CEL 1, with the squares that its kernels read: 4×4, 8×8, 16×16, 32×32."
    assert page.evaluate(spoken, {"open": False, "show": "facts", "pick": "kernel"}).endswith("is padding.")
    assert "4×4: " in page.evaluate(spoken, {"open": False, "show": "shares", "pick": "kernel"})


def load(page: Any, data: bytes) -> None:
    """Give the figure its next message."""
    page.evaluate(
        """(data) => {
          const raw = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          document.querySelector('.em').figure.load(raw);
        }""",
        base64.b64encode(data).decode(),
    )
    page.wait_for_selector(".em[data-ready]")


def test_what_is_shown_comes_first_and_the_rest_does_what_was_asked_for_meanwhile(opened: Any) -> None:
    page, parts = opened
    photo = Image.new("RGB", (128, 96), "teal")
    load(page, pack(parts, photo=photo, strings=WORDS, source="one", only=(0, "carried")))
    token = "(() => { const f = document.querySelector('.em').figure; return [f.state.row, f.state.col]; })()"
    shares = page.locator(".em-row > b")
    whole = shares.all_inner_texts()
    assert sum(float(text.split()[0]) for text in whole) == pytest.approx(100, abs=0.2)
    assert page.locator(".em-token .note").inner_text().strip() == ""
    page.get_by_role("radio", name="CEL 3").click()
    page.locator(".em-vector").hover()
    expect(page.locator(".em[data-waits]")).to_be_visible()
    assert shares.all_inner_texts() == whole  # nothing is made up for the layer that is on its way
    for source in ("other", "one"):
        page.evaluate(
            """(data) => document.querySelector('.em').figure.join(
              Uint8Array.from(atob(data), (c) => c.charCodeAt(0)))""",
            base64.b64encode(rest(parts, source=source)).decode(),
        )
        assert page.locator(".em[data-waits]").count() == (source == "other")
    expect(page.locator(".em[data-waits]")).to_have_count(0)
    expect(page.get_by_role("radio", name="CEL 3")).to_have_attribute("aria-checked", "true")
    expect(page.locator(".em-token .note")).not_to_have_text("\u00a0")
    row, col = page.evaluate(token)
    values = page.evaluate("document.querySelector('.em').figure.values")
    assert values == pytest.approx(parts[2].carried[:, row, col], abs=1e-6)


def test_another_photo_replaces_the_first(opened: Any) -> None:
    page, parts = opened
    other = pack(parts[:2], photo=Image.new("RGB", (128, 96), "teal"), strings=WORDS)
    load(page, other)
    assert page.locator(".em").count() == 1
    assert page.locator(".em .seg").first.locator("button").count() == 2
    corner = "document.querySelector('.em canvas').getContext('2d').getImageData(200, 200, 1, 1).data"
    assert page.evaluate(f"[...{corner}].slice(0, 3)") == [0, 128, 128]


def test_a_smaller_map_keeps_the_place_of_the_photo(opened: Any, tiny_model: Any) -> None:
    page, _ = opened
    page.evaluate("document.querySelector('.em').figure.set({ row: 22, col: 30, measure: 'norm' })")
    model = tiny_model()
    trace = inspect(np.zeros((64, 64, 3), np.uint8), model, (64, 64), watch=WATCH)
    parts = [cel(layer(model, s), trace[point_names.embedding(s)]) for s in range(4)]
    data = pack(parts, photo=trace.crop, strings=WORDS)
    load(page, data)
    state = page.evaluate("document.querySelector('.em').figure.state")
    assert (state["row"], state["col"]) == (15, 15)  # 22.5 of 24, 30.5 of 32: of 16
    assert "NaN" not in page.locator(".em").inner_text()


def test_channels_are_off_by_at_most_half_a_step(opened: Any) -> None:
    _, parts = opened
    for part in parts:
        codes, step = quantise(part.tokens)
        assert (np.abs(codes * step - part.tokens) <= 0.501 * step).all()


def test_the_figure_follows_the_pointer_within_a_frame(opened: Any) -> None:
    page, _ = opened
    assert pace(page, PACE) < 16


def test_shares_in_the_message_equal_the_analysis(opened: Any) -> None:
    _, parts = opened
    for part in parts:
        assert part.norm == pytest.approx(kernel_norms(part.tokens, part.channels))
        assert part.carried.sum(0) == pytest.approx(np.ones(part.tokens.shape[:2]))
        assert part.caused.sum(0) == pytest.approx(np.ones(part.tokens.shape[:2]))


def test_the_figure_can_be_saved_as_svg(opened: Any) -> None:
    page, parts = opened
    with page.expect_download() as saved:
        page.get_by_role("button", name="SVG", exact=True).click()
    text = Path(saved.value.path()).read_text("utf-8")
    assert text.startswith("<svg")
    for k in parts[0].kernels:
        assert f"{k}\u00a0×\u00a0{k}: " in text
