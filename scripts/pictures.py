"""Take the README's pictures from a running app: `.venv/bin/python -m scripts.pictures http://localhost:8501`.

Names after the address take these pictures only.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from bench.browsers import FULL, SHELL, installed
from cfviz import inspect

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
DOG = "photo=german-shepherd&lang=en"
PAGES = {  # name -> address, seconds to let the figure settle
    "home": "?lang=en",
    "predict": f"predict?{DOG}",
    "attention": f"attention?{DOG}&stage=1&block=2&head=1&row=20&col=28",
    "grouping": "grouping?lang=en",
    "embedding": f"embedding?{DOG}",
    "learn": f"learn?{DOG}&lesson=1&step=3",
    "position_bias": f"position_bias?{DOG}",
    "lab": f"lab?{DOG}",
    "compare": f"compare?{DOG}&stage=1&row=20&col=28",
    "parts": f"lab?{DOG}&open=parts",
    "blocks": "lab?photo=worms-cathedral&lang=en&open=known",
    "dense": "dense?lang=en&net=semantic_fpn_crossformer_nano&scene=4&row=130&col=110&held=1&show=4",
    "similar": f"attention?{DOG}&open=similar&similar=3,0.9643,0.1786",
    "timm": f"attention?{DOG}&timm=swin_tiny_patch4_window7_224&t_row=54&t_col=30&t_held=1",
    "brush": f"lab?{DOG}&do=none&brush=mean-rect-830.0-1000.400",
}
FROM = {
    "dense": ".dn",
    "brush": ".br",
    "timm": ".cf >> nth=1",  # the second figure of attention on its page
    "parts": ".lp",
    "blocks": ".rd",
}  # name -> what the picture begins with, where the page's head would fill half of it
PAPER = "paper"  # name of the picture that shows a figure for a paper, which needs no app
WIDTH, HEIGHT, LIMIT = 1440, 900, 300_000


def main(base: str, *names: str) -> None:
    """Write one WebP per page, 1440 px wide, in the light theme."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not names or PAPER in names:
        _write(PAPER, _paper())
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=installed(*FULL, SHELL), args=["--no-sandbox"])
        for name, address in PAGES.items():
            if names and name not in names:
                continue
            context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page = context.new_page()
            page.goto(f"{base.rstrip('/')}/{address}")
            page.wait_for_function(
                "document.querySelector('[data-testid=\"stApp\"]')?.dataset.testScriptState === 'notRunning'",
                timeout=120_000,
            )
            page.wait_for_function(  # a chart's place, until its code is loaded
                '!document.querySelector(\'[data-testid="stMain"] [data-testid="stSkeleton"]\')',
                timeout=120_000,
            )
            page.wait_for_timeout(4000)
            if name in FROM:
                page.locator(FROM[name]).first.evaluate("(one) => one.scrollIntoView()")
                page.wait_for_timeout(500)
            picture = Image.open(BytesIO(page.screenshot()))
            context.close()
            _write(name, picture)
        chromium.close()


def _paper() -> Image.Image:
    """The heads of one token as `cfviz figure` draws them, two columns wide."""
    trace = inspect("gallery:german-shepherd", watch="layers.0.blocks.1.attn.probs")
    drawn = BytesIO()
    trace.plot("heads", "two", stage=0, block=1, row=20, col=28).savefig(drawn, format="png", dpi=300)
    picture = Image.open(drawn).convert("RGB")
    return picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)


def _write(name: str, picture: Image.Image) -> None:
    """Write a picture as WebP, in the best quality that is small enough."""
    written = FOLDER / f"{name}.webp"
    for quality in (90, 80, 70, 60):
        picture.save(written, quality=quality, method=6)
        if written.stat().st_size <= LIMIT:
            break
    print(written.name, written.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
