"""The page on grouping: its link, its words, and its numbers in a browser compared with Python's."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from cfviz.analysis.reach import multiply_adds, reach
from cfviz.figures.live.grouping import DEFAULTS, LIMITS, state_from_link
from cfviz.geometry import LDA, Grouping, grouping, lsda, map_sizes
from cfviz.geometry.schemes import families
from cfviz.models.factory import create_model
from cfviz.models.variants import VARIANTS
from cfviz.ui.compute import models
from cfviz.ui.pages import grouping as grouping_page
from cfviz.ui.pages.grouping import opening
from cfviz.ui.session import state
from cfviz.ui.session.state import Settings
from cfviz.web import GROUPING, WEB
from cfviz.words import figure_words, translator
from tests.conftest import quiet, soon
from tests.e2e.test_every_page import wide

DRAWN = """([x, y]) => {
  const { board, app } = window.page.figures[0];
  const { lattice, start } = board;
  const { row, col } = app.state;
  const [left, top] = [start + lattice.x(col), start + lattice.y(row)];
  return [(x - left) / lattice.cell, (y - top) / lattice.cell];
}"""

ROOT = Path(__file__).resolve().parents[2]
ARTICLE = {  # the two prints of the article
    "sda": [[[1, 2], [2, 4]], [[3, 4], [6, 8]], [[3, 6], [4, 8]], [[9, 12], [12, 16]]],
    "lda": [[[1, 3], [3, 9]], [[2, 4], [6, 12]], [[2, 6], [4, 12]], [[4, 8], [8, 16]]],
}
FIND = """() => {
  const find = (node) => {
    for (const e of node.querySelectorAll("*")) {
      const found = e.app ?? (e.shadowRoot && find(e.shadowRoot));
      if (found) return found;
    }
  };
  window.page = find(document);
  return Boolean(window.page);
}"""


# ---------------------------------------------------------------- Python


@pytest.mark.parametrize("kind", ["sda", "lda"])
def test_the_articles_example_of_two_reshapes(kind: str) -> None:
    values = np.arange(1, 5)[:, None] * np.arange(1, 5)
    g = grouping(kind, 4, 4, 2, 2)
    assert g.gather(values).reshape(4, 2, 2).tolist() == ARTICLE[kind]
    pattern = {"sda": "(h g1) (w g2) -> (h w) g1 g2", "lda": "(g1 h) (g2 w) -> (h w) g1 g2"}[kind]
    assert rearrange(values, pattern, g1=2, g2=2).tolist() == ARTICLE[kind]


def run(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.switch_page("pages/grouping.py")
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_the_page_runs_without_a_model(lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(*args: object) -> None:
        raise AssertionError("the page on grouping asked for a model")

    monkeypatch.setattr("cfviz.ui.context.Context.model", property(no_model))
    app = run(lang=lang, map="30x45", g="7", i="adaptive", kind="sda", q="29.44")
    assert not app.exception
    assert not app.error
    assert app.title[0].value == translator(lang)("grouping.title")


def test_a_link_is_read() -> None:
    start, bad = state_from_link(
        {"map": "30x45", "g": "4", "i": "adaptive", "form": "whole", "kind": "sda", "c": "64", "q": "29.44",
         "lang": "en"}
    )  # fmt: skip
    assert start == {
        "h": 30, "w": 45, "g": 4, "i": "adaptive", "form": "whole", "kind": "sda", "c": 64, "row": 29,
        "col": 44, "open": "",
    }  # fmt: skip
    assert bad == []
    assert state_from_link({}) == (state_from_link(DEFAULTS)[0], [])


@pytest.mark.parametrize(
    ("name", "value"),
    [("map", "0x5"), ("map", "513x5"), ("map", "56"), ("map", "axb"), ("g", "99"), ("g", "7.5"),
     ("i", "auto"), ("i", "-1"), ("form", "global"), ("kind", "SDA"),
     ("c", "97"), ("c", "many"), ("q", "56.0"), ("q", "1"), ("q", "²0.1")],
)  # fmt: skip
def test_a_bad_value_is_replaced_by_its_default(name: str, value: str) -> None:
    start, bad = state_from_link({**DEFAULTS, name: value})
    assert bad == [name]
    assert start == state_from_link({})[0]


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(max_size=8)))
def test_any_link_leads_to_a_state_that_can_be_drawn(query: dict[str, str]) -> None:
    start, _ = state_from_link(query)
    assert 1 <= start["h"] <= LIMITS["side"]
    assert 1 <= start["w"] <= LIMITS["side"]
    assert 0 <= start["row"] < start["h"]
    assert 0 <= start["col"] < start["w"]


def test_the_catalogue_has_exactly_the_words_that_figures_use() -> None:
    """The names after `t.` in the modules are in the catalogue, and none in the catalogue is unused."""
    have = set(figure_words("grouping"))
    modules = [*(WEB / "grouping").glob("*.js"), WEB / "zoom" / "zoom.js"]
    text = "\n".join(path.read_text("utf-8") for path in modules)
    asked = set(re.findall(r"\bt\.(\w+)", text))
    templates = re.findall(r"\bt\[`(\w*)\$\{[^}]+\}(\w*)`\]", text)
    assert asked <= have, f"missing: {sorted(asked - have)}"
    built = {w for w in have for head, tail in templates if w.startswith(head) and w.endswith(tail)}
    spare = have - asked - built
    assert not spare, f"unused: {sorted(spare)}"


def test_the_modules_join_into_one() -> None:
    joined = GROUPING.script
    assert joined.count("export ") == 1
    assert "\nimport " not in joined


# ---------------------------------------------------------------- in the browser


@pytest.fixture
def page(app: Any, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """A function that opens the page and waits for its figures."""

    def visit(
        width: int = 1440,
        height: int = 900,
        theme: str = "light",
        sent: list[Any] | None = None,
        **query: str,
    ) -> Any:
        url = app.url("grouping", **{"open": "all", **query})
        page = open_page(url, width=width, height=height, theme=theme, sent=sent)
        page.wait_for_function(FIND, timeout=30_000)
        page.wait_for_function("window.page.drawn > 0")
        return page

    return visit


def cases(count: int) -> list[dict[str, Any]]:
    pick = random.Random(4)
    out = []
    for _ in range(count):
        H, W = pick.randint(1, 28), pick.randint(1, 28)
        out.append(
            {"H": H, "W": W, "G": pick.randint(1, 8), "I": pick.randint(1, 6), "window": pick.randint(2, 8),
             "ratio": pick.randint(1, min(H, W, 6)), "row": pick.randrange(H), "col": pick.randrange(W),
             "form": pick.choice(LDA), "Gw": pick.randint(1, 8)}
        )  # fmt: skip
    out += [
        {
            "H": 56,
            "W": 56,
            "G": 7,
            "I": 8,
            "window": 7,
            "ratio": 8,
            "row": 20,
            "col": 20,
            "form": form,
            "Gw": 3,
        }
        for form in LDA
    ]
    out += [
        {
            "H": 112,
            "W": 80,
            "G": 7,
            "I": 16,
            "window": 7,
            "ratio": 8,
            "row": 3,
            "col": 77,
            "form": form,
            "Gw": 9,
        }
        for form in LDA
    ]
    out += [  # stages 3 and 4 at 800 x 1216 px: groups of 25 x 38 tokens
        {
            "H": 50,
            "W": 76,
            "G": 7,
            "I": 2,
            "window": 7,
            "ratio": 4,
            "row": 49,
            "col": 3,
            "form": "whole",
            "Gw": 5,
        },
        {
            "H": 25,
            "W": 38,
            "G": 7,
            "I": 1,
            "window": 7,
            "ratio": 2,
            "row": 9,
            "col": 37,
            "form": "whole",
            "Gw": 8,
        },
    ]
    return out


ASK = """(cases) => cases.map(({ H, W, G, I, window: w, ratio, row, col, form, Gw }) => {
  const rectangles = [grouping("sda", H, W, G, 1, Gw), grouping("lda", H, W, G, I, Gw)];
  const pair = [grouping("sda", H, W, G), long(H, W, G, I, form), ...rectangles];
  const layer = (s) => {
    const { tokens, keys } = heard(s, row, col);
    return [s.name, [...tokens], keys, multiplyAdds(s, 8)];
  };
  const methods = Object.entries(families(H, W, G, I, w, ratio, form)).map(([name, layers]) => [name, {
    first: [...arrival(layers, row, col, 5).first], layers: layers.map(layer),
  }]);
  const groups = pair.map((g) => [[...g.index], [...g.members], digits(g, row, col)]);
  return { groups, methods: Object.fromEntries(methods) };
})"""


@pytest.mark.browser
def test_the_browser_counts_like_python(browser: Any) -> None:
    """The geometry in JavaScript, over many maps: groups, keys, masks, reach and costs, number by number."""
    source = (WEB / "grouping" / "geo.js").read_text("utf-8").replace("export ", "")
    asked = cases(60)
    window = browser.new_page()
    answers = json.loads(
        window.evaluate(f"(cases) => {{ {source}\n return JSON.stringify(({ASK})(cases)); }}", asked)
    )
    window.close()
    for case, answer in zip(asked, answers, strict=True):
        H, W, G, I = (case[k] for k in "HWGI")  # noqa: E741
        row, col, form, Gw = (case[k] for k in ("row", "col", "form", "Gw"))
        pair = (
            grouping("sda", H, W, G), grouping("lda", H, W, G, I, form),
            Grouping("sda", H, W, G, 1, Gw), Grouping("lda", H, W, G, I, Gw),
        )  # fmt: skip
        for g, (index, members, place) in zip(pair, answer["groups"], strict=True):
            assert g.index.reshape(-1).tolist() == index, case
            assert g.members.reshape(-1).tolist() == members, case
            assert g.group_of(row, col) == (place["group"], place["slot"]), case
        for name, layers in families(H, W, G, I, case["window"], case["ratio"], form).items():
            sets = reach(layers, row, col, 5)
            first = np.where(sets.any(0), sets.argmax(0), 255)
            assert first.reshape(-1).tolist() == answer["methods"][name]["first"], (case, name)
            for scheme, told in zip(layers, answer["methods"][name]["layers"], strict=True):
                heard = scheme.sources(row, col) + 2 * scheme.masked(row, col)
                cost = multiply_adds(scheme, 8)
                costs = {
                    "attention": cost.attention,
                    "projections": cost.projections,
                    "reduction": cost.reduction,
                }
                counts = [scheme.name, heard.reshape(-1).tolist(), len(scheme.scored(row, col))]
                assert [*counts, costs | {"total": cost.total}] == told, (case, scheme.name)


@pytest.mark.browser
def test_pointing_changes_the_picture_without_a_message(app: Any, page: Callable[..., Any]) -> None:
    sent: list[Any] = []
    window = page(map="22x30", g="5", i="3", q="20.28", sent=sent)
    assert window.evaluate("[window.page.state.row, window.page.state.col]") == [20, 28]
    quiet(window, sent)
    assert sent, "the socket was not seen at all"
    before, count = picture(window), len(sent)
    over = window.locator(".gr .groups canvas.over")
    box = over.bounding_box()
    for step in range(40):
        window.mouse.move(box["x"] + 20 + 6 * step, box["y"] + 20 + 4 * step)
    window.wait_for_timeout(900)  # time in which a link would be written
    assert picture(window) != before
    assert len(sent) == count
    state = window.evaluate("window.page.state")
    soon(window, lambda: f"q={state['row']}.{state['col']}" in window.url, True)
    g = grouping("lda", 22, 30, 5, 3)
    group, slot = g.group_of(state["row"], state["col"])
    headline = window.locator(".gr .groups .headline").inner_text()
    assert headline == f"Token ({state['row']}, {state['col']}) is member {slot} of group {group}"


@pytest.mark.browser
def test_an_enlarged_map_points_at_the_token_it_draws(page: Callable[..., Any]) -> None:
    window = page(map="50x76", g="7", i="2", q="0.0", form="whole")
    over, seen = window.locator(".gr .groups canvas.over"), window.locator(".gr .groups .zoom button").nth(1)
    box = over.bounding_box()

    def check(times: str) -> None:
        assert seen.inner_text() == times
        for x, y in ((0.3, 0.35), (0.52, 0.48), (0.71, 0.66)):
            window.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            off = window.evaluate(DRAWN, [x * box["width"], y * box["height"]])
            assert all(-0.1 <= share <= 1.1 for share in off), f"the token is drawn elsewhere: {off}"

    check("1×")
    for _ in range(2):
        window.locator(".gr .groups .zoom button").nth(2).click()
    soon(window, lambda: window.evaluate("window.page.figures[0].board.lattice.enlarged"), True)
    check("2.3×")
    left = window.evaluate("window.page.figures[0].board.zoom.left")
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    window.mouse.move(*middle)
    window.mouse.down()
    window.mouse.move(middle[0] - 60, middle[1], steps=3)
    window.mouse.up()
    assert window.evaluate("window.page.figures[0].board.zoom.left") > left
    assert window.evaluate("!window.page.state.locked"), "a drag is no click"
    check("2.3×")
    window.locator(".gr .groups .map").focus()
    for _ in range(80):
        window.keyboard.press("ArrowLeft")
    assert window.evaluate("window.page.figures[0].board.zoom.left") == 0
    window.keyboard.press("0")
    check("1×")


def picture(window: Any) -> str:
    return window.evaluate("window.page.figures[0].board.over.canvas.toDataURL()")


@pytest.mark.browser
def test_keys_move_and_lock_the_token_and_the_link_follows(page: Callable[..., Any]) -> None:
    window = page(lang="en", map="12x12", g="3", i="4", kind="sda", q="0.0")
    window.locator(".gr .groups .map").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "Enter"):
        window.keyboard.press(key)
    assert window.evaluate("(({ row, col, locked }) => [row, col, locked])(window.page.state)") == [
        0,
        2,
        True,
    ]
    window.wait_for_function("window.location.search.includes('q=0.2')")
    live = window.locator(".gr .live")
    soon(window, lambda: "Token (0, 2) is member 2 of group 0" in live.inner_text(), True)
    again = page(**dict(pair.split("=") for pair in window.url.split("?")[1].split("&")))
    kept = {"h": 12, "w": 12, "g": 3, "i": 4, "kind": "sda", "row": 0, "col": 2}
    assert kept.items() <= again.evaluate("window.page.state").items()


@pytest.mark.browser
def test_a_bad_link_gets_a_notice(page: Callable[..., Any]) -> None:
    window = page(lang="en", map="9999x1", g="7")
    assert window.locator(".gr .bad").inner_text() == translator("en")("grouping.figure.bad_link")
    window.wait_for_function("window.location.search.includes('map=56x56')")


@pytest.mark.browser
@pytest.mark.parametrize("form", LDA)
def test_prints_agree_with_pytorch_and_shown_code_runs(page: Callable[..., Any], form: Any) -> None:
    """Both prints agree to the digit, on the article's map and on a padded one."""
    window = page(lang="en", map="20x13", g="4", i="2", q="19.12", form=form)
    for size in ({"H": 4, "W": 4, "G": 2, "I": 2}, {"H": 5, "W": 7, "G": 2, "I": 3}):
        window.evaluate("(size) => window.page.figures[1].resize(size)", size)
        texts = window.evaluate("window.page.figures[1].text")
        H, W, G, I = (size[k] for k in "HWGI")  # noqa: E741
        values = np.arange(1, H + 1)[:, None] * np.arange(1, W + 1)
        for kind in ("sda", "lda"):
            g = grouping(kind, H, W, G, I, form)
            expected = torch.from_numpy(g.gather(values).reshape(g.nG, g.Gh, g.Gw))
            with torch.no_grad():
                torch.set_printoptions(threshold=10**6)
                assert texts[kind].splitlines() == str(expected).splitlines()
                torch.set_printoptions(profile="default")
        if (H, W) == (4, 4):
            assert [eval_print(texts[kind]) for kind in ("sda", "lda")] == [ARTICLE["sda"], ARTICLE["lda"]]
        printed = execute(window.evaluate("window.page.figures[1].code()"))
        assert printed == f"{texts['sda']}\n{texts['lda']}\n"
    for number in (2, 3):
        plate(window, number).scroll_into_view_if_needed()
        window.wait_for_function(f"window.page.seen.has(window.page.figures[{number}])")
        window.wait_for_timeout(200)
    for number in (0, 2, 3):
        code = window.evaluate(f"window.page.figures[{number}].code()")
        printed = execute(code)
        if number == 2:
            counts = window.evaluate("window.page.figures[2].sets.crossformer.counts")
            assert printed.splitlines()[0] == str(counts)
        if number == 0:
            said = [line.split("# ")[1] for line in code.splitlines() if line.startswith("print(multiply")]
            assert printed.splitlines()[-2:] == said


