"""The attention figure in a browser: its numbers are the model's, and it responds without a server."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from cfviz.figures import theme
from cfviz.figures.live import attention
from cfviz.figures.live.attention import Packed, html, pack, units
from cfviz.run import inspect
from cfviz.trace import Trace
from cfviz.words import figure_words
from tests.conftest import quiet, soon

pytestmark = pytest.mark.browser
WATCH = [f"layers.*.blocks.*.attn.{point}" for point in ("q", "k", "bias", "probs")]
READ = """([to, key]) => new Promise((done) => {
  const figure = document.querySelector('.cf').figure;
  figure.stopTour();
  figure.set({ ...to, locked: true });
  figure.point(key);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const { value, rank, row, col } = figure.ui.readout.dataset;
    done({ value: Number(value), rank: Number(rank), row: Number(row), col: Number(col),
      text: figure.ui.value.textContent, low: figure.why.logits.map((term) => term.value.textContent) });
  }));
})"""


@pytest.fixture
def figure(opened_file: Callable[..., Any]) -> Callable[..., Any]:
    """A function that opens a message as an offline page and returns the page."""
    return lambda packed, **window: opened_file(html(packed), **window)


def traced(tiny_model: Callable[..., Any], size: tuple[int, int], lda: Any = None) -> Trace:
    photo = np.random.default_rng(sum(size)).integers(0, 255, (*size, 3), np.uint8)
    return inspect(photo, tiny_model(), size, watch=WATCH, lda=lda)


def packed(trace: Trace, **start: Any) -> Packed:
    return pack(
        units(trace.arrays, trace.groupings), size=trace.size, photo=trace.crop,
        strides={s: 4 * 2**s for s in range(4)}, strings=figure_words("attention"),
        start={"stage": 0, "block": 0, **start},
    )  # fmt: skip


def test_an_enlarged_map_points_at_what_it_draws(tiny_model, figure) -> None:
    """Where a token is drawn, pointing finds it: enlarged by buttons or Ctrl and the wheel, and dragged."""
    page = figure(packed(traced(tiny_model, (160, 288), "whole")))
    over, seen = page.locator(".map .over"), page.locator(".cf .zoom button").nth(1)
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"]

    def check() -> None:
        for across, down in ((0.11, 0.2), (0.52, 0.48), (0.93, 0.87)):
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            off = page.evaluate(
                """([x, y]) => {
                  const { state, map } = document.querySelector(".cf").figure;
                  const beyond = (edges, n, at) => Math.max(edges[n] - at, at - edges[n + 1]);
                  return Math.max(
                    beyond(map.edgeX, state.col, x * map.over.width),
                    beyond(map.edgeY, state.row, y * map.over.height),
                  );
                }""",
                [across, down],
            )
            assert off <= 1, "the token pointed at is drawn elsewhere, by more than a pixel"

    check()
    page.mouse.move(x, y)
    page.mouse.wheel(0, -120)  # the page's own
    assert seen.inner_text() == "1×"
    whole = page.evaluate("document.querySelector('.cf').figure.map.cell")
    page.locator(".cf .zoom button").nth(2).click()
    assert seen.inner_text() == "1.5×"
    assert page.evaluate("document.querySelector('.cf').figure.map.cell") == pytest.approx(1.5 * whole)
    box = over.bounding_box()
    check()
    page.keyboard.down("Control")
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    expect(seen).to_have_text("2.5×")
    check()
    held = page.evaluate("document.querySelector('.cf').figure.state.locked")
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"], steps=5)
    page.mouse.up()
    assert page.evaluate("document.querySelector('.cf').figure.state.locked") == held, "a drag is no click"
    check()
    page.locator(".cf .map").focus()
    for _ in range(60):  # to the left edge, which comes into sight
        page.keyboard.press("ArrowLeft")
    shown = "({ state, map }) => map.edgeX[state.col]"
    assert page.evaluate(f"({shown})(document.querySelector('.cf').figure)") >= 0
    page.keyboard.press("0")
    expect(seen).to_have_text("1×")
    check()


@pytest.mark.parametrize(
    ("size", "lda", "direct"),
    [((224, 224), None, True), ((256, 256), None, True), ((160, 288), None, True),
     ((160, 288), "whole", True), ((160, 288), "whole", False), ((96, 160), "regions", False)],
)  # fmt: skip
def test_shown_numbers_are_the_models(
    tiny_model, figure, size: tuple[int, int], lda: Any, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At random tokens of every block, SDA and LDA, with and without padding, on squares and rectangles.

    Content is sent as logits or, if that is too much, as queries and keys.
    """
    if not direct:
        monkeypatch.setattr(attention, "DIRECT", 0)
    trace, rng = traced(tiny_model, size, lda), np.random.default_rng(0)
    message = packed(trace)
    assert message.error < (1e-5 if direct else 1e-4)
    page = figure(message)
    for s, blocks in enumerate(trace.groupings):
        for b, g in enumerate(blocks):
            probs = trace[f"layers.{s}.blocks.{b}.attn.probs"]
            for _ in range(6):
                row, col, head = rng.integers(g.H), rng.integers(g.W), rng.integers(probs.shape[1])
                group, query = g.group_of(row, col)
                key = int(rng.choice(np.flatnonzero(g.valid[group])))
                to = {"stage": s, "block": b, "head": int(head), "row": int(row), "col": int(col)}
                shown = page.evaluate(READ, [to, key])
                line = probs[group, head, query]
                assert shown["value"] == pytest.approx(float(line[key]), abs=message.error + 1e-7)
                above = (line[g.valid[group]] > line[key] + 2 * message.error).sum() + 1
                below = (line[g.valid[group]] >= line[key] - 2 * message.error).sum()
                assert above <= shown["rank"] <= below  # ties within the error may swap
                assert (shown["row"], shown["col"]) == divmod(int(g.members[group, key]), g.W)
                percent = float(shown["text"].split()[0])
                assert percent == pytest.approx(100 * float(line[key]), rel=6e-3)


