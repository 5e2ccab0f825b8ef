"""Time from pointer move to painted frame: `python -m bench.hover [--model …] [--size …]`.

Opens the attention figure's offline page in headless Chromium, sweeps the pointer over the photo, and prints
for every kind of block, in ms per move:

    cpu       time of the page's main thread (script, style, layout and paint), on average
    drawing   from the event's arrival in the page to the end of its frame
    pointer   from the event's own time stamp, so it includes the wait for the next frame

The last two are wall-clock times, as median and 95th percentile: they need an otherwise idle machine. The
first line is for a figure that draws nothing; it shows how long a frame takes in any case on this machine.
Nothing is sent anywhere while hovering: the page has no connection.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

from bench.browsers import FULL, SHELL, installed
from bench.timing import Row, at_most
from cfviz.data.samples import gallery
from cfviz.figures.live import attention
from cfviz.models import create_model
from cfviz.run import inspect
from cfviz.words import figure_words

WATCH = ("layers.*.blocks.*.attn.q", "layers.*.blocks.*.attn.k", "layers.*.blocks.*.attn.bias")
BUDGET = 16.0  # ms
CHROMIUM = installed(*FULL, SHELL)  # with windows if there is one, as readers have it
CLOCK = """
window.samples = [];
addEventListener('pointermove', (event) => {
  const arrived = performance.now();
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    const painted = performance.now();
    window.samples.push([painted - arrived, painted - event.timeStamp]);
  };
  requestAnimationFrame(() => channel.port2.postMessage(0));
}, { capture: true });
"""


def sweep(
    page: Page, moves: int, still: bool = False, over: str = ".over", ready: str = ".cf[data-ready]"
) -> tuple[float, np.ndarray]:
    """Move the pointer over the photo; return CPU ms per move, and (drawing, pointer) in ms, (n, 2).

    Args:
        page: A page that runs `CLOCK`.
        moves: How often.
        still: Let the figure draw nothing.
        over: What the pointer moves over.
        ready: What has to be there first.
    """
    page.wait_for_selector(ready)
    page.locator(over).scroll_into_view_if_needed()
    box = page.locator(over).bounding_box()
    assert box is not None
    if still:
        page.evaluate("() => { document.querySelector('.cf').figure.draw = () => {}; }")
    meter = page.context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _busy(meter)
    for i in range(moves):
        t = i / moves * 2 * math.pi
        x = box["x"] + box["width"] * (0.5 + 0.46 * math.sin(7 * t))
        y = box["y"] + box["height"] * (0.5 + 0.46 * math.cos(5 * t))
        page.mouse.move(x, y)
    page.wait_for_timeout(100)
    cpu = (_busy(meter) - before) / moves
    return cpu, np.array(page.evaluate("window.samples"))[moves // 10 :]  # the first tenth is warm-up


def _busy(meter: CDPSession) -> float:
    """CPU time in ms that the page's main thread has used."""
    metrics = meter.send("Performance.getMetrics")["metrics"]
    return 1000 * next(m["value"] for m in metrics if m["name"] == "TaskDuration")


def measure(
    model: str = "crossformer_small",
    size: int = 224,
    moves: int = 400,
    width: int = 1440,
    chromium: str | None = CHROMIUM,
) -> dict[str, list[float]]:
    """Sweep the first two blocks of every stage: cpu, drawing p50, pointer p50, drawing p95, pointer p95."""
    trace = inspect(gallery()[0].path, create_model(model, weights=None), size=size, watch=WATCH)
    units = attention.units(trace.arrays, trace.groupings)
    blocks = [(s, b) for s in range(4) for b in range(min(2, len(trace.groupings[s])))]
    results = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium)
        for stage, block in [(0, -1), *blocks]:  # -1: the figure draws nothing
            packed = attention.pack(
                units, size=trace.size, strides={0: 4, 1: 8, 2: 16, 3: 32}, strings=figure_words("attention"),
                photo=trace.crop, start={"stage": stage, "block": max(block, 0)},
            )  # fmt: skip
            file = Path(folder) / "figure.html"
            file.write_text(attention.html(packed), "utf-8")
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.add_init_script(CLOCK)
            page.goto(file.as_uri())
            cpu, times = sweep(page, moves, still=block < 0)
            page.close()
            name = f"stage {stage + 1} block {block + 1} {trace.groupings[stage][block].kind.upper()}"
            halves, most = np.percentile(times, 50, 0), np.percentile(times, 95, 0)
            results["nothing drawn" if block < 0 else name] = [cpu, *halves.tolist(), *most.tolist()]
        browser.close()
    return results


def rows(rounds: int) -> Iterator[Row]:
    """The rows for `make bench`."""
    results = measure(moves=max(100, 5 * rounds))
    idle = results.pop("nothing drawn")
    cpu, drawn = max(r[0] for r in results.values()), max(r[3] for r in results.values())
    note = f"worst block; {idle[3]:.1f} ms where nothing is drawn"
    yield at_most("hover: event to painted, p95, Small at 224 px", drawn, BUDGET, 1, " ms", note)
    yield at_most(
        "hover: main thread a move, mean", cpu, BUDGET, 1, " ms", f"{idle[0]:.1f} ms where nothing is drawn"
    )


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", default="crossformer_small")
    ask.add_argument("--size", type=int, default=224)
    ask.add_argument("--moves", type=int, default=400)
    ask.add_argument("--width", type=int, default=1440)
    ask.add_argument("--chromium", default=CHROMIUM)
    given = ask.parse_args()
    results = measure(given.model, given.size, given.moves, given.width, given.chromium)
    print(f"{given.model}, {given.size} px, {given.width} px wide, {given.moves} moves a block; ms")
    print(f"{'':24}{'cpu':>8}{'drawing':>18}{'pointer':>18}")
    print(f"{'':24}{'mean':>8}" + f"{'median    p95':>18}" * 2)
    for name, (cpu, d50, q50, d95, q95) in results.items():
        print(f"{name:24}{cpu:8.1f}{d50:10.1f}{d95:8.1f}{q50:10.1f}{q95:8.1f}")
    worst = max(r[3] for r in results.values())
    print(f"worst p95 from event to painted: {worst:.1f} ms; budget {BUDGET:.0f} ms")


if __name__ == "__main__":
    main()
