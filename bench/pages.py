"""How long a reader waits: `python -m bench pages`. Uses warm servers on loopback and headless Chromium.

    first paint      from the start of navigation in a new tab (scripts in the browser's cache) until the
                     page shows text beyond the title
    first picture    from the same start until the page's figure is painted
    photo chosen     from a click on a photo that has not been viewed before until the figure shows it
    click, answer    from the same click on the prediction page until the new answer appears

All times are on the page's own clock. Browser, server and model share the machine's cores with anything else
that runs. Each measurement therefore alternates with the same one on a bare Streamlit page (five lines: a
title, a text and a choice), which is reported beside it: that time is due to Streamlit and the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from bench.hover import CHROMIUM
from bench.ports import free_port
from bench.timing import Row, at_most
from cfviz.data.samples import gallery

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1440, 900
LIMIT = 60_000  # ms
REST = 2500  # ms between measurements, while the rest of the page below the first picture loads
BARE = """
import streamlit as st

st.title("Bare")
n = st.selectbox("Number", range(16))
st.write(f"{n} is the number chosen. " * 20)
"""
# Path of each page -> selector of its figure's root; a figure marks itself when it is ready.
PAGES = {
    "": ".whole .stage",
    "predict": ".cf-top",
    "grouping": ".cf.gr canvas",
    "attention": ".cf[data-ready]",
    "embedding": ".cf.em[data-ready]",
}
PHOTOS = (("attention", "nano", 1.0), ("attention", "small", 2.5), ("embedding", "nano", 1.0))
# Finds what a page shows, through the components' shadow roots, and when it first appeared.
WATCH = """
window.deep = (selector, root = document) => {
  const found = root.querySelector(selector);
  if (found) return found;
  for (const el of root.querySelectorAll('*')) {
    const inner = el.shadowRoot && window.deep(selector, el.shadowRoot);
    if (inner) return inner;
  }
  return null;
};
window.words = () => document.querySelector('[data-testid=stMain]')?.innerText ?? '';
window.sign = () => {
  const cf = window.deep('.cf');
  return cf && cf.dataset.ready !== undefined && cf.figure?.photo ? String(cf.figure.id) : '';
};
const frames = (done) => requestAnimationFrame(() => requestAnimationFrame(done));
const until = (ready, done) => (ready() ? done() : requestAnimationFrame(() => until(ready, done)));
/** Milliseconds from the next click on an element until `what` gives another text. */
window.stopwatch = (element, what) => {
  const before = what();
  window.took = null;
  element.addEventListener('click', () => {
    const start = performance.now();
    const stop = () => { window.took = performance.now() - start; };
    until(() => what() && what() !== before, () => frames(stop));
  }, { capture: true, once: true });
};
window.first = {};
window.expect = (picture) => {
  const note = (name) => { window.first[name] = performance.now(); };
  until(() => window.words().length > 100, () => note('words'));
  until(() => picture === '' || window.deep(picture), () => frames(() => note('picture')));
};
"""


@contextmanager
def server(script: Path = ROOT / "app.py", ahead: bool = True) -> Iterator[str]:
    """Serve an app on a free loopback port until the end of the block.

    Args:
        script: The app.
        ahead: Whether the server computes the gallery's results while it idles.
    """
    port = free_port()
    options = ["--server.port", str(port), "--server.headless", "true", "--server.address", "127.0.0.1"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
    env = {**os.environ, "CFVIZ_AHEAD": str(int(ahead))}
    process = subprocess.Popen(
        command, cwd=script.parent, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            except (URLError, OSError):
                time.sleep(0.25)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def opened(context: BrowserContext, address: str, picture: str) -> tuple[Page, dict[str, float]]:
    """Open a page in a new tab; also return the seconds from the start of navigation to text and picture."""
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.evaluate("(picture) => window.expect(picture)", picture)
    page.wait_for_function("() => window.first.words && window.first.picture", timeout=LIMIT)
    first = page.evaluate("window.first")
    page.wait_for_timeout(REST)
    return page, {name: ms / 1000 for name, ms in first.items()}


def clicked(page: Page, what: str, element: Locator, rest: float = REST) -> float:
    """Seconds from a click on an element until the page's `stopwatch` stops.

    Args:
        page: A page with a `stopwatch`, such as that of `WATCH`.
        what: A function of the page; the stopwatch of `WATCH` stops when it returns a different text. Others
            decide for themselves, and take "".
        element: What to click.
        rest: Milliseconds to wait afterwards.
    """
    element.wait_for()
    element.evaluate("(element, what) => window.stopwatch(element, window[what])", what)
    element.click()
    page.wait_for_function("() => window.took !== null", timeout=LIMIT)
    page.wait_for_timeout(rest)
    return page.evaluate("window.took") / 1000


def chosen(page: Page, what: str, n: int) -> float:
    """As `clicked`, for the n-th entry of the page's first list: the photos, or the bare page's numbers."""
    page.locator("[data-testid=stSelectbox] input").first.click()
    return clicked(page, what, page.get_by_role("option").nth(n))


def tile(page: Page, n: int) -> Locator:
    """The n-th photo of the strip on the prediction page."""
    return page.locator(".picker-host button").nth(n)


def rows(rounds: int) -> Iterator[Row]:
    """The rows for `make bench`."""
    many = max(3, min(6, rounds // 5, len(gallery()) - 1))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        script = Path(folder) / "bare.py"
        script.write_text(BARE, "utf-8")
        browser = play.chromium.launch(executable_path=CHROMIUM)
        with server() as app, server(script) as bare:
            yield from paints(window(browser), app, bare, many)
            yield from clicks((window(browser), window(browser)), app, bare, many)
        browser.close()


def window(browser: Browser) -> BrowserContext:
    """A private window whose pages note when they first show text and figures."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.add_init_script(WATCH)
    return context


