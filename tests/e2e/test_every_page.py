"""What holds for every page: each is opened twice, and its tests, in this order, use what is open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect

from cfviz.words import LANGUAGES, Translator, translator
from tests.conftest import App, Windows, settle, soon
from tests.e2e.test_accessibility import still, violations
from tests.e2e.test_calm import HEIGHT, MOST, WATCH, shift
from tests.e2e.test_keyboard import MOST_STOPS, ended, next_stop
from tests.e2e.test_view import OUTSIDE, press

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("home", *sorted(path.stem for path in (ROOT / "pages").glob("[!_]*.py")))
NO_FULL_SCREEN = "Element.prototype.requestFullscreen = async () => { throw new Error('refused'); };"


@dataclass
class Visit:
    """A page that is open.

    Attributes:
        name: Its name, as in `pages/`.
        page: Playwright's page.
        errors: What the page reported.
    """

    name: str
    page: Any
    errors: list[str] = field(default_factory=list)


def opened(app: App, window: Any, name: str) -> Visit:
    """Open a page, with a record of what is pushed aside, and wait until it is whole."""
    visit = Visit(name, window.new_page())
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.add_init_script(WATCH + NO_FULL_SCREEN)  # the window keeps the size that a test gives it
    visit.page.goto(app.url("" if name == "home" else name, lang="en", photo="german-shepherd"))
    visit.page.get_by_role("heading", level=1).wait_for()
    settle(visit.page)
    visit.page.wait_for_timeout(300)
    return visit


@pytest.fixture(scope="module", params=PAGES)
def desk(app: App, browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page at a desk, in a browser that has fetched nothing before."""
    window = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    yield opened(app, window, request.param)
    window.close()


