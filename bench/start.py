"""The app in a new process, from its start until the home page has been sent, beside its libraries alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep
from urllib.error import URLError
from urllib.request import urlopen

from bench.load.reader import Reader
from bench.ports import free_port
from bench.timing import Row, at_most, interleaved, ms, ratio

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = "import torch, torchvision, timm, streamlit.web.cli, pandas"
GOAL = 3.0  # seconds
PATIENCE = 120.0  # seconds


def rows(rounds: int) -> Iterator[Row]:
    """Start both in turn; a new process has its files in the system's cache, and nothing in its own."""

    def libraries() -> None:
        subprocess.run([sys.executable, "-c", LIBRARIES], check=True)

    times = interleaved({"app": _home, "libraries": libraries}, max(3, rounds // 5))
    took, over = ms(times, "app") / 1e3, ratio(times, "app", "libraries")
    note = f"{over:.2f} times what importing its libraries takes"
    yield at_most("start, until the home page is sent", took, GOAL, unit=" s", note=note)


def _home() -> None:
    """Start the app, let one reader open the home page, and end it."""
    port = free_port()
    flags = ["--server.headless", "true", "--server.address", "127.0.0.1", "--server.port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "CFVIZ_CACHE": folder, "CFVIZ_AHEAD": "0", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "streamlit", "run", "app.py", *flags]
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        try:
            _answers(f"http://127.0.0.1:{port}/_stcore/health", process)
            asyncio.run(_read(f"ws://127.0.0.1:{port}/_stcore/stream"))
        finally:
            process.kill()
            process.wait()


def _answers(address: str, process: subprocess.Popen[bytes]) -> None:
    until = perf_counter() + PATIENCE
    while perf_counter() < until and process.poll() is None:
        try:
            urlopen(address, timeout=1).close()
            return
        except (URLError, OSError):
            sleep(0.02)
    raise SystemExit("the app did not start")


async def _read(address: str) -> None:
    async with Reader(address, seed=0) as reader:
        rerun = await reader.start("")
    if rerun.errors:
        raise SystemExit(f"the home page says: {rerun.errors[0]}")
