"""The site without a server: its numbers are the library's, and it asks for nothing outside itself."""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from mimetypes import guess_type
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect

from cfviz import point_names
from cfviz.data.samples import sample
from cfviz.figures.live import grouping
from cfviz.models.variants import BUNDLED
from cfviz.run import inspect, load
from cfviz.site import Built, build, lessons, own, pages
from cfviz.site.build import LIST
from cfviz.trace import Trace
from cfviz.words import LANGUAGES, translator
from tests.conftest import soon
from tests.e2e.test_accessibility import violations

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHOTOS = ("german-shepherd", "cat")
FIRST_VISIT = 5_000_000  # bytes, all pages together
REFUSED = """window.refused = [];
document.addEventListener("securitypolicyviolation",
  (e) => refused.push(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));"""
FIGURE = """(name) => {  // undefined as long as the page, or a lesson's step, has none
  const root = document.querySelector(`[data-figure=${name}]`)?.shadowRoot;
  return root?.querySelector(".cf")?.figure ?? root?.querySelector(".gr")?.app;
}"""
ATTENTION = f"""([stage, block, head, row, col]) => new Promise((done) => {{
  const figure = ({FIGURE})("attention");
  figure.stopTour();
  figure.set({{ stage, block, head, row, col, locked: true }}, true);
  const look = () => {{
    if (!figure.block.ready) return requestAnimationFrame(look);
    requestAnimationFrame(() => requestAnimationFrame(() => {{
      const {{ group, groups, probs }} = figure.frame;
      const n = groups.N;
      done({{ group, probs: [...probs.slice(head * n, (head + 1) * n)], error: figure.header.error }});
    }}));
  }};
  look();
}})"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    """The site with two photos."""
    out = tmp_path_factory.mktemp("site") / "dist"
    return out, build(out, "https://example.org/app", [sample(id) for id in PHOTOS])


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    """What the library makes of the same photos."""
    model = load(BUNDLED)
    watch = [f"layers.*.blocks.*.attn.{name}" for name in ("probs", "bias")]
    return {id: inspect(sample(id).typed, model, watch=watch) for id in PHOTOS}


class Visitor:
    """Opens pages of a site; what comes from elsewhere, is missing or refused by the policy is a fault.

    Attributes:
        sent: Name and bytes of each file that the site sent.
        faults: One sentence each.
        late: The end of a file's name -> what its answer waits for.
    """

    def __init__(self, out: Path, serve: Any, browser: Any) -> None:
        self.out, self.browser = out, browser
        self.sent: list[tuple[str, int]] = []
        self.faults: list[str] = []
        self.late: dict[str, Event] = {}
        self.windows: list[Any] = []
        self.base = serve(self.answer)
        self.others: tuple[str, ...] = ()  # origins that a page is meant to come from, too

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = urlsplit(request.path).path.lstrip("/") or "index.html"
        file = self.out / name
        if not file.is_file():
            self.faults.append(f"there is no {name}")
            request.send_error(404)
            return
        for end, come in self.late.items():
            assert not name.endswith(end) or come.wait(60)
        body = file.read_bytes()
        self.sent.append((name, len(body)))
        request.send_response(200)
        request.send_header("Content-Type", guess_type(name)[0] or "application/octet-stream")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __call__(
        self, path: str = "index.html", width: int = 1440, theme: str = "light", **context: Any
    ) -> Any:
        size = {"width": width, "height": 900}
        window = self.browser.new_context(viewport=size, color_scheme=theme, **context)
        window.add_init_script(REFUSED)
        self.windows.append(window)
        page = window.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        window.on("request", lambda request: self.see(request.url))  # the service worker's, too
        page.goto(f"{self.base}/{path}")
        page.locator(".figure[data-drawn]").first.wait_for()
        return page

    def see(self, url: str) -> None:
        if not url.startswith((self.base, *self.others, "blob:", "data:")):
            self.faults.append(f"request to {url}")

    def leave(self) -> None:
        for window in self.windows:
            for page in window.pages:
                self.faults += page.evaluate("window.refused")
            window.close()
        assert not self.faults


@pytest.fixture
def visit(built: tuple[Path, Built], serve: Any, browser: Any) -> Iterator[Visitor]:
    visitor = Visitor(built[0], serve, browser)
    yield visitor
    visitor.leave()


def test_attention_is_the_librarys_at_random_tokens(visit: Visitor, traces: dict[str, Trace]) -> None:
    """In every block, also after another photo was chosen."""
    page, rng = visit(f"attention.html?photo={PHOTOS[0]}"), random.Random(0)
    for id in PHOTOS:
        if id != PHOTOS[0]:
            page.get_by_role("radio", name=translator("en")(f"gallery.{id}")).click()
            page.wait_for_function(f"() => ({FIGURE})('attention')?.header.source === '{id}'")
        trace = traces[id]
        for s, stage in enumerate(trace.groupings):
            for b, g in enumerate(stage):
                probs = trace[point_names.attention(s, b)]  # nG, nH, N, N
                at = [s, b, rng.randrange(probs.shape[1]), rng.randrange(g.H), rng.randrange(g.W)]
                found = page.evaluate(ATTENTION, at)
                group, slot = g.group_of(*at[3:])
                assert found["group"] == group
                wanted = probs[group, at[2], slot]
                assert np.abs(np.array(found["probs"]) - wanted).max() <= found["error"] + 1e-6, (id, at)
                assert found["error"] < 1e-4


def test_the_prediction_is_the_librarys(visit: Visitor, traces: dict[str, Trace]) -> None:
    for lang in LANGUAGES:
        page = visit(pages.address("home", lang) + f"?photo={PHOTOS[0]}")
        wanted = [f"{100 * p:.1f}" for _, _, p in traces[PHOTOS[0]].top(5)]
        texts = page.locator(".whole .answer li .num").all_inner_texts()
        assert [re.sub(r"[^\d.]", "", text) for text in texts] == wanted
        line = page.locator(".whole .answer > .note").first.inner_text()
        assert line, "what is known about the answer"


def test_shares_of_kernels_are_the_librarys(visit: Visitor) -> None:
    from cfviz.measured import cel
    from cfviz.models.probes.embedding import layer

    model, rng = load(BUNDLED), random.Random(1)
    trace = inspect(sample(PHOTOS[1]).typed, model, watch=point_names.embeddings())
    page = visit(f"embedding.html?photo={PHOTOS[1]}")
    for s in range(4):
        wanted = cel(layer(model, s), trace[point_names.embedding(s)])
        H, W, _ = wanted.tokens.shape
        row, col = rng.randrange(H), rng.randrange(W)
        found = page.evaluate(
            f"""([cel, row, col]) => new Promise((done) => {{
              const figure = ({FIGURE})("embedding");
              figure.choose(cel);
              figure.set({{ row, col, measure: "carried" }}, true);
              requestAnimationFrame(() => requestAnimationFrame(() => done([...figure.values])));
            }})""",
            [s, row, col],
        )
        assert found == pytest.approx(wanted.carried[:, row, col].tolist(), abs=1e-6)
    page.wait_for_function("() => new URLSearchParams(location.search).get('cel') === '4'")


def test_biases_are_the_librarys(visit: Visitor) -> None:
    from cfviz.measured import surfaces_of

    model = load(BUNDLED)
    page = visit("position_bias.html?stage=3&block=2&head=5&open=made.resized")
    page.wait_for_function("() => document.querySelectorAll('.figure[data-drawn]').length === 3")
    found = page.evaluate(
        f"""() => {{
          const figure = ({FIGURE})("surfaces");
          const tables = figure.blocks.map((block) => block.tables.map((table) => [...table]));
          return {{ state: figure.state, tables }};
        }}"""
    )
    blocks = [(s, b) for s, stage in enumerate(model.stages) for b, _ in enumerate(stage.block_list)]
    assert (found["state"]["block"], found["state"]["head"]) == (blocks.index((2, 1)), 4)
    for (s, b), table in zip(blocks, found["tables"], strict=True):
        wanted = surfaces_of(model.stages[s].block_list[b].attn.pos, model.group_size[s])
        assert np.array(table) == pytest.approx(wanted.reshape(len(wanted), -1), abs=1e-6)


def test_a_choice_goes_into_the_link_and_comes_back(visit: Visitor) -> None:
    page = visit(f"attention.html?photo={PHOTOS[0]}&stage=2&block=1&head=3&row=4&col=30&held=1")
    state = f"() => ({FIGURE})('attention').state"
    wanted = {"stage": 1, "block": 0, "head": 2, "row": 4, "col": 27, "locked": True}
    assert page.evaluate(state) == wanted, "the column beyond the map is its last"
    page.locator('[data-figure="attention"] .map').focus()
    for key in ("Escape", "ArrowDown", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**row=5&col=26**")
    again = page.evaluate(state)
    assert (again["row"], again["col"], again["locked"]) == (5, 26, True)
    page.reload()
    page.wait_for_function(f"() => ({FIGURE})('attention')?.state.row === 5")
    assert page.evaluate(state) == again
    page.get_by_role("link", name=LANGUAGES["zh-Hant"]).click()
    page.wait_for_url("**/zh-Hant/attention.html?**")
    page.wait_for_function(f"() => ({FIGURE})('attention')?.state.row === 5")
    assert page.evaluate("document.documentElement.lang") == "zh-Hant"
    assert page.evaluate(state) == again
    app = page.locator("footer a[data-lang]").get_attribute("href")
    assert app.startswith("https://example.org/app/attention?")
    assert "lang=zh-Hant" in app
    assert "row=5" in app


def test_a_token_of_the_whole_model_opens_its_attention(visit: Visitor) -> None:
    page = visit(f"index.html?photo={PHOTOS[1]}")
    page.locator(".whole .photo .frame").click(position={"x": 100, "y": 60})
    page.get_by_role("button", name=translator("en")("home.figure.go_attention")).click()
    page.wait_for_url("**/attention.html?**")
    page.wait_for_function(f"() => ({FIGURE})('attention')?.block.ready")
    assert f"photo={PHOTOS[1]}" in page.url


def test_links_of_the_grouping_page_are_read_as_in_the_app(visit: Visitor) -> None:
    page, rng = visit("grouping.html"), random.Random(2)
    some = {
        "map": ("56x56", "30x45", "113x2", "0x3", "7", "112x1"), "g": ("7", "17", "1", "x"),
        "i": ("8", "adaptive", "0", "16"), "form": ("whole", "regions", "none"),
        "kind": ("sda", "lda", "all"), "c": ("96", "97", "768"), "q": ("3.4", "20.20", "99.0", "1"),
        "open": ("example", "all.-growth", "nothing", ""),
    }  # fmt: skip
    site = json.loads(page.locator("#site").text_content())
    for _ in range(12):
        link = {name: rng.choice(values) for name, values in some.items() if rng.random() < 0.7}
        query = "&".join(f"{name}={value}" for name, value in link.items())
        page.goto(f"{page.url.split('?')[0]}?{query}")
        page.wait_for_function(f"() => ({FIGURE})('grouping')")
        start, noticed = page.evaluate(
            f"() => {{ const {{ data }} = ({FIGURE})('grouping'); return [data.start, data.bad] }}"
        )
        wanted, bad = grouping.state_from_link(site["usual"] | link)
        assert (start, noticed) == (wanted, bool(bad)), link


def test_a_first_visit_is_small(visit: Visitor, built: tuple[Path, Built]) -> None:
    """All pages, one after the other in one window, with what each loads by itself and for later."""
    page = visit("index.html")
    for name in pages.PAGES:
        if name != "home":
            page.get_by_role("link", name=translator("en")(f"common.page_{name}"), exact=True).click()
            page.locator(".figure[data-drawn]").first.wait_for()
        page.wait_for_load_state("networkidle")
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    loaded = sum(size for _, size in visit.sent)
    others = 2 * 14 * 4_000  # thumbnails of the photos that a whole site has beside these two
    assert loaded > 2_000_000
    assert loaded + others < FIRST_VISIT
    assert built[1].first + others < FIRST_VISIT


# What axe-core says of colours does not depend on the language, and the rest does not on the colours.
@pytest.mark.timeout(600)  # half a minute; a busy machine is no failure
@pytest.mark.parametrize(("lang", "theme"), list(zip(LANGUAGES, ("light", "dark"), strict=True)))
def test_a_page_fits_a_phone_and_axe_finds_nothing_serious(visit: Visitor, lang: str, theme: str) -> None:
    # axe-core writes styles into the page, which the page's own policy would forbid
    look = {"reduced_motion": "reduce", "bypass_csp": True, "service_workers": "block"}
    found, page = [], visit(pages.address("home", lang), width=390, has_touch=True, **look)
    for name in pages.PAGES:
        page.set_viewport_size({"width": 390, "height": 900})
        if name != "home":
            page.goto(f"{visit.base}/{pages.address(name, lang)}")
            page.locator(".figure[data-drawn]").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.goto(f"{visit.base}/{pages.address(name, lang)}?open=all")
        page.locator(".figure[data-drawn]").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"{name}, all open"
        page.set_viewport_size({"width": 1440, "height": 900})
        if (page.locator("#theme").get_attribute("aria-pressed") == "true") != (theme == "dark"):
            page.locator("#theme").click()
        page.wait_for_timeout(200)
        page.evaluate(AXE_SCRIPT)
        found += [f"{name}: {text}" for text in violations(page)]
    if found:
        pytest.fail("\n".join(found))


def test_the_chosen_colours_stay(visit: Visitor) -> None:
    page = visit("attention.html", theme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.get_by_role("button", name=translator("en")("site.dark")).click()
    soon(page, lambda: page.evaluate(f"() => ({FIGURE})('attention').root.dataset.theme"), "dark")
    assert page.evaluate(paper) != before
    page.get_by_role("link", name=translator("en")("common.page_embedding"), exact=True).click()
    page.locator(".figure[data-drawn]").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_file_that_does_not_come_is_said(visit: Visitor, built: tuple[Path, Built]) -> None:
    page = visit(f"embedding.html?photo={PHOTOS[0]}")
    page.route(f"**/photos/{PHOTOS[1]}/**", lambda route: route.abort())
    page.get_by_role("radio", name=translator("en")(f"gallery.{PHOTOS[1]}")).click()
    expect(page.get_by_role("alert")).to_have_text(translator("en")("site.failed"))


def test_what_was_loaded_is_there_without_a_connection(visit: Visitor) -> None:
    page = visit(f"attention.html?photo={PHOTOS[1]}")
    page.wait_for_load_state("networkidle")
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    page.wait_for_function("() => navigator.serviceWorker.controller !== null")
    page.goto(f"{visit.base}/learn.html?photo={PHOTOS[1]}&lesson=1&step=2")
    page.locator(".lesson .figure[data-drawn]").wait_for()
    file = f"photos/{PHOTOS[1]}/embedding.bin"
    kept = f"caches.match('{file}', {{ ignoreSearch: true }}).then((one) => Boolean(one?.ok))"
    soon(page, lambda: page.evaluate(kept), True)  # `wait_for_function` takes a promise for a yes
    page.context.set_offline(True)
    page.locator('.steps [data-step="1.3"]').click()
    page.wait_for_function(f"() => ({FIGURE})('attention')?.test")
    page.goto(f"{visit.base}/attention.html?photo={PHOTOS[1]}")  # shown before the worker was there
    page.reload()
    page.wait_for_function(f"() => ({FIGURE})('attention')?.block.ready")
    for name, part in (("grouping", "grouping"), ("position_bias", "surfaces")):
        page.get_by_role("link", name=translator("en")(f"common.page_{name}"), exact=True).click()
        page.locator(f'[data-figure="{part}"][data-drawn]').wait_for()
    page.get_by_role("link", name=LANGUAGES["zh-Hant"]).click()
    page.wait_for_url("**/zh-Hant/**")
    page.locator('[data-figure="surfaces"][data-drawn]').wait_for()
    page.get_by_role("link", name=translator("zh-Hant")("common.page_embedding"), exact=True).click()
    page.locator(".figure[data-drawn]").wait_for()
    page.get_by_role("radio", name=translator("zh-Hant")(f"gallery.{PHOTOS[0]}")).click()
    expect(page.get_by_role("alert")).to_have_text(translator("zh-Hant")("site.failed"))


def test_what_is_under_way_when_the_service_worker_takes_over_is_kept(visit: Visitor) -> None:
    visit.late["attention-1-1.bin"] = Event()
    page = visit(f"attention.html?photo={PHOTOS[1]}")
    page.wait_for_function("() => navigator.serviceWorker.controller !== null")
    visit.late["attention-1-1.bin"].set()
    file = f"photos/{PHOTOS[1]}/attention-1-1.bin"
    kept = f"caches.match('{file}', {{ ignoreSearch: true }}).then((one) => Boolean(one?.ok))"
    soon(page, lambda: page.evaluate(kept), True)


def test_a_frame_of_another_page_gets_the_figures_height(visit: Visitor, serve: Any) -> None:
    text = f"""<!doctype html><title>A course</title><iframe id="framed" title="Attention"
      src="{visit.base}/attention.html?embed=1&theme=dark&photo={PHOTOS[1]}&stage=3"></iframe>
      <script src="{visit.base}/embed.js"></script>"""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.end_headers()
        request.wfile.write(text.encode())

    course = serve(answer)
    visit.others = (course,)
    page = visit()
    page.goto(f"{course}/")
    inside = page.frame_locator("#framed")
    inside.locator(".figure[data-drawn]").wait_for()
    expect(inside.locator("header")).to_be_hidden()
    link = inside.get_by_role("link", name=translator("en")("site.whole"))
    assert "embed" not in link.get_attribute("href")
    assert "stage=3" in link.get_attribute("href")
    frame = next(one for one in page.frames if "embed=1" in one.url)
    assert frame.evaluate("document.documentElement.dataset.theme") == "dark"
    missing = "document.documentElement.scrollHeight - innerHeight"
    soon(page, lambda: frame.evaluate(missing) <= 1, True)
    assert page.evaluate("document.getElementById('framed').clientHeight") > 500


def test_nothing_runs_or_styles_that_stands_in_a_page(built: tuple[Path, Built]) -> None:
    out, made = built
    for file in (name for name in made.files if name.endswith(".html")):
        text = (out / file).read_text("utf-8")
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
        assert not re.search(r"unsafe|http|\*", policy)
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*(src=|application/json))", text), file
        asked = re.findall(r'(?:src|href)="(https?:[^"]+)"', re.sub(r"<a [^>]*>", "", text))
        assert not asked, file


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_site_that_cannot_run_the_model_says_so(built: tuple[Path, Built], lang: str) -> None:
    out, made = built
    for name in own.PAGES:
        page = (out / pages.address(name, lang)).read_text("utf-8")
        assert f'<p class="own">{pages.marked(translator(lang)("site.own_none"))}</p>' in page
        assert 'type="file"' not in page
    assert not any(name.startswith(own.ON_DEMAND) for name in made.files)


def test_only_questions_that_the_browser_computes_or_leaves_depend_on_the_photo(
    built: tuple[Path, Built],
) -> None:
    """So that all others may be asked of a photo of the reader's own."""
    asked = [
        json.loads(gzip.decompress((built[0] / f"photos/{id}/lessons-en.bin").read_bytes())) for id in PHOTOS
    ]
    differ = {name for name in asked[0] if asked[0][name] != asked[1][name]}
    steps = lessons.course_words("en")["steps"]
    assert differ == {step["id"] for step in steps if "own" in step}