@pytest.fixture(scope="module", params=PAGES)
def phone(app: App, windows: Windows, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page on a phone in the dark."""
    look = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    window = windows.take(**look)
    yield opened(app, window, request.param)
    windows.give_back(window, **look)


def wide(page: Any) -> int:
    """Pixels across which the page can be scrolled to."""
    return page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")


def link_to(page: Any, t: Translator, name: str) -> Any:
    """The link to a page in the navigation."""
    nav = page.locator(".st-key-cf-nav")
    return nav.get_by_role("link", name=t(f"common.page_{name}"), exact=True)


# ---------------------------------------------------------------- as it has arrived

TALLEST = 3000  # pixels of a page at 1440 px with its sections closed


def test_nothing_is_pushed_aside_while_a_page_arrives(desk: Visit) -> None:
    """Measured before: 0.28 to 0.61."""
    assert shift(desk.page) < MOST
    assert desk.page.evaluate(HEIGHT) < TALLEST


def test_nothing_is_pushed_aside_while_a_page_arrives_on_a_phone(phone: Visit) -> None:
    assert shift(phone.page) < MOST


def test_a_phone_scrolls_vertically_only(phone: Visit) -> None:
    """In both languages."""
    assert wide(phone.page) <= 390
    to_chinese(phone.page, phone.name)
    assert wide(phone.page) <= 390


def to_chinese(page: Any, name: str) -> None:
    """Change the language on the page."""
    page.get_by_text(LANGUAGES["zh-Hant"], exact=True).click()
    page.get_by_role("heading", level=1, name=translator("zh-Hant")(f"{name}.title")).wait_for()
    page.wait_for_function("document.documentElement.lang === 'zh-Hant'")
    still(page)


# ---------------------------------------------------------------- by keyboard

MOST_IN_FIGURES = 80  # grouping has sixteen cells to type in and eight maps
UNSEEN = ("stMain", "data-grid-canvas", "glide-cell")  # the page itself; a table, which marks a cell itself


def test_the_tab_key_goes_through_the_page(desk: Visit) -> None:
    """From its link in the navigation on: no trap, focus always visible, figures crossed in few steps."""
    name, page, t = desk.name, desk.page, translator("en")
    link_to(page, t, name).focus()
    stops: list[dict[str, Any]] = []
    while not ended(here := next_stop(page)):
        unseen = not here["ring"] and not (here["own"] or "").startswith(UNSEEN)
        assert not unseen, f"nobody sees that {here} has the focus"
        stops.append(here)
        assert len(stops) <= MOST_STOPS, (
            f"over {MOST_STOPS} stops, at the last: {[one['name'] for one in stops[-60:]]}"
        )
    in_figures = sum(here["figure"] for here in stops)
    assert in_figures <= MOST_IN_FIGURES, f"{in_figures} stops in figures"
    assert len(stops) > 8, stops


# ---------------------------------------------------------------- on a projector

VIEWS = {"home": 2, "grouping": 7, "attention": 3, "embedding": 2, "position_bias": 3, "dense": 2}


def test_every_view_of_a_page_fits_a_projector(desk: Visit) -> None:
    """Measured before at 1280 x 720: up to 924 px to scroll."""
    name, page, t = desk.name, desk.page, translator("en")
    count, size = VIEWS.get(name, 1), page.viewport_size
    if name == "lab":
        page.locator(".lab .legend i").wait_for(timeout=120_000)  # every part is measured
        page.locator('.lab [data-place="2.1.h1"]').click()
        page.wait_for_url("**do=2.1.h1-zero*", timeout=30_000)
    page.get_by_role("button", name=t("common.view_full"), exact=True).click()
    page.wait_for_url("**present=1**")
    page.get_by_role("heading", level=1, name=t(f"{name}.title")).wait_for()
    for (width, height), key in (((1280, 720), "PageDown"), ((1440, 900), "PageUp")):
        page.set_viewport_size({"width": width, "height": height})
        for number in range(count):
            if number:
                press(page, key)
            at = number + 1 if key == "PageDown" else count - number
            if count > 1:
                expect(page.locator(".tools .place")).to_contain_text(t("common.view_slide", n=at, of=count))
            settle(page)
            soon(page, lambda: page.evaluate(OUTSIDE), [0, 0, 0])
    parts = page.locator("[data-cf-figure]:not([data-cf-away])")
    assert parts.count() == (name != "predict")
    press(page, "Escape")
    page.wait_for_function("!location.search.includes('present')")
    page.set_viewport_size(size)


# ---------------------------------------------------------------- with every section open

TALL = 6000  # pixels; figures are drawn when they come into view
OPEN_ALL = """() => {
  const visit = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.tagName === "DETAILS" && !node.open) {
        if (node.closest("[data-testid=stExpander]")) node.querySelector("summary").click();
        else node.open = true;
      }
      if (node.shadowRoot) visit(node.shadowRoot);
    }
  };
  visit(document);
}"""


def judged(page: Any, name: str, lang: str) -> list[str]:
    """Open all that can be opened on a page, and return what axe-core finds."""
    page.set_viewport_size({"width": 1440, "height": TALL})
    page.emulate_media(reduced_motion="reduce")  # no text is judged while its ground fades in
    settle(page)
    assert page.evaluate("document.documentElement.lang") == lang
    assert [link_to(page, translator(lang), one).count() for one in PAGES] == [1] * len(PAGES)
    for _ in range(2):  # what a section holds is drawn once it is open
        page.evaluate(OPEN_ALL)
        still(page)
    assert page.get_by_test_id("stException").count() == 0, name
    page.evaluate(AXE_SCRIPT)
    return violations(page)


# What axe-core says of colours does not depend on the language, and the rest does not on the colours.
def test_axe_finds_nothing_serious_in_english_and_light(desk: Visit) -> None:
    assert not (found := judged(desk.page, desk.name, "en")), "\n".join(found)


def test_no_section_is_wider_than_a_phone(desk: Visit) -> None:
    desk.page.set_viewport_size({"width": 390, "height": 844})
    soon(desk.page, lambda: wide(desk.page) <= 390, True)
    assert desk.errors == []


def test_axe_finds_nothing_serious_in_chinese_and_dark(phone: Visit) -> None:
    page = phone.page
    if page.evaluate("document.documentElement.lang") == "en":
        to_chinese(page, phone.name)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not (found := judged(page, phone.name, "zh-Hant")), "\n".join(found)
    assert phone.errors == []