def paints(context: BrowserContext, app: str, bare: str, many: int) -> Iterator[Row]:
    """Time to the first text and first picture of every page, alternating with the bare page."""
    seen: dict[str, list[dict[str, float]]] = {path: [] for path in ("bare", *PAGES)}
    for n in range(many + 1):
        for path, found in seen.items():
            plain = path == "bare"
            page, first = opened(
                context, bare if plain else f"{app}/{path}?lang=en", "" if plain else PAGES[path]
            )
            page.close()
            if n:  # the first round warms up server and browser
                found.append(first)
    floor = [first["words"] for first in seen.pop("bare")]
    yield Row("first paint, a bare page of Streamlit", f"{median(floor):.2f} s")
    for path, found in seen.items():
        for what, name, target in (("words", "first paint", 1.5), ("picture", "first picture", None)):
            times = [first[what] for first in found]
            yield _beside(f"{name}, {path or 'home'}, warm server", times, floor, target)


def clicks(contexts: tuple[BrowserContext, BrowserContext], app: str, bare: str, many: int) -> Iterator[Row]:
    """Time from choosing a new photo to the answer and to the figure, alternating with the bare page."""
    context, other = contexts  # two windows, because a hidden tab paints only once a second
    plain, _ = opened(other, bare, "")
    page, _ = opened(context, f"{app}/predict?lang=en", PAGES["predict"])
    times, floor = [], []
    for n in range(1, many + 1):
        times.append(clicked(page, "words", tile(page, n)))
        floor.append(chosen(plain, "words", n))
    page.close()
    yield _beside("click to answer, nano at 224 px, new photos", times, floor, 0.4)
    for path, model, budget in PHOTOS:
        page, _ = opened(context, f"{app}/{path}?lang=en&model=crossformer_{model}", PAGES[path])
        times, floor = [], []
        for n in range(1, many + 1):
            times.append(chosen(page, "sign", n))
            floor.append(chosen(plain, "words", n if len(floor) % 2 else n + 7))
        page.close()
        yield _beside(f"photo chosen to picture, {path}, {model}", times, floor, budget)


def _beside(what: str, times: list[float], floor: list[float], target: float | None) -> Row:
    """A row that also shows the bare page's time, with the difference and the ratio taken pair by pair."""
    more = median(a - b for a, b in zip(times, floor, strict=True))
    ratio = median(a / b for a, b in zip(times, floor, strict=True))
    note = f"bare {median(floor):.2f} s, {more:+.2f} s, {ratio:.2f}x; {min(times):.2f} to {max(times):.2f} s"
    if target is None:
        return Row(what, f"{median(times):.2f} s  ({note})")
    return at_most(what, median(times), target, 2, " s", note)
