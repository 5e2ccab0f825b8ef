"""How long a reader waits on the site without a server, and what it loads: `python -m bench site`.

    paint    from the start of navigation, with nothing kept from before, until something is painted
    figure   from the same start until the page's figure is drawn
    pointer  from a pointer's move over the figure until the end of the frame that shows it, and the time of
             the main thread for it, on average
    loads    bytes that the page asks for with nothing kept from before; and all pages in one window, with
             what the service worker keeps for later
    own photo   from the choice of a file until the frame that shows its figure; the first also fetches and
             compiles the runtime and the model, the others are medians. Forwards by the worker's own clock

The site is made with two photos and served on the loopback address, without compression; own photos also
with the headers that allow several threads. Times are wall-clock
times on the page's own clock: on a busy machine, give this a priority of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from bench.hover import BUDGET, CHROMIUM, CLOCK, sweep
from bench.pages import HEIGHT, LIMIT, WIDTH
from bench.timing import Row, at_most
from cfviz.data.samples import gallery
from cfviz.site import build, own, runtime
from cfviz.site.pages import PAGES, address

PAINT, OWN, FIRST_VISIT = 1.0, 1.5, 5.0  # seconds; MB for all pages together
PHONE = (4000, 3000)  # pixels of a phone's photo
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
# Page -> what the pointer moves over.
POINTED = {
    "home": ".whole .photo .frame", "grouping": ".gr canvas >> nth=0", "attention": ".over",
    "embedding": ".over", "position_bias": ".pb canvas >> nth=0", "learn": ".over",
}  # fmt: skip
WATCH = """
const look = () => document.querySelector('.figure[data-drawn]')
  ? requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = performance.now(); }))
  : requestAnimationFrame(look);
look();
"""
GIVEN = """
document.addEventListener('change', ({ target }) => {
  if (target.id !== 'own') return;
  const [given, before] = [performance.now(), document.querySelector('.figure')?.dataset.photo];
  window.took = null;
  const look = () => document.querySelector(`.figure[data-photo^="own-"]:not([data-photo="${before}"])`)
    ? requestAnimationFrame(() => { window.took = performance.now() - given; })
    : requestAnimationFrame(look);
  look();
}, true);
"""
SEEN = """() => [performance.getEntriesByName('first-contentful-paint')[0]?.startTime, window.drawn]
  .every(Boolean) && [performance.getEntriesByName('first-contentful-paint')[0].startTime, window.drawn]"""


@contextmanager
def served(folder: Path, headers: Mapping[str, str] | None = None) -> Iterator[tuple[str, list[int]]]:
    """Serve a folder on the loopback address; the list takes the bytes of every file that was sent."""
    sent: list[int] = []

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def end_headers(self) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            data = source.read()
            sent.append(len(data))
            outputfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def rows(rounds: int) -> Iterator[Row]:
    """The rows for `make bench`."""
    many, moves = max(3, min(7, rounds // 4)), max(100, 5 * rounds)
    with TemporaryDirectory() as folder, sync_playwright() as play:
        out = Path(folder) / "site"
        build(out, photos=gallery()[:2], runtime=runtime.fetched())
        phone = Path(folder) / "phone.jpg"
        Image.open(gallery()[0].path).convert("RGB").resize(PHONE).save(phone, quality=90)
        browser = play.chromium.launch(executable_path=CHROMIUM)
        with served(out) as (base, sent):
            for page in PAGES:
                yield from _page(browser, page, f"{base}/{address(page, 'en')}", sent, many, moves)
            yield at_most("site: all pages load", _all(browser, base, sent) / 1e6, FIRST_VISIT, 2, " MB")
            files = [gallery()[0].path, phone]
            for page in own.PAGES:
                yield from _own(browser, page, f"{base}/{address(page, 'en')}", files, many)
        with served(out, ISOLATED) as (base, _):
            yield from _own(browser, "attention", f"{base}/{address('attention', 'en')}", files, many)
        browser.close()


def _page(
    browser: Browser, name: str, url: str, sent: list[int], many: int, moves: int
) -> Iterator[Row]:  # fmt: skip
    """The rows of one page."""
    seen, loads = [], 0
    for n in range(many):
        context = browser.new_context(  # with an empty cache
            viewport={"width": WIDTH, "height": HEIGHT}, service_workers="block"
        )
        context.add_init_script(WATCH + CLOCK)
        page = context.new_page()
        sent.clear()
        page.goto(url, wait_until="commit")
        seen.append(page.wait_for_function(SEEN, timeout=LIMIT).json_value())
        page.wait_for_load_state("networkidle")
        loads = sum(sent)
        if n == many - 1:
            cpu, times = sweep(page, moves, over=POINTED[name], ready=POINTED[name])
        context.close()
    paint, figure = (median(some) / 1000 for some in zip(*seen, strict=True))
    yield at_most(f"site, {name}: paint", paint, PAINT, 2, " s", f"longest {max(seen)[0] / 1000:.2f}")
    yield Row(f"site, {name}: figure", f"{figure:.2f} s")
    yield at_most(f"site, {name}: pointer, p95", float(np.percentile(times[:, 0], 95)), BUDGET, 1, " ms")
    yield at_most(f"site, {name}: main thread a move", cpu, BUDGET, 1, " ms")
    yield Row(f"site, {name}: loads", f"{loads / 1e6:.2f} MB")


def _own(browser: Browser, name: str, url: str, files: Sequence[Path], many: int) -> Iterator[Row]:
    """The rows of readers' own photos on one page: a small file, and one of a phone."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.add_init_script(GIVEN)
    page = context.new_page()
    page.goto(url)

    def given(file: Path) -> float:
        page.locator("#own:enabled").set_input_files(file)
        return page.wait_for_function("() => window.took", timeout=LIMIT).json_value() / 1000

    first = given(files[0])
    times = [[given(file) for _ in range(many)] for file in files]
    answers = "[...document.getElementById('own').photos.known.values()]"
    threads, forward = page.evaluate(f"[{answers}[0].threads, {answers}.slice(1).map(({{ ms }}) => ms)]")
    context.close()
    what = f"site, {name}: own photo, {threads} thread{'s' if threads > 1 else ''}"
    yield Row(f"{what}, first", f"{first:.2f} s")
    for kind, some in zip(("a small file", f"{PHONE[0]} x {PHONE[1]} px"), times, strict=True):
        yield at_most(f"{what}, {kind}", median(some), OWN, 2, " s", f"longest {max(some):.2f}")
    yield Row(f"{what}, forward", f"{median(forward):.0f} ms")


def _all(browser: Browser, base: str, sent: list[int]) -> int:
    """The bytes of all pages, one after the other in one window."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    sent.clear()
    for name in PAGES:
        page.goto(f"{base}/{address(name, 'en')}")
        page.wait_for_load_state("networkidle")
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    page.wait_for_load_state("networkidle")
    page.context.close()
    return sum(sent)