@pytest.mark.browser
def test_whole_map_groups_of_a_detector_are_drawn_and_counted(page: Callable[..., Any]) -> None:
    """Stage 3 at 800 x 1216 px: 2 x 2 groups of 25 x 38 tokens; the link keeps the form."""
    window = page(lang="en", map="50x76", g="7", i="2", form="whole", kind="lda", c="96", q="49.75")
    text = window.locator(".gr .groups").inner_text()
    assert "member 949 of group 3" in text
    assert "row 49 = g·I + i = 24·2 + 1" in text
    assert "col 75 = g·I + i = 37·2 + 1" in text
    assert "25\u00a0×\u00a038 = 950 tokens" in text
    assert "2\u00a0×\u00a02 = 4" in text
    assert "2·H·W·(H/I)·(W/I)·C = 2·50·76·25·38·96" in text
    counts = window.evaluate("window.page.families.crossformer.map((s) => [s.nG, s.Nq])")
    assert counts == [[88, 49], [4, 950]]
    window.locator("select").and_(window.get_by_label("LDA", exact=True)).select_option("regions")
    window.wait_for_function("window.location.search.includes('form=regions')")
    soon(window, lambda: "8\u00a0×\u00a012 = 96" in window.locator(".gr .groups").inner_text(), True)


@pytest.mark.browser
def test_the_example_draws_its_padding(page: Callable[..., Any]) -> None:
    """Every padded cell of SDA and LDA is on the page, in the saved picture and marked in the prints."""
    window = page(lang="en")
    for size in ((5, 7, 2, 3), (4, 4, 2, 2)):
        check_padding(window, *size)


