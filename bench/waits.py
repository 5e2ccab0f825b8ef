"""How long a reader waits on every page: `python -m bench waits`. Uses a warm server, headless Chromium.

    title       from the start of navigation in a new tab (scripts in the browser's cache) until the title is
                there
    figure      from the same start until the page's first figure is drawn and in sight
    photo, size from choosing another photo or input size, which nobody has seen, until the page has run and
                nothing on it belongs to the one before
    448 px      from the start of navigation until the position bias page shows its figure at 448 px, and
                until its section on other windows has the first answers, and those of all methods, there

Times are on the page's own clock. Server, browser and whatever else runs share the machine's cores: on a busy
machine, give this a priority of its own.

`python -m bench brush` tells the same of the lab's brush, at 224 px with nano and one thread of PyTorch:
from the end of a stroke until the answer, the logits' change and the attention are painted, and where that
time goes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from statistics import median

from playwright.sync_api import BrowserContext, Page, sync_playwright

from bench import position_bias
from bench.hover import CHROMIUM
from bench.pages import HEIGHT, LIMIT, WIDTH, clicked, server
from bench.timing import Row, at_most
from cfviz.data.samples import gallery
from cfviz.options import SIZES
from cfviz.words import translator

STROKES, FOLLOWS = 12, 0.3  # measured strokes; seconds
REST = 1500  # ms between measurements, while the rest of the page loads
TITLE, FIGURE, CHANGE, LARGE = 1.0, 2.0, 0.4, 1.5  # seconds
# Path of each page -> selector of its first figure; none on the page that begins with a form.
FIGURES = {
    "": ".whole .stage",
    "learn": ".cf[data-ready]",
    "predict": ".cf-top",
    "grouping": ".gr canvas",
    "attention": ".cf[data-ready]",
    "embedding": ".em[data-ready]",
    "position_bias": ".pb[data-ready]",
    "dense": ".dn[data-ready]",
    "lab": ".lab[data-ready]",
    "compare": ".cp[data-ready]",
    "study": "",
}
PHOTOLESS = ("grouping", "study")  # what they show belongs to no photo
WATCH = """
window.drawn = (selector) => {
  const roots = [document];
  for (const place of document.querySelectorAll('[data-cf-figure] *'))
    if (place.shadowRoot) roots.push(place.shadowRoot);
  const found = roots.map((root) => root.querySelector(selector)).find(Boolean);
  return Boolean(found) && getComputedStyle(found).visibility === 'visible';
};
const frames = (done) => requestAnimationFrame(() => requestAnimationFrame(done));
const until = (ready, done) => (ready() ? done() : requestAnimationFrame(() => until(ready, done)));
window.seen = {};
window.look = (selector) => {
  const note = (name) => { window.seen[name] = performance.now(); };
  until(() => document.querySelector('[data-testid=stMain] h1')?.textContent, () => note('title'));
  until(() => selector === '' || window.drawn(selector), () => frames(() => note('figure')));
};
window.stopwatch = (option) => {
  window.took = null;
  option.addEventListener('click', () => {
    const start = performance.now();
    let [ran, stale] = [false, false];
    // what the page asks for once all in sight is new begins another run, often within the same frame
    const done = () => {
      const state = document.querySelector('[data-testid=stApp]').dataset.testScriptState;
      const old = document.querySelector('[data-testid=stMain] [data-stale=true], [data-testid=stSkeleton]');
      ran ||= state !== 'notRunning';
      stale ||= Boolean(old);
      return !old && (stale || (ran && state === 'notRunning'));
    };
    until(done, () => frames(() => { window.took = performance.now() - start; }));
  }, { capture: true, once: true });
};
"""


# Follows one stroke: when the pen was lifted, the page sent it, the first and the last message before the
# answer came, it was drawn (in one task: classes, logits, attention), and painted.
STROKE = """
window.wire = { sent: [], came: [] };
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (...all) {
  window.wire.sent.push(performance.now());
  return send.apply(this, all);
};
const own = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
Object.defineProperty(WebSocket.prototype, 'onmessage', { ...own, set(act) {
  own.set.call(this, (e) => { window.wire.came.push(performance.now()); act.call(this, e); });
} });
const add = WebSocket.prototype.addEventListener;
WebSocket.prototype.addEventListener = function (name, act, ...more) {
  if (name !== 'message') return add.call(this, name, act, ...more);
  const noting = (e) => { window.wire.came.push(performance.now()); act.call(this, e); };
  return add.call(this, name, noting, ...more);
};
window.follow = () => {
  const roots = [document];
  for (const place of document.querySelectorAll('[data-cf-figure] *'))
    if (place.shadowRoot) roots.push(place.shadowRoot);
  const root = roots.map((one) => one.querySelector('.br')).find(Boolean);
  const before = root.figure.id;
  window.stroke = null;
  root.querySelector('canvas').addEventListener('pointerup', () => {
    const lifted = performance.now();
    window.wire = { sent: [], came: [] };
    new MutationObserver((_, watcher) => {
      if (root.hasAttribute('data-waits') || root.figure.id === before) return;
      watcher.disconnect();
      const drawn = performance.now();
      const { sent: [sent], came } = window.wire;
      const last = came.findLast((one) => one < drawn);
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        const painted = performance.now();
        window.stroke = { sending: sent - lifted, server: last - sent, page: drawn - last,
                          painting: painted - drawn, first: came[0] - sent, whole: painted - lifted,
                          logits: root.querySelectorAll('[data-logit]').length,
                          attention: root.figure.shown.values.length };
      };
      requestAnimationFrame(() => channel.port2.postMessage(0));
    }).observe(root, { attributes: true, attributeFilter: ['data-waits'] });
  }, { capture: true, once: true });
};
"""


def opened(context: BrowserContext, address: str, selector: str) -> tuple[Page, dict[str, float]]:
    """Open a page in a new tab; also return the seconds from the start of navigation to title and figure."""
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.evaluate("(selector) => window.look(selector)", selector)
    page.wait_for_function("() => window.seen.title && window.seen.figure", timeout=LIMIT)
    page.wait_for_timeout(REST)
    return page, {name: ms / 1000 for name, ms in page.evaluate("window.seen").items()}


def chosen(page: Page, setting: str, name: str) -> float:
    """Seconds from choosing an option of one of the sidebar's settings until the page shows its results."""
    page.locator(f".st-key-w-{setting} input").click()
    return clicked(page, "", page.get_by_role("option", name=name, exact=True), REST)


