"""Shared fixtures: small models, the golden weights, a loopback server, the app, a browser."""

from __future__ import annotations

import ast
import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import settings

from bench.browsers import FULL, SHELL, installed
from bench.ports import free_port
from tests.processes.warm import Process, Warm

gc.disable()  # until the tests are collected: what they import stays
settings.register_profile("cfviz", deadline=None)  # a busy machine is no failure
settings.load_profile("cfviz")

os.environ["CFVIZ_AHEAD"] = "0"  # a page computes what a test asks for, and nothing beside it

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 90  # of the app, on a loaded machine
SOON = 20.0  # seconds after which a thread counts as hung

# ---------------------------------------------------------------- several processes (`pytest -n`)


APPS = 2  # shares of tests that use the app; each starts one
LONGEST = "tests/e2e/test_every_page.py"  # takes half as long as all others that use the app together


@cache
def opens_browser(file: Path) -> bool:
    """Whether a file has tests that open a browser."""
    return "pytest.mark.browser" in file.read_text("utf-8")


@cache
def uses_app(file: str) -> bool:
    """Whether a file has tests that open the app in a browser."""
    return opens_browser(ROOT / file) and any(
        isinstance(node, ast.FunctionDef) and any(one.arg == "app" for one in node.args.args)
        for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
    )


@cache
def dealt() -> dict[str, str]:
    """The files that use the app, each with its share: the next largest goes where there is least."""
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    sizes = {file: (ROOT / file).stat().st_size for file in files if uses_app(file)}
    sizes[LONGEST] = (sum(sizes.values()) - sizes[LONGEST]) // 2
    filled, found = {f"app {n}": 0 for n in range(APPS)}, {}
    for file, size in sorted(sizes.items(), key=lambda one: -one[1]):
        found[file] = min(filled, key=filled.__getitem__)
        filled[found[file]] += size
    return found


def share(file: str) -> str:
    """What one process runs as a whole: a file, or one part of the files that use the app.

    What the tests of a file share is then made once, and so is the app of a part.
    """
    return dealt().get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole shares, in the order of the tests."""
    if config.getoption("dist") != "load":  # another one was asked for
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByShare(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share(nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return ByShare(config, log)


def seconds(item: pytest.Item) -> float:
    """About the processor time that a test takes: `slow(25)` says it, other marks leave it to be guessed."""
    marks = {mark.name: mark.args for mark in reversed(list(item.iter_markers()))}
    if said := marks.get("slow"):
        return said[0]
    return 3.0 if "browser" in marks else 0.9 if "slow" in marks else 0.02


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several processes begin with the largest shares and end with small ones: none waits for another."""
    if not hasattr(config, "workerinput"):
        return
    weight: Counter[str] = Counter()
    for item in items:
        weight[share(item.nodeid.partition("::")[0])] += seconds(item)
    items.sort(key=lambda item: -weight[share(item.nodeid.partition("::")[0])])


# ---------------------------------------------------------------- what costs time and tests nothing


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Let one process compile a file of tests, with its assertions rewritten, and the others wait for that.

    In a fresh checkout each of them would: seven seconds of processor time.
    """
    if not isinstance(collector, pytest.Module) or sys.dont_write_bytecode:
        return (yield)
    file = collector.path
    if any((file.parent / "__pycache__").glob(f"{file.stem}.*-pytest-*.pyc")):
        return (yield)
    with file.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        return (yield)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt what was imported from garbage collection: it stays to the end anyway."""
    gc.freeze()
    gc.set_threshold(10_000)  # 700 by default, and a large heap is gone through each time
    gc.enable()


def pytest_runtest_teardown() -> None:
    """Pause the work beside a page as soon as its test has ended: it would go on for four seconds."""
    if "cfviz.ui.compute.steps" in sys.modules:
        from cfviz.ui.compute import steps

        with steps._change:
            steps._open.clear()


@pytest.fixture(autouse=True, scope="session")
def _installed_once() -> Iterator[None]:
    """Read the records of all installed packages once: Streamlit reads them for each AppTest."""
    with pytest.MonkeyPatch.context() as patch:
        if "streamlit" in sys.modules:
            from streamlit.components.v2 import manifest_scanner as scanner

            patch.setattr(scanner, "scan_component_manifests", cache(scanner.scan_component_manifests))
        yield


@pytest.fixture(autouse=True, scope="session")
def _asleep_while_a_page_runs() -> Iterator[None]:
    """Wait for the end of a page of an AppTest: Streamlit asks for it a thousand times a second."""
    with pytest.MonkeyPatch.context() as patch:
        if "streamlit.testing.v1" in sys.modules:
            from streamlit.testing.v1 import local_script_runner as runners

            late = runners.require_widgets_deltas

            def ended(runner: Any, timeout: float = 3) -> None:
                runner._script_thread.join(timeout)
                if not runner.script_stopped():
                    late(runner, 0.0)  # stops it, and says so

            patch.setattr(runners, "require_widgets_deltas", ended)
        yield