def check_padding(window: Any, H: int, W: int, G: int, I: int) -> None:  # noqa: E741
    window.evaluate("(size) => window.page.figures[1].resize(size)", {"H": H, "W": W, "G": G, "I": I})
    window.evaluate("window.page.figures[1].choose(0, 0)")
    window.evaluate("window.page.figures[1].draw()")
    pair = {"sda": grouping("sda", H, W, G), "lda": grouping("lda", H, W, G, I)}
    Hp, Wp = (max(getattr(g, side) for g in pair.values()) for side in ("Hp", "Wp"))
    cells = window.evaluate(
        "window.page.figures[1].nodes.map((e) =>"
        " ['pad', 'in-sda', 'in-lda'].map((c) => e.classList.contains(c)))"
    )
    assert [pad for pad, _, _ in cells] == [not (r < H and c < W) for r in range(Hp) for c in range(Wp)]
    for slot, (kind, g) in enumerate(pair.items(), 1):
        at = {divmod(int(flat), g.Wp) for flat in g.index[g.group_of(0, 0)[0]].reshape(-1)}
        assert {divmod(i, Wp) for i, cell in enumerate(cells) if cell[slot]} == at, kind
        marks = window.evaluate(
            "(kind) => window.page.figures[1].prints.find((p) => p.kind === kind)"
            ".marks.map((e) => [e.classList.contains('pad'), e.textContent.trim()])",
            kind,
        )
        assert [pad for pad, _ in marks] == (g.members < 0).reshape(-1).tolist()
        assert all(text == "0" for pad, text in marks if pad)
    drawn = window.evaluate(
        """() => {
      const hatched = [];
      const pen = { hatch: (...at) => hatched.push(at), text() {}, frame() {} };
      window.page.figures[1].picture().draw(pen);
      return hatched.length;
    }"""
    )
    assert drawn == Hp * Wp - H * W + sum(int((g.members < 0).sum()) for g in pair.values())
    assert window.locator(".gr .example .pads").is_visible() == (drawn > 0)