def rows(rounds: int) -> Iterator[Row]:
    """The rows for `make bench`."""
    many = max(3, min(5, rounds // 6))
    with sync_playwright() as play, server(ahead=False) as address:
        browser = play.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.add_init_script(WATCH)
        titles = [translator("en")(f"gallery.{entry.id}") for entry in gallery()]
        photos = itertools.cycle(titles[2:] + titles[:2])
        for path, selector in FIGURES.items():
            yield from _page(context, f"{address}/{path}?lang=en", path, selector, photos, many)
        yield from _large(browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}), address, many)
        browser.close()


def _page(
    context: BrowserContext, address: str, path: str, selector: str, photos: Iterator[str], many: int
) -> Iterator[Row]:
    """The rows of one page."""
    opened(context, address, selector)[0].close()  # warms up server and browser
    seen = []
    for n in range(many):
        page, first = opened(context, address, selector)
        seen.append(first)
        if n < many - 1:
            page.close()
    name = path or "home"
    yield _row(f"{name}: title", [first["title"] for first in seen], TITLE)
    if selector:
        yield _row(f"{name}: figure", [first["figure"] for first in seen], FIGURE)
    if path not in PHOTOLESS:
        yield _row(f"{name}: other photo", [chosen(page, "photo", next(photos)) for _ in range(many)], CHANGE)
        sizes = [size for size in SIZES if size != 224 and size <= 288][-many:]
        yield _row(f"{name}: other size", [chosen(page, "size", f"{s} × {s} px") for s in sizes], CHANGE)
    page.close()