JOIN = """(data) => {
  const figure = document.querySelector('.cf').figure;
  const ready = () => figure.stages.map((s) => s.blocks.map((b) => b.ready));
  const before = ready();
  figure.join(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
  return [before, ready(), figure.header.error];
}"""


def test_the_other_blocks_follow_the_first(tiny_model, figure) -> None:
    """The first message shows one block; each further one adds a stage, for the same photo only."""
    trace = traced(tiny_model, (160, 160))
    first, same, rest, other = (
        pack(
            units(trace.arrays, trace.groupings), size=trace.size, photo=trace.crop,
            strides={s: 4 * 2**s for s in range(4)}, strings=figure_words("attention"), part=part,
            source=source, has=(1, 0), start={"stage": stage, "block": 0},
        )
        for part, source, stage in (
            ("first", "a", 1), ("stage", "a", 1), ("stage", "a", 0), ("stage", "b", 1)
        )
    )  # fmt: skip
    page = figure(first)
    alone = [[(s, b) == (1, 0) for b in range(len(blocks))] for s, blocks in enumerate(trace.groupings)]
    before, after, _ = page.evaluate(JOIN, base64.b64encode(other.data).decode())
    assert before == after == alone
    before, after, error = page.evaluate(JOIN, base64.b64encode(same.data).decode())
    assert before == alone
    assert after == [[s == 1 for _ in blocks] for s, blocks in enumerate(trace.groupings)]
    assert error == max(first.error, same.error)
    page.evaluate(READ, [{"stage": 0, "block": 1, "head": 0, "row": 3, "col": 4}, 0])
    _, after, error = page.evaluate(JOIN, base64.b64encode(rest.data).decode())
    assert after == [[s < 2 for _ in blocks] for s, blocks in enumerate(trace.groupings)]
    assert error == max(first.error, same.error, rest.error)
    shown = page.evaluate(READ, [{"stage": 0, "block": 1, "head": 0, "row": 3, "col": 4}, 0])
    group, query = trace.grouping(0, 1).group_of(3, 4)
    value = float(trace["layers.0.blocks.1.attn.probs"][group, 0, query, 0])
    assert shown["value"] == pytest.approx(value, abs=error + 1e-7)