def test_the_same_site_is_made_again_and_replaces_the_old(built: tuple[Path, Built], tmp_path: Path) -> None:
    out, made = built
    again = tmp_path / "again"
    again.mkdir()
    (again / "old.js").write_text("1")
    (again / LIST).write_text(json.dumps({"files": ["old.js"]}))
    other = build(again, "https://example.org/app", [sample(id) for id in PHOTOS])
    assert other == made
    assert not (again / "old.js").exists()
    for name in made.files:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name
    listed = json.loads((again / LIST).read_text())["files"]
    assert sorted(listed) == sorted(made.files)
    there = {path.relative_to(again).as_posix() for path in again.rglob("*") if path.is_file()}
    assert there == {*listed, LIST}


def test_a_lesson_is_answered_kept_and_left_by_links(visit: Visitor) -> None:
    t = translator("en")
    page = visit(f"learn.html?photo={PHOTOS[1]}&lesson=2&step=2")
    figure = f"({FIGURE})('attention')"
    page.wait_for_function(f"() => {figure}?.test")
    check, verdict = page.get_by_role("button", name=t("learn.check")), page.locator(".verdict")
    expect(check).to_be_disabled()
    page.locator('[data-figure="attention"] .map').focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")  # from (1, 2) to (1, 6), which is right, but not all
    check.click()
    expect(verdict).to_contain_text("2 of the 3 are still missing")
    page.wait_for_function(f"() => {figure}?.test?.what?.right?.length === 3")
    step = page.locator('.steps [data-step="2.2"]')
    expect(step).to_have_accessible_name(re.compile("✕$"))
    after = page.get_by_role("link", name=t("learn.next"), exact=True)
    expect(after).to_be_focused()
    page.get_by_role("button", name=t("learn.again")).click()
    expect(check).to_be_disabled()
    after.click()
    page.wait_for_url(f"**photo={PHOTOS[1]}&lesson=2&step=3**")
    expect(page.locator(".say h2")).to_be_focused()
    page.get_by_role("radio", name="64").check()
    check.click()
    expect(verdict).to_contain_text("Yes, 64.")
    page.reload()
    expect(page.locator('.steps [data-step="2.3"]')).to_have_accessible_name(re.compile("✓$"))
    expect(page.locator(".score summary")).to_have_text("1 of 22 right")
    page.get_by_role("link", name=t("learn.sandbox", page=t("common.page_grouping"))).click()
    page.wait_for_url("**/grouping.html?photo=cat&map=8x8&g=4&i=2&**")
    page.go_back()
    page.locator('[data-step="5.1"]').first.click()
    page.wait_for_function(f"() => {figure}?.block.ready")
    page.locator('.steps [data-step="5.2"]').click()
    board = page.locator('[data-figure="lab"] .lab')
    board.locator("[data-place='1.k3']").click()  # picks the same option in the list
    expect(page.get_by_role("radio", name="16 × 16")).to_be_checked()
    check.click()
    framed = board.locator(".cell.right")
    expect(framed).to_have_count(1)
    assert framed.evaluate("(one) => one.style.background").startswith("rgb")
    app = page.get_by_role("link", name=t("learn.sandbox", page=t("common.page_lab")))
    assert app.get_attribute("href").startswith("https://example.org/app/lab?photo=cat&do=1.k1-zero&lang=en")
    page.locator('.steps [data-step="5.4"]').click()
    scene = f"({FIGURE})('dense')"
    page.wait_for_function(f"() => {scene}?.answer.views.length === 1")
    page.locator(".lesson fieldset").get_by_role("radio").last.check()
    check.click()
    page.wait_for_function(f"() => {scene}?.answer.views.length === 5 && {scene}.state.view > 0")


