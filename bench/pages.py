"""How long a reader waits: `python -m bench pages`. A warm server on loopback, headless Chromium, wall clock.

    first paint     from opening a page's address in a new tab (scripts in the browser's cache) to its title
                    and first words, and to the server's last word
    photo chosen    from a click on a photo that no one has looked at yet to the figure painted with it
    click, answer   from the same click on the page that predicts to the new answer
    position bias   from its address to the first surface drawn; from the choice of another input size to the
                    answers under every way drawn; and the drawing alone for one place of the pointer

They need a machine with nothing else to do: the browser, the server and the model share its cores.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import BrowserContext, Page, sync_playwright

from bench.hover import CHROMIUM
from bench.timing import Row, at_most
from cfviz.data.samples import gallery

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1440, 900
LIMIT = 60_000  # ms
# What a page shows once it is usable, found through the components' shadow roots.
DEEP = """
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
window.idle = () => !document.querySelector('[data-testid=stApp][data-test-script-state=running]');
window.mark = () => {
  const cf = window.deep('.cf');
  return cf && cf.dataset.ready !== undefined && cf.figure ? String(cf.figure.id ?? cf.dataset.photo) : '';
};
window.found = {}; // looking through all elements takes longer than what is measured
window.bias = (part) => {
  const find = (root) => {
    for (const el of root.querySelectorAll('*')) {
      if (el.figure?.header?.part === part) return el.figure;
      const inner = el.shadowRoot && find(el.shadowRoot);
      if (inner) return inner;
    }
    return null;
  };
  if (!window.found[part]?.root.isConnected) window.found[part] = find(document);
  const figure = window.found[part];
  return figure && figure.root.dataset.ready !== undefined ? figure : null;
};
window.answered = () => {
  const figure = window.bias('answer');
  return figure && figure.ways.every((way) => way.ready) ? figure.id : '';
};
"""


@contextmanager
def server() -> Iterator[str]:
    """A server of the app on a free port of loopback, until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--server.port", str(port), "--server.headless", "true", "--server.address", "127.0.0.1"]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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


def _wait(page: Page, condition: str) -> None:
    page.wait_for_function(condition, polling="raf", timeout=LIMIT)


def first_paint(page: Page, address: str) -> float:
    """Seconds from the address to the page's words: its title and more than its lede."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    _wait(page, "() => window.words?.().length > 200")
    return time.perf_counter() - start


def photo_chosen(page: Page, n: int) -> float:
    """Seconds from the choice of photo n in the sidebar to the figure ready with another picture."""
    before = page.evaluate("window.mark()")
    page.locator("[data-testid=stSidebar] [data-testid=stSelectbox] input").first.click()
    option = page.get_by_role("option").nth(n)
    option.wait_for()
    start = time.perf_counter()
    option.click()
    _wait(page, f"() => {{ const m = window.mark(); return m && m !== {before!r}; }}")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - start


def answer(page: Page, n: int) -> float:
    """Seconds from a click on photo n to words that differ, and no script running."""
    before = page.evaluate("window.words()")
    radio = page.locator("button[data-id]").nth(n)
    start = time.perf_counter()
    radio.click()
    page.wait_for_function(
        "(old) => { const now = window.words(); return now !== old && now.length > 200; }",
        arg=before, polling="raf", timeout=LIMIT,
    )  # fmt: skip
    return time.perf_counter() - start


def first_surface(page: Page, address: str) -> float:
    """Seconds from the address of the page on position bias to its first surface drawn."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    _wait(page, "() => window.bias?.('surfaces')")
    return time.perf_counter() - start


def reaction(page: Page, size: int) -> float:
    """Seconds from the choice of another input size to the answers under every way drawn."""
    before = page.evaluate("window.answered()")
    box = page.locator(".st-key-position_bias-at input, [class*=st-key-position_bias_at] input").first
    box.scroll_into_view_if_needed()
    box.click()
    option = page.get_by_role("option", name=f"{size} × {size} px")
    option.wait_for()
    start = time.perf_counter()
    option.click()
    _wait(page, f"() => {{ const id = window.answered(); return id && id !== {before!r}; }}")
    return time.perf_counter() - start


def pointing(page: Page) -> float:
    """Milliseconds to compute and draw one query's attention on every card, the slowest of twenty of 400."""
    code = """() => { const f = window.bias('answer'), times = [];
      for (let i = 0; i < 400; i++) {
        Object.assign(f.state, { down: (i * 7 % 400) / 400, across: (i * 13 % 400) / 400 });
        const start = performance.now();
        f.draw();
        times.push(performance.now() - start);
      }
      return times.sort((a, b) => a - b)[380]; }"""
    return page.evaluate(code)


def position_bias(page: Page, context: BrowserContext, address: str, many: int) -> Iterator[Row]:
    """The lines about the page on position bias."""
    times = []
    for _ in range(many):
        page.close()
        page = context.new_page()
        times.append(first_surface(page, f"{address}/position_bias"))
        _wait(page, "() => window.answered?.()")
        page.wait_for_timeout(1500)
    yield at_most("first surface, position bias", median(times), 1.5, 2, " s")
    times = []
    for size in (160, 192, 224, 288, 320)[:many]:
        times.append(reaction(page, size))
        page.wait_for_timeout(1500)
    note = "new sizes, every way"
    yield at_most("another size to answers, position bias, nano", median(times), 0.3, 2, " s", note)
    yield at_most("pointing, p95, position bias, 320 px", pointing(page), 16, 1, " ms", "drawing alone")


def _opened(page: Page, address: str, ready: str) -> None:
    page.goto(address)
    _wait(page, ready)
    page.wait_for_timeout(2500)  # what follows below the first picture


def rows(rounds: int) -> Iterator[Row]:
    """The table's lines for `make bench`."""
    photos = len(gallery())
    many = max(3, min(6, rounds // 5, photos - 1))
    with server() as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.add_init_script(DEEP)
        page = context.new_page()
        for path, name in (("", "home"), ("predict", "predict")):
            _opened(page, f"{address}/{path}", "() => window.words?.().length > 200")
            times = []
            for _ in range(many):
                page.close()
                page = context.new_page()
                times.append(first_paint(page, f"{address}/{path}"))
                page.wait_for_timeout(1500)
            yield at_most(f"first paint, {name}, warm server", median(times), 1.5, 2, " s")
        times = []
        for n in range(1, many + 1):
            times.append(answer(page, n))
            page.wait_for_timeout(1500)
        yield at_most("click to answer, nano at 224 px", median(times), 0.4, 2, " s", "new photos")
        for path, model, budget in (("attention", "nano", 1.0), ("attention", "small", 2.5)):
            _opened(page, f"{address}/{path}?model=crossformer_{model}", "() => window.mark?.()")
            times = []
            for n in range(1, many + 1):
                times.append(photo_chosen(page, n))
                page.wait_for_timeout(2500)
            yield at_most(f"photo chosen to picture, {path}, {model}", median(times), budget, 2, " s")
        yield from position_bias(page, context, address, many)
        browser.close()