def test_padding_gets_no_attention_and_is_marked(tiny_model, figure) -> None:
    trace = traced(tiny_model, (256, 256))
    g = trace.grouping(0, 0)
    group, _ = g.group_of(g.H - 1, g.W - 1)
    key = int(np.flatnonzero(~g.valid[group])[0])
    page = figure(packed(trace))
    shown = page.evaluate(READ, [{"stage": 0, "block": 0, "head": 0, "row": g.H - 1, "col": g.W - 1}, key])
    assert shown["value"] == 0
    assert shown["low"][2] == "−10⁶"
    assert page.locator(".rank").inner_text() == figure_words("attention")["padding"]
    where, legend = page.locator(".where"), page.locator(".left .under")
    assert where.inner_text().endswith("group 100 of 100, 1 key and 48 of padding")
    assert legend.inner_text() == "Dashes: an even share, 100.0\u00a0% over 1 key"
    assert "uniform attention, 100.0\u00a0% over 1 key." in legend.get_attribute("title")
    page.evaluate(READ, [{"stage": 0, "block": 0, "head": 0, "row": 5, "col": 5}, 0])
    assert where.inner_text().endswith("group 1 of 100, 49 keys")


@pytest.mark.parametrize("size", [(224, 224), (192, 640)])
def test_pointing_lights_the_group_under_the_pointer(tiny_model, figure, size: tuple[int, int]) -> None:
    trace = traced(tiny_model, size)
    page, g = figure(packed(trace, block=1)), trace.grouping(0, 1)
    box = page.locator(".over").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(g.Wp / g.Hp, rel=0.02), "the photo is distorted"
    for row, col in [(0, 0), (17, 40), (g.H - 1, g.W - 1), (30, 3)]:
        page.mouse.move(
            box["x"] + (col + 0.5) * box["width"] / g.Wp, box["y"] + (row + 0.5) * box["height"] / g.Hp
        )
        read = "(({ state: s, frame: f }) => [s.row, s.col, f.group])(document.querySelector('.cf').figure)"
        group, _ = g.group_of(row, col)
        soon(page, lambda read=read: page.evaluate(read), [row, col, group])


def test_a_click_locks_the_query_and_escape_unlocks_it(tiny_model, figure) -> None:
    page = figure(packed(traced(tiny_model, (224, 224))))
    over = page.locator(".over")
    box = over.bounding_box()
    over.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.6})
    held = page.evaluate("document.querySelector('.cf').figure.state")
    assert held["locked"]
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.2)
    page.wait_for_timeout(60)
    now = page.evaluate("document.querySelector('.cf').figure.state")
    assert (now["row"], now["col"]) == (held["row"], held["col"])
    page.locator(".map").focus()
    page.keyboard.press("Escape")
    assert not page.evaluate("document.querySelector('.cf').figure.state.locked")


def test_a_locked_query_names_the_token_under_the_pointer(tiny_model, figure) -> None:
    """Tokens of other groups are named one after the other, and none once the query is unlocked."""
    page = figure(packed(traced(tiny_model, (224, 224)), block=1, row=20, col=20, locked=True))
    over = page.locator(".over")
    box = over.bounding_box()

    def point(row: int, col: int) -> None:
        x, y = (box[side] + (n + 0.5) * box[edge] / 56 for side, edge, n in (
            ("x", "width", col), ("y", "height", row)))  # fmt: skip
        page.mouse.move(x, y)
        page.wait_for_timeout(120)

    for row, col in ((21, 21), (22, 23), (21, 22)):
        point(row, col)
        expect(page.locator(".cf .right")).to_contain_text(f"({row}, {col})", use_inner_text=True)
    page.locator(".map").press("Escape")
    assert page.evaluate("document.querySelector('.cf').figure.outside") is None
    point(30, 31)
    assert page.evaluate(READ.replace("figure.set({ ...to, locked: true });", ""), [{}, None])["value"] > 0