def test_the_self_test_is_taken_kept_and_marked(visit: Visitor) -> None:
    """With the keyboard; a reload goes on at the next question, and axe finds nothing."""
    t = translator("en")
    page = visit("learn.html", bypass_csp=True)
    page.get_by_role("link", name=t("learn.room_test")).click()
    page.get_by_role("button", name=t("selftest.begin")).first.press("Enter")
    about = page.evaluate(
        "fetch('selftest-en.bin').then((r) => r.body.pipeThrough("
        "new DecompressionStream('gzip'))).then((s) => new Response(s).json())"
    )
    items = about["sets"]["1"]["A"]
    for n, item in enumerate(items):
        expect(page.locator(".test h2")).to_be_focused()
        expect(page.locator(".test .ask")).to_have_text(item["ask"])
        if n == 1:
            page.reload()
            page.locator(".cf-still").wait_for()
            page.evaluate(AXE_SCRIPT)
            assert not violations(page)
            shown = page.locator(".cf-still").evaluate(
                "async (one) => { await one.decode(); return one.naturalWidth }"
            )
            assert shown > 0
        wanted = item["good"] if n % 2 else about["unsure"]
        page.locator(f'.test input[value="{wanted}"]').press("Space")
        page.get_by_role("button", name=t("selftest.answer"), exact=True).press("Enter")
    expect(page.locator(".halves section").first).to_contain_text("5 of 10 right")
    expect(page.locator(".test ol.review")).to_have_count(0)
    with page.expect_download() as taken:
        page.get_by_role("button", name=t("selftest.csv")).click()
    assert taken.value.suggested_filename == "cfviz-selftest-1.csv"
    rows = list(csv.DictReader(Path(taken.value.path()).read_text("utf-8-sig").splitlines()))
    assert [row["right"] for row in rows] == ["0", "1"] * 5
    assert {row["right_answer"] for row in rows} == {""}
    page.evaluate(AXE_SCRIPT)
    assert not violations(page)
    page.goto(page.url + "&set=class-9")
    expect(page.locator(".test .warn")).to_contain_text("--test class-9")