def _large(context: BrowserContext, address: str, many: int) -> Iterator[Row]:
    """The rows of the position bias page at 448 px, as it opens and with the answers of all methods."""
    context.add_init_script(position_bias.WATCH)
    plain, surfaces, begun, answers = [], [], [], []
    for n in range(many):
        where = f"{address}/position_bias?lang=en&size=448&photo={gallery()[n].id}"
        page = context.new_page()
        page.goto(where, wait_until="commit")
        page.wait_for_function("() => window.surface", timeout=LIMIT, polling="raf")
        plain.append(page.evaluate("window.surface") / 1000)
        page.wait_for_timeout(REST)
        page.close()
        page = context.new_page()
        page.goto(f"{where}&open=answer&at=448", wait_until="commit")
        page.wait_for_function("() => window.surface && window.answered()", timeout=LIMIT, polling="raf")
        surfaces.append(page.evaluate("window.surface") / 1000)
        answers.append(page.evaluate("performance.now()") / 1000)
        begun.append(page.evaluate("window.begun") / 1000)
        page.close()
    yield _row("position_bias at 448 px: figure", plain, LARGE)
    yield _row("position_bias at 448 px: figure, answers open", surfaces, LARGE)
    yield _row("position_bias at 448 px: the first answers", begun, LARGE)
    yield _row("position_bias at 448 px: answers of all methods", answers, LARGE)


def _row(what: str, times: list[float], target: float) -> Row:
    return at_most(what, median(times), target, 2, " s", f"{min(times):.2f} to {max(times):.2f} s")


def brush(rounds: int) -> Iterator[Row]:
    """The rows of the lab's brush for `make bench`: medians of `STROKES` strokes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the server
    with sync_playwright() as play, server(ahead=False) as address:
        browser = play.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.add_init_script(STROKE)
        page = context.new_page()
        page.goto(f"{address}/lab?lang=en&size=224&photo=german-shepherd&open=brush&do=none")
        canvas = page.locator(".br-left canvas")
        page.locator(".br[data-ready]").wait_for(timeout=LIMIT)
        page.wait_for_timeout(8 * REST)  # while the lab measures its parts
        canvas.scroll_into_view_if_needed()
        times = [_stroke(page, n) for n in range(STROKES + 2)][2:]  # two to warm up
        browser.close()

    def part(name: str) -> list[float]:
        return [one[name] for one in times]

    whole = part("whole")
    note = f"{min(whole) / 1e3:.2f} to {max(whole) / 1e3:.2f} s; nano, 224 px"
    yield at_most("brush: end of a stroke to painted", median(whole) / 1e3, FOLLOWS, 2, " s", note)
    for name, what in (
        ("sending", "in the page, until the stroke is sent"),
        ("server", "until the answer has come: rerun, forward, encoding"),
        ("page", "in the page, until all is drawn"),
        ("painting", "until it is painted"),
    ):
        yield Row(f"brush: {what}", f"{median(part(name)):.0f} ms")


def _stroke(page: Page, n: int) -> dict[str, float]:
    """The times of one stroke, in ms, no two strokes alike."""
    page.evaluate("window.follow()")
    box = page.locator(".br-left canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * (0.2 + 0.04 * n), box["y"] + box["height"] * (0.25 + 0.03 * n)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 40, steps=4)
    page.mouse.up()
    page.wait_for_function("() => window.stroke", timeout=LIMIT)
    found: dict[str, float] = page.evaluate("window.stroke")
    assert found["logits"], "no class is shown"
    assert found["attention"], "no attention is drawn"
    page.wait_for_timeout(REST)
    return found
