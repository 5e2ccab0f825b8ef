"""The app's server, from its start to its end; `app.py` gives these two to Streamlit.

What the home page would wait for comes before the first request is answered: its code is imported (PyTorch
takes a second), the bundled model is open, and every check on requests and messages is in place. The other
pages' code follows as soon as nobody waits (timm takes another); who opens one sooner waits for its import.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module

from starlette.middleware import Middleware
from streamlit import cli_util, config
from streamlit.web.server import server_util

from cfviz.deferred import uncollected
from cfviz.run import pick_device

from .compute import ahead, cache, models
from .session import door
from .session.gate import Gate
from .session.state import Settings
from .shell.first import FirstStyles

__all__ = ["MIDDLEWARE", "running"]

MIDDLEWARE = (Middleware(Gate), Middleware(FirstStyles))
PAGES = (  # all code of `pages/` and `app.py` beyond this package's frame
    "home", "predict", "grouping", "attention.view", "attention.fields", "attention.offsets",
    "attention.others", "attention.similar", "embedding.ablation", "embedding.figure",
    "embedding.filters", "embedding.subject", "position_bias.ablation", "position_bias.accuracy",
    "position_bias.answer", "position_bias.learning", "position_bias.own_photos",
    "position_bias.surfaces", "lab.results", "compare.pair", "compare.tables", "learn.page",
    "study.findings", "study.survey", "dense.computes", "dense.view",
)  # fmt: skip


@asynccontextmanager
async def running(_app: object) -> AsyncIterator[None]:
    """Make ready what the first page needs, and look after the server until it ends."""
    door.guard()
    with uncollected():
        _take(PAGES[0])  # deferred: Streamlit's caches ask for its runtime, which is up by now
        cache.tune_interpreter()
    with suppress(ValueError, OSError):  # without its file, the pages say which one is missing
        models.opened(Settings.model, "bundled", pick_device(), Settings.dtype)
    tidying = asyncio.create_task(door.tidy())
    threading.Thread(target=_follow, name="cfviz ahead", daemon=True).start()
    asyncio.get_running_loop().call_soon(_open_browser)
    try:
        yield
    finally:
        tidying.cancel()


def _take(page: str) -> None:
    with uncollected():
        import_module(f"{__package__}.pages.{page}")


def _follow() -> None:
    """Import the other pages' code while nobody waits, then compute ahead."""
    time.sleep(ahead.CALM)  # the first reader mostly comes at once
    ahead.run(partial(_take, page) for page in PAGES[1:])
    gc.freeze()  # as `tune_interpreter` does with what came before
    if ahead.wanted():
        import_module(f"{__package__}.ahead").run()


def _open_browser() -> None:
    """Open the app in a browser on this machine, unless `server.headless` is set.

    Streamlit does so itself only for scripts that make no server of their own.
    """
    if config.get_option("server.headless"):
        return
    if config.is_manually_set("browser.serverAddress"):
        name = config.get_option("browser.serverAddress")
    elif config.is_manually_set("server.address"):
        name = server_util.get_display_address(config.get_option("server.address"))
    else:
        name = "localhost"
    cli_util.open_browser(server_util.get_url(name))