def test_a_step_may_be_left_before_its_figure_has_come(visit: Visitor) -> None:
    page = visit(f"learn.html?photo={PHOTOS[1]}", service_workers="block")
    held: list[Any] = []
    page.route("**/code/embedding.js**", lambda route: held.append(route))
    page.locator('[data-step="3.1"]').first.click()
    soon(page, lambda: len(held), 1)
    page.locator('[data-step="5.1"]').first.click()
    page.wait_for_function(f"() => ({FIGURE})('attention')?.block.ready")
    held[0].continue_()


def test_progress_without_storage_lasts_as_long_as_the_page(visit: Visitor) -> None:
    page = visit("index.html")
    page.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('withheld') } })"
    )
    page.goto(page.url.replace("index.html", "zh-Hant/learn.html?lesson=1&step=2"))
    page.locator(".lesson fieldset").get_by_role("radio").last.check()
    page.get_by_role("button", name=translator("zh-Hant")("learn.check")).click()
    page.get_by_role("link", name=translator("zh-Hant")("learn.next"), exact=True).click()
    expect(page.locator('.steps [data-step="1.2"]')).to_have_accessible_name(re.compile("✓$"))
    expect(page.locator(".score")).to_contain_text(translator("zh-Hant")("site.lesson_unkept"))


def test_a_page_opened_as_a_file_says_that_it_needs_a_server(built: tuple[Path, Built], browser: Any) -> None:
    page = browser.new_page()
    for lang in LANGUAGES:
        page.goto((built[0] / pages.address("attention", lang)).as_uri())
        expect(page.locator(".from-disk")).to_contain_text("python -m http.server -b 127.0.0.1")
        expect(page.locator(".figure")).to_be_hidden()
    page.close()