def plate(window: Any, number: int) -> Any:
    """A figure with its code and files: the first is always open, the others are in sections of the page."""
    plates = window.locator(".gr :is(section, details).plate")
    assert plates.count() == 4
    found = plates.nth(number)
    assert found.evaluate("e => e.localName === 'section' || e.open"), "the link opens every section"
    assert found.locator(".plate-body").is_visible()
    return found


@pytest.mark.browser
def test_code_and_files_do_not_wait_for_the_frame_that_draws_the_figure(page: Callable[..., Any]) -> None:
    """A section that had never been drawn threw when its code or table was asked for at once."""
    window = page(lang="en", map="12x12", g="3", i="4", open="")
    for number in (1, 2, 3):
        check_undrawn(window, number)


def check_undrawn(window: Any, number: int) -> None:
    text = window.evaluate(
        """async (number) => {
          const { plate } = window.page.figures[number];
          window.page.requestDraw = () => {};  // no frame comes
          plate.root.open = true;
          plate.csv();
          plate.svg();
          plate.png();
          const details = plate.root.querySelector(".show");
          details.open = true;
          await new Promise((done) => details.addEventListener("toggle", () => setTimeout(done)));
          return plate.code.textContent;
        }""",
        number,
    )
    assert "undefined" not in text
    execute(text)
    assert text == window.evaluate("(number) => window.page.figures[number].code()", number)