# ---------------------------------------------------------------- offline


@pytest.fixture(autouse=True, scope="session")
def _offline() -> Iterator[None]:
    """Let a test that reaches for the network fail at once, with the address it wanted."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
            raise OSError(f"the tests are offline; something wanted to reach {address[0]}:{address[1]}")
        return real(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


def is_local(host: str) -> bool:
    return host in ("localhost", "::1", "::", "0.0.0.0") or host.startswith("127.")


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep all tests away from the user's downloads."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("HF_HOME", str(folder / "hf"))
        yield


# ---------------------------------------------------------------- models


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """A function that makes a small CrossFormer, the same one each time: 16 channels, 4 stages, 7 classes.

    It takes the keywords of `CrossFormer`; `seed` selects other weights.
    """
    import torch

    from cfviz.models import CrossFormer

    def make(seed: int = 0, **kwargs: Any) -> CrossFormer:
        config = {"num_classes": 7, "embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return CrossFormer(**{**config, **kwargs}).eval()

    return make


def golden_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 weight derived from a parameter's name, with which the golden outputs were made."""
    seed = zlib.crc32(name.encode())
    r = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    if name.endswith(".running_mean"):
        return 0.1 * r
    if name.endswith(".bias"):
        return 0.02 * r
    if len(shape) == 1:
        return 1 + 0.1 * r
    if ".pos." in name:
        return 0.5 * r
    return (r / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


@pytest.fixture(scope="module")
def golden_weights() -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """`golden_weight`, which draws each weight once for a file's tests; they copy what they change."""
    return cache(golden_weight)


@pytest.fixture(scope="module")
def golden_fill(golden_weights: Callable[[str, tuple[int, ...]], np.ndarray]) -> Callable[[Any], Any]:
    """A function that gives a model the weights derived from its parameters' names, and returns it.

    A model made on the device "meta", where nothing is drawn at random first, gets them, too.
    """
    import torch

    def fill(model: Any) -> Any:
        state = {n: torch.from_numpy(golden_weights(n, tuple(p.shape))) for n, p in model.named_parameters()}
        if any(p.is_meta for p in model.parameters()):
            assert not list(model.buffers()), "they would be lost"
            model.to_empty(device="cpu")
        model.load_state_dict(state, strict=True)
        return model.eval()

    return fill


# ---------------------------------------------------------------- processes


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts processes that have imported PyTorch, timm, the training and the app's server.

    `tests/processes/warm.py` says how. The hub is out of their reach.
    """
    ours = ("cfviz.cli", "cfviz.run", "cfviz.training.engine")
    theirs = ("torchvision", "timm", "plotly.graph_objects", "streamlit.starlette", "streamlit.web.bootstrap")
    made = Warm(*theirs, *ours, path=ROOT, env={"HF_HUB_OFFLINE": "1"})
    yield made
    made.close()


@pytest.fixture(scope="session")
def warm_torch() -> Iterator[Warm]:
    """Starts processes that have imported PyTorch, and neither timm nor cfviz."""
    made = Warm("huggingface_hub", "safetensors.torch", "torch", "torchvision", "torch._dynamo")
    yield made
    made.close()


# ---------------------------------------------------------------- a server on the loopback address


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler], None]], str]]:
    """A function that serves GET and HEAD requests with a given handler and returns the base URL.

    `serve(respond)`: `respond(request)` gets the `BaseHTTPRequestHandler` and writes the whole answer, or
    breaks it off.
    """
    with ExitStack() as stack:

        def start(respond: Callable[[BaseHTTPRequestHandler], None]) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    respond(self)

                do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

                def log_message(self, *args: Any) -> None:
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


# ---------------------------------------------------------------- the app


# `streamlit` for a process whose standard input is a pipe: it ends when the tests do, however they end.
LEASHED = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from streamlit.web.cli import main
main(prog_name="streamlit")
"""


class App:
    """A running Streamlit server."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def url(self, page: str = "", **query: Any) -> str:
        """The address of a page; keywords become the query: `app.url("predict", lang="zh-Hant")`."""
        return f"{self.base}/{page}" + (f"?{urlencode(query)}" if query else "")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base}/_stcore/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def serving(warm: Warm, port: int, *options: str, env: Mapping[str, str]) -> Iterator[Process]:
    """The process of the app, once it answers at a port of the loopback address; it ends with the block."""
    theirs, ours = os.pipe()
    command = ["-c", LEASHED, "run", "app.py", "--server.address", "127.0.0.1", "--server.port", str(port)]
    command += ["--server.headless", "true", *options]
    process = warm.popen(command, env=env, stdin=theirs, start_new_session=True)
    os.close(theirs)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not App(port).healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the app did not start:\n{process.stderr[-4000:]}")
            time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # killed by then
            process.wait(10)
        os.close(ours)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Iterator[App]:
    """The app, started once on a free port of the loopback address."""
    port, env = free_port(), {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("app"))}
    with serving(warm, port, env=env):
        yield App(port)


# ---------------------------------------------------------------- the browser


@pytest.fixture(scope="session")
def chromium_path() -> str | None:
    """The installed Chromium: `$CHROMIUM`, or the first found; None for Playwright's own build."""
    return installed(SHELL, *FULL)


@pytest.fixture(scope="module")
def browser(chromium_path: str | None) -> Iterator[Any]:
    """A headless Chromium, one per module: Playwright's event loop must not outlive the tests that use it."""
    from playwright.sync_api import Error, expect, sync_playwright

    expect.set_options(timeout=30_000)  # five seconds are too few on a busy machine
    with sync_playwright() as playwright:
        try:
            # a container gives root no sandbox and little shared memory
            started = playwright.chromium.launch(
                executable_path=chromium_path, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
        except Error as error:
            pytest.fail(f"no Chromium for the browser tests (`make test` installs one): {error}")
        yield started
        started.close()


class Windows:
    """Private windows of a browser, used by one test after the other.

    In a new one a page costs three seconds of processor time, as all scripts are fetched and compiled again;
    in one that has been used and emptied, one second.
    """

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.free: dict[str, list[Any]] = {}

    def take(self, **options: Any) -> Any:
        """A window without pages, cookies or anything else kept; the keywords are those of `new_context`."""
        free = self.free.setdefault(repr(sorted(options.items())), [])
        return free.pop() if free else self.browser.new_context(**options)

    def give_back(self, window: Any, **options: Any) -> None:
        """Empty a window, but for what it has fetched, and keep it for the next test."""
        for page in window.pages:
            page.close()
        window.clear_cookies()
        window.clear_permissions()
        page = window.new_page()
        every = {"origin": "*", "storageTypes": "all"}
        window.new_cdp_session(page).send("Storage.clearDataForOrigin", every)
        page.close()
        self.free[repr(sorted(options.items()))].append(window)


@pytest.fixture(scope="module")
def windows(browser: Any) -> Windows:
    """The windows of the tests of a module."""
    return Windows(browser)


@pytest.fixture
def open_page(windows: Windows) -> Iterator[Callable[..., Any]]:
    """A function that opens an address in a private window and waits until Streamlit has run the page.

    `open_page(app.url("predict"), width=1440, height=900, theme="light")`; page errors fail the test. What
    the page sends to the server is added to the list `sent`, if one is given.
    """
    errors: list[str] = []
    with ExitStack() as stack:

        def visit(
            url: str, width: int = 1440, height: int = 900, theme: str = "light",
            sent: list[Any] | None = None, **context: Any,
        ) -> Any:  # fmt: skip
            options = {"viewport": {"width": width, "height": height}, "color_scheme": theme, **context}
            window = windows.take(**options)
            stack.callback(windows.give_back, window, **options)
            page = window.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            if sent is not None:
                page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
            page.goto(url)
            settle(page)
            return page

        yield visit
    assert not errors, f"the browser reported: {errors}"


def until(condition: Callable[[], object], seconds: float = SOON) -> None:
    """Wait for something that other threads bring about; fail if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to this"
        time.sleep(0.002)


def at_rest(seconds: float = 120) -> None:
    """Wait until the work beside the pages has ended, or pauses until a page asks for it again."""
    from cfviz.ui.compute import steps  # deferred: it imports Streamlit

    until(lambda: not steps._busy, seconds)


def join(*threads: threading.Thread) -> None:
    """Wait for threads to end; fail if one hangs."""
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive(), "a thread hangs"


def soon(page: Any, read: Callable[[], Any], wanted: Any, seconds: float = 30) -> None:
    """Fail unless a reading gives the wanted value, now or soon: a busy machine paints later."""
    end = time.monotonic() + seconds
    while (found := read()) != wanted and time.monotonic() < end:
        page.wait_for_timeout(20)
    assert found == wanted


def quiet(page: Any, sent: list[Any], seconds: float = 60) -> None:
    """Wait until a page has sent nothing for a second."""
    end, before = time.monotonic() + seconds, -1
    while len(sent) != before:
        assert time.monotonic() < end, "it goes on sending"
        before = len(sent)
        page.wait_for_timeout(1000)


def pace(page: Any, script: str, tries: int = 5) -> float:
    """The best of a few measurements in milliseconds: while others compute, the browser waits for a core."""
    return min(page.evaluate(script) for _ in range(tries))


def settle(page: Any, seconds: float = 60) -> None:
    """Wait until Streamlit has finished running the page and our style sheet has arrived.

    Streamlit loads its browser code for HTML separately; on a busy machine the style arrived after the page
    had run.
    """
    app_view = page.locator('[data-testid="stApp"]')
    app_view.wait_for(timeout=1000 * seconds)
    page.wait_for_function(
        """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'
          && getComputedStyle(document.documentElement).getPropertyValue('--cf-muted') !== ''""",
        timeout=1000 * seconds,
    )
