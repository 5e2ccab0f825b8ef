"""How fast the position bias page responds: `python -m bench bias`. Uses a warm server, headless Chromium.

first surface   from the start of navigation until the first surface is drawn
another size    from choosing an input size that has not been viewed before until the answers under every
                method of resizing the bias are drawn; measured again once they are cached
pointing        time to compute and draw one query's attention on every card, without the browser's painting
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from playwright.sync_api import BrowserContext, Page, sync_playwright

from bench.hover import CHROMIUM
from bench.pages import HEIGHT, LIMIT, REST, WIDTH, clicked, server
from bench.timing import Row, at_most

SIZES = (160, 192, 224, 288, 320)
# Figures are in shadow roots. Finding one takes longer than what is measured, so it is cached.
WATCH = """
window.kept = {};
window.bias = (part) => {
  const find = (root) => {
    for (const el of root.querySelectorAll('*')) {
      if (el.figure?.header?.part === part) return el.figure;
      const inner = el.shadowRoot && find(el.shadowRoot);
      if (inner) return inner;
    }
    return null;
  };
  if (!window.kept[part]?.root.isConnected) window.kept[part] = find(document);
  const figure = window.kept[part];
  return figure && figure.root.dataset.ready !== undefined ? figure : null;
};
window.answered = () => {
  const figure = window.bias('answer');
  return figure && figure.ways.every((way) => way.ready) ? figure.id : '';
};
const until = (ready, done) => (ready() ? done() : requestAnimationFrame(() => until(ready, done)));
until(() => window.bias('surfaces'), () => { window.surface = performance.now(); });
if (location.search.includes('open=answer'))
  until(() => window.bias('answer')?.ways.some((way) => way.ready),
    () => { window.begun = performance.now(); });
window.stopwatch = (option) => {
  const before = window.answered();
  window.took = null;
  option.addEventListener('click', () => {
    const start = performance.now();
    until(() => window.answered() && window.answered() !== before,
      () => { window.took = performance.now() - start; });
  }, { capture: true, once: true });
};
window.pointing = () => {
  const figure = window.bias('answer'), times = [];
  for (let i = 0; i < 400; i++) {
    Object.assign(figure.state, { down: (i * 7 % 400) / 400, across: (i * 13 % 400) / 400 });
    const start = performance.now();
    figure.draw();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[380];
};
"""


def opened(context: BrowserContext, address: str) -> tuple[Page, float]:
    """Open the page in a new tab, with the first answers; also return the seconds to the first surface."""
    page = context.new_page()
    page.goto(f"{address}/position_bias?lang=en&open=answer", wait_until="commit")
    page.wait_for_function("() => window.surface && window.answered()", timeout=LIMIT)
    page.wait_for_timeout(REST)
    return page, page.evaluate("window.surface") / 1000


def reaction(page: Page, size: int) -> float:
    """Seconds from choosing another input size until the answers under every method are drawn."""
    box = page.locator("[class*=st-key-position_bias_at] input, [class*=st-key-position_bias-at] input").first
    box.scroll_into_view_if_needed()
    box.click()
    return clicked(page, "", page.get_by_role("option", name=f"{size} × {size} px"))


def rows(rounds: int) -> Iterator[Row]:
    """The rows for `make bench`."""
    many = max(3, min(6, rounds // 5))
    with sync_playwright() as play, server() as address:
        browser = play.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.add_init_script(WATCH)
        page, times = opened(context, address)[0], []
        for _ in range(many):
            page.close()
            page, seconds = opened(context, address)
            times.append(seconds)
        yield at_most("position bias: first surface, warm server", median(times), 1.5, 2, " s")
        for what in ("new sizes", "sizes known"):
            times = [reaction(page, size) for size in SIZES]
            note = f"{what}, every way; {min(times):.2f} to {max(times):.2f} s"
            yield at_most("position bias: another size to answers", median(times), 0.3, 2, " s", note)
        yield at_most(
            "position bias: pointing, p95", page.evaluate("window.pointing()"), 16, 1, " ms", "drawing"
        )
        browser.close()