def eval_print(text: str) -> list[Any]:
    return json.loads("".join(text.removeprefix("tensor(").removesuffix(")").split()))


def execute(code: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "shown", "exec"), {})
    return out.getvalue()


def downloaded(window: Any, button: Any) -> Any:
    """What a button saves; pressed up to three times, as headless Chromium sometimes loses a download."""
    from playwright.sync_api import TimeoutError as Late

    for _ in range(2):
        with contextlib.suppress(Late):
            with window.expect_download(timeout=8_000) as download:
                button.click()
            return download.value
    with window.expect_download() as download:
        button.click()
    return download.value


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme", "lang"), [(390, "dark", "zh-Hant"), (1440, "light", "en")])
def test_the_page_fits_and_every_figure_can_be_downloaded(
    page: Callable[..., Any], tmp_path: Path, width: int, theme: str, lang: str
) -> None:
    window = page(width=width, theme=theme, lang=lang, map="30x45", g="7", i="4")
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert window.evaluate("window.page.mode") == theme
    data = figure_words("grouping", lang)["save_numbers"]
    starts = {"PNG": b"\x89PNG", "SVG": b"<svg", data: b"\xef\xbb\xbf"}
    for number in range(4):
        section = plate(window, number)
        section.scroll_into_view_if_needed()
        window.wait_for_function(f"!window.page.stale.has(window.page.figures[{number}])")
        for kind, start in starts.items():
            saved = tmp_path / f"{number}.{kind[:3]}"
            downloaded(window, section.get_by_role("button", name=kind, exact=True)).save_as(saved)
            assert saved.read_bytes().startswith(start)
        assert len(saved.read_bytes().splitlines()) > 4
    window.set_viewport_size({"width": 390, "height": 844})  # figures out of sight were drawn for more
    soon(window, lambda: wide(window) <= 390, True)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the session keeps."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(grouping_page.st, "session_state", found)
    return found