def test_everything_can_be_reached_by_keyboard(tiny_model, figure) -> None:
    page = figure(packed(traced(tiny_model, (224, 224)), row=10, col=10, stage=1))
    page.locator(".map").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "]", ".", "Enter"):
        page.keyboard.press(key)
    state = page.evaluate("document.querySelector('.cf').figure.state")
    assert state == {"stage": 1, "block": 1, "head": 1, "row": 9, "col": 12, "locked": True}
    expect(page.locator(".live")).to_contain_text("Stage 2, Block 2 LDA, head 2", use_inner_text=True)
    expect(page.locator(".live")).to_contain_text("(9, 12)", use_inner_text=True)


def test_a_narrow_phone_does_not_scroll_sideways(tiny_model, figure) -> None:
    page = figure(packed(traced(tiny_model, (224, 224))), width=390, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".over").tap(position={"x": 100, "y": 120})
    assert page.evaluate("document.querySelector('.cf').figure.state.locked")


SVG = """async (text) => {
  const drawing = new DOMParser().parseFromString(text, "image/svg+xml");
  const photo = new Image();
  photo.src = drawing.querySelector("image")?.getAttribute("href");
  await photo.decode();
  const all = (what) => [...drawing.querySelectorAll(what)];
  return {
    error: drawing.querySelector("parsererror")?.textContent ?? null, photo: [photo.width, photo.height],
    members: all("rect.member").map((r) => ["data-attention", "x", "y"].map((n) => +r.getAttribute(n))),
    group: all("path.group").map((p) => p.getAttribute("stroke")), rings: all("circle").length,
    words: all("text").map((t) => t.textContent),
    cell: Number(drawing.querySelector("rect.member").getAttribute("width")),
  };
}"""


