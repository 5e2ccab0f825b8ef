"""How long from the pointer to the painted frame: `python -m bench.hover [--model …] [--size …]`.

Opens the living figure's offline page in headless Chromium, sweeps the pointer over the photo, and prints the
median and the 95th percentile of two times a move:

    drawing   from the event's arrival in the page to the end of its frame (style, layout and paint included)
    pointer   from the event's own time stamp, so the wait for the screen's next frame counts too

Nothing is sent anywhere while hovering: the page has no connection to send it on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

from cfviz.data.samples import gallery
from cfviz.figures import living
from cfviz.models import create_model
from cfviz.run import inspect

WATCH = ("layers.*.blocks.*.attn.q", "layers.*.blocks.*.attn.k", "layers.*.blocks.*.attn.bias")
BUDGET = 16.0  # ms
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


def sweep(page: Page, moves: int) -> tuple[float, np.ndarray]:
    """Move the pointer over the photo: CPU ms a move, and (drawing, pointer) in ms (moves, 2)."""
    page.wait_for_selector(".cf[data-ready]")
    box = page.locator(".over").bounding_box()
    assert box is not None
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
    return cpu, np.array(page.evaluate("window.samples"))[moves // 10 :]  # the first ones warm the page up


def _busy(meter: CDPSession) -> float:
    """CPU ms the page's main thread has used."""
    metrics = meter.send("Performance.getMetrics")["metrics"]
    return 1000 * next(m["value"] for m in metrics if m["name"] == "TaskDuration")


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", default="crossformer_small")
    ask.add_argument("--size", type=int, default=224)
    ask.add_argument("--moves", type=int, default=400)
    ask.add_argument("--width", type=int, default=1440)
    ask.add_argument("--chromium", default=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    ask.add_argument("--json", type=Path, help="also write the numbers here")
    given = ask.parse_args()
    net = create_model(given.model, weights=None)
    trace = inspect(gallery()[0].path, net, size=given.size, watch=WATCH)
    units = living.units(trace.arrays, trace.groupings)
    results = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=given.chromium)
        for stage, block in [(s, b) for s in range(4) for b in range(min(2, len(trace.groupings[s])))]:
            packed = living.pack(
                units, size=trace.size, strides={0: 4, 1: 8, 2: 16, 3: 32}, strings=living.words(),
                photo=trace.crop, start={"stage": stage, "block": block},
            )  # fmt: skip
            file = Path(folder) / "figure.html"
            file.write_text(living.html(packed), "utf-8")
            page = browser.new_page(viewport={"width": given.width, "height": 900})
            page.add_init_script(CLOCK)
            page.goto(file.as_uri())
            cpu, times = sweep(page, given.moves)
            page.close()
            p50, p95 = np.percentile(times, 50, 0), np.percentile(times, 95, 0)
            kind = trace.groupings[stage][block].kind.upper()
            results[f"stage {stage + 1} block {block + 1} {kind}"] = [cpu, *p50, *p95]
        browser.close()
    print(f"{given.model}, {given.size} px, {given.width} px wide, {given.moves} moves a block; ms")
    print(
        f"{'':24}{'cpu':>8}{'drawing':>18}{'pointer':>18}\n{'':24}{'mean':>8}" + f"{'median    p95':>18}" * 2
    )
    for name, (cpu, d50, q50, d95, q95) in results.items():
        print(f"{name:24}{cpu:8.1f}{d50:10.1f}{d95:8.1f}{q50:10.1f}{q95:8.1f}")
    worst = max(r[3] for r in results.values())
    print(f"worst p95 from event to painted: {worst:.1f} ms; budget {BUDGET:.0f} ms")
    if given.json:
        given.json.write_text(json.dumps({k: [float(x) for x in v] for k, v in results.items()}, indent=2))


if __name__ == "__main__":
    main()