NANO = Settings(model="crossformer_nano", size=192)


def map_of(start: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(start[name] for name in ("h", "w", "g", "i", "c", "form"))


def test_the_page_shows_the_chosen_models_first_stage(kept: dict[str, Any]) -> None:
    """C was 96 whatever the model; nano has 48."""
    opens = opening(NANO, {})
    start = opens.start
    assert (start["h"], start["g"], start["i"], start["c"], opens.bad) == (48, 7, 8, 48, [])
    assert opening(NANO, {"c": "384"}).start["c"] == 384, "the link has the last word"
    other = replace(NANO, model="crossformer_pp_large")
    start = opening(other, {"c": "384", "kind": "sda"}).start
    assert (start["g"], start["i"], start["c"], start["kind"]) == (4, 4, 128, "sda"), (
        "until the model changes"
    )
    for name in VARIANTS:
        assert opening(replace(NANO, model=name), {}).bad == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 224, 448, (192, 640), (800, 1216), (2048, 32), 2048])
@pytest.mark.parametrize("form", LDA)
def test_every_stage_of_every_model_at_every_size_can_be_shown(
    size: Any, form: Any, kept: dict[str, Any]
) -> None:
    """At 800 x 1216 the map of the first stage was too large for the figures, and the page showed 56 x 56."""
    for name in VARIANTS:
        settings = Settings(model=name, size=size, lda=form)
        net = create_model(name) if name == "crossformer_nano" else None
        for stage, (h, w) in enumerate(map_sizes(*settings.sides)):
            opens = opening(settings, {"stage": str(stage + 1)})
            about = VARIANTS[name]
            G, I, C = about["group_size"][stage], about["interval"][stage], about["embed_dim"] * 2**stage  # noqa: E741
            expected = (h, w, G, I, C, form)
            assert (map_of(opens.start), opens.bad) == (expected, [])
            assert [map_of(one) for one in opens.stages][stage] == expected
            if net is not None:
                net.set_grouping(lda=form)
                pair = net.groupings(*settings.sides)[stage]
                assert [lsda(h, w, b, G, I, form) for b in range(len(pair))] == pair