@pytest.mark.parametrize(("block", "ink"), [(0, theme.SDA), (1, theme.LDA)])
@pytest.mark.parametrize("size", [(224, 224), (160, 288)])
def test_the_svg_contains_what_is_shown(
    tiny_model, figure, size: tuple[int, int], block: int, ink: str
) -> None:
    """Valid XML with one rectangle per token of the group, at its place and with the model's attention."""
    trace = traced(tiny_model, size)
    g, probs = trace.grouping(0, block), trace[f"layers.0.blocks.{block}.attn.probs"]
    row, col = g.H - 1, g.W - 1  # where the padding of a padded map is
    group, query = g.group_of(row, col)
    message = packed(trace)
    page = figure(message)
    page.evaluate(READ, [{"stage": 0, "block": block, "head": 0, "row": row, "col": col}, None])
    with page.expect_download() as download:
        page.get_by_role("button", name=figure_words("attention")["save_vector"]).click()
    assert download.value.suggested_filename.endswith(".svg")
    found = page.evaluate(SVG, Path(download.value.path()).read_text("utf-8"))
    assert found["error"] is None
    assert found["photo"] == [size[1], size[0]]
    assert found["group"] == [ink]
    assert found["rings"] == 2  # white on dark
    members = g.members[group][g.valid[group]]
    shown = np.array(found["members"])
    assert len(shown) == len(members)
    np.testing.assert_allclose(shown[:, 0], probs[group, 0, query][g.valid[group]], atol=message.error + 1e-6)
    places = np.stack([members % g.W, members // g.W], -1)
    np.testing.assert_allclose(shown[:, 1:] / found["cell"], places, atol=0.05)
    assert "0" in found["words"]
    assert any(word.endswith("%") for word in found["words"])


# ---------------------------------------------------------------- in the app

SHADOW = "[...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.cf'))"
STATE = f"{SHADOW}.shadowRoot.querySelector('.cf').figure.state"


def living_page(open_page: Callable[..., Any], url: str, **more: Any) -> Any:
    page = open_page(url, **more)
    page.wait_for_selector(".cf[data-ready]")
    return page


def test_hovering_sends_nothing_and_a_click_is_recorded_in_the_link(app, open_page) -> None:
    sent: list[Any] = []
    page = living_page(open_page, app.url("attention", photo="cat", size=160, stage=1, block=1), sent=sent)
    over = page.locator(".cf .over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    quiet(page, sent)
    assert sent
    before = len(sent)
    for i in range(40):
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.02 * i), box["y"] + 0.3 * box["height"])
    page.wait_for_timeout(500)
    assert len(sent) == before
    padded = 42  # 40 x 40 tokens in windows of 7
    over.click(position={"x": box["width"] * 12.5 / padded, "y": box["height"] * 7.5 / padded})
    page.wait_for_url(lambda url: "held=1" in url)
    assert "stage=1&block=1&head=1&row=7&col=12&held=1" in page.url


def test_a_stage_is_sent_when_the_reader_goes_there(app, open_page) -> None:
    page = living_page(open_page, app.url("attention", photo="cat", size=160))
    ready = f"{SHADOW}.shadowRoot.querySelector('.cf').figure.stages.map((s) => s.blocks.map((b) => b.ready))"
    first = [[True] * 2, [False] * 2, [False] * 2, [False]]
    soon(page, lambda: page.evaluate(ready), first)
    quiet(page, [])
    assert page.evaluate(ready) == first
    page.locator(".cf .stages button").nth(2).click()
    soon(page, lambda: page.evaluate(ready), [first[0], first[1], [True] * 2, first[3]])
    assert page.locator(".cf p.absent").is_hidden()


def test_a_file_says_which_blocks_it_does_not_hold(tiny_model, figure) -> None:
    """It said that they were loading, for ever."""
    trace = traced(tiny_model, (64, 96))
    parts = units(trace.arrays, trace.groupings)
    start = {"stage": 0, "block": 0}
    some = pack(
        parts, size=trace.size, photo=trace.crop, strides={s: 4 * 2**s for s in range(4)},
        strings=figure_words("attention"), start=start, limit=0, alone=parts[0].nbytes,
    )  # fmt: skip
    assert (0, 1) in some.left
    page = figure(some)
    expect(page.locator(".cf p.absent")).to_be_hidden()
    page.get_by_role("radio", name=re.compile("Block 2")).click()
    expect(page.locator(".cf p.absent")).to_have_text(figure_words("attention")["not_here"])


def test_a_link_restores_the_figure_and_its_numbers_add_up(app, open_page) -> None:
    """The row shown for every head sums to one, in the app as in the offline page."""
    page = living_page(
        open_page,
        app.url("attention", photo="cat", size=256, stage=2, block=2, head=3, row=9, col=21, held=1),
    )
    assert page.evaluate(STATE) == {"stage": 1, "block": 1, "head": 2, "row": 9, "col": 21, "locked": True}
    sums = page.evaluate(f"""(() => {{
      const {{ probs, groups: {{ N }} }} = {SHADOW}.shadowRoot.querySelector('.cf').figure.frame;
      const heads = Array.from({{ length: probs.length / N }}, (_, h) => probs.slice(h * N, (h + 1) * N));
      return heads.map((row) => row.reduce((a, b) => a + b));
    }})()""")
    assert sums == pytest.approx([1.0] * 6)


def test_a_place_that_does_not_exist_is_moved_to_one_that_does(app, open_page) -> None:
    page = living_page(
        open_page, app.url("attention", photo="cat", size=160, stage=9, block=5, row=-3, col="x")
    )
    state = page.evaluate(STATE)
    assert (state["stage"], state["block"], state["head"]) == (0, 1, 0), (
        "long distance, with which the page opens"
    )
    assert 0 <= state["row"] < 40


def test_the_large_number_its_sentence_and_the_photo_fit_one_screen(app, open_page) -> None:
    """A phone showed the photo and none of its numbers; "9.58 %, rank 1 of 49" said nothing to a newcomer."""
    page = open_page(app.url("attention", lang="en", photo="cat"))
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_selector(".cf[data-ready]")
        page.mouse.move(0, 0)
        page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
        page.wait_for_timeout(500)
        said = page.locator(".cf .looks").inner_text()
        assert said.startswith(
            "of this token’s attention in head 1 goes to the token that it looks at most, "
        )
        assert re.search(r", [\d.]+ times an even share\.$", said)
        for part in (".value", ".looks", ".over"):
            box = page.locator(f".cf {part}").bounding_box()
            assert 0 <= box["y"] <= box["y"] + box["height"] <= height, (part, width)
        page.locator(".cf .over").hover(position={"x": 20, "y": 20})
        share = page.locator(".cf .value").inner_text()
        assert share.endswith("%")