def test_a_link_that_names_a_map_wins_over_the_stage_and_the_size(kept: dict[str, Any]) -> None:
    wide = replace(NANO, size=(800, 1216))
    opens = opening(wide, {"map": "30x45", "stage": "3"})
    assert (opens.start["h"], opens.start["w"], opens.bad) == (30, 45, [])
    assert opening(wide, {"map": "30x45"}).start["h"] == 30, "in a rerun too"
    for text in ("0", "5", "x", "33", "-1"):
        opens = opening(wide, {"stage": text})
        assert (opens.start["h"], opens.bad) == (200, ["stage"])


def test_the_map_follows_size_form_and_model_and_stays_with_the_stage(kept: dict[str, Any]) -> None:
    """What the page wrote into the link for the old size is not a map that the reader named."""
    start = opening(NANO, {"stage": "3"}).start
    written = {
        "map": f"{start['h']}x{start['w']}", "g": "7", "i": "2", "c": "192", "form": "regions", "q": "3.3",
        "kind": "sda", "stage": "3",
    }  # fmt: skip
    state.put_extra("grouping", **written)
    wide = replace(NANO, size=(800, 1216))
    opens = opening(wide, written)
    assert (map_of(opens.start), opens.start["kind"]) == ((50, 76, 7, 2, 192, "regions"), "sda")
    kept_of_page = kept["cfviz.extras"]["grouping"]
    assert kept_of_page == {"kind": "sda", "stage": "3"}, "or the next run would bring the old map back"
    written |= {"map": "50x76"}
    whole = replace(wide, lda="whole")
    assert map_of(opening(whole, written).start) == (50, 76, 7, 2, 192, "whole")
    assert opening(whole, written | {"form": "regions"}).start["form"] == "regions", "chosen on the page"


def test_a_map_of_the_readers_own_belongs_to_no_stage(kept: dict[str, Any]) -> None:
    opening(NANO, {"stage": "3"})
    mine = {"map": "9x9", "g": "3", "i": "2", "c": "192", "form": "regions", "stage": "3"}
    assert opening(NANO, mine).start["h"] == 9
    assert opening(replace(NANO, size=224), mine).start["h"] == 56


def test_a_model_that_the_figures_cannot_show_leaves_its_stages_out(
    kept: dict[str, Any], tiny_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a map with the model's sides and somebody else's groups."""
    net = tiny_model(embed_dim=32, group_size=(40, 7, 7, 7))
    monkeypatch.setattr(models, "own", lambda: {"own-1": net})
    opens = opening(Settings(model="own-1"), {})
    assert [(one["number"], one["blocks"]) for one in opens.stages] == [
        (s + 1, net.depths[s]) for s in (1, 2, 3)
    ]
    assert map_of(opens.start) == (28, 28, 7, 4, 64, "regions")


@pytest.mark.browser
def test_the_page_opens_at_the_chosen_size_and_offers_the_models_stages(page: Callable[..., Any]) -> None:
    window = page(lang="en", size="800x1216", lda="whole", open="")
    shown = "(({ h, w, g, i, c, form }) => [h, w, g, i, c, form])(window.page.state)"
    assert window.evaluate(shown) == [200, 304, 7, 8, 48, "whole"]
    window.get_by_label("Map", exact=True).select_option(label="Stage 3: 50 × 76")
    window.wait_for_function("window.location.search.includes('stage=3')")
    assert window.evaluate(shown) == [50, 76, 7, 2, 192, "whole"]
    soon(window, lambda: "2\u00a0×\u00a02 = 4" in window.locator(".gr .groups").inner_text(), True)
    growth = window.locator("[aria-labelledby=gr-growth]")
    growth.locator("summary").first.click()
    soon(window, lambda: "this is stage 3, which has 2 blocks" in growth.inner_text(), True)
    window.reload()
    window.wait_for_function(FIND, timeout=30_000)
    assert window.evaluate(shown) == [50, 76, 7, 2, 192, "whole"]
    window.evaluate("window.page.change({ h: 49 })")
    window.wait_for_function("!window.location.search.includes('stage=')")
