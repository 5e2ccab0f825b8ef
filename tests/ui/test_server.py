"""What the server does before its first page."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit import cli_util, config
from streamlit.web.server.app_discovery import discover_asgi_app

from cfviz.run import pick_device
from cfviz.ui import server

ROOT = Path(__file__).resolve().parents[2]
INSIDE = "cfviz.ui.pages."


def test_streamlit_finds_the_server_in_the_file_it_runs() -> None:
    assert discover_asgi_app(ROOT / "app.py").import_string == "app:app"


@pytest.mark.parametrize(
    ("options", "opened"),
    [({"server.headless": True}, []),
     ({"server.headless": False, "server.port": 8600}, ["http://localhost:8600"]),
     ({"server.headless": False, "server.port": 8600, "server.address": "127.0.0.5"}, ["http://127.0.0.5:8600"])],
)  # fmt: skip
def test_the_first_page_finds_the_model_open_and_a_browser_is_opened_if_wanted(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], opened: list[str]
) -> None:
    """A page used to import PyTorch when the first reader opened it, and only then the checks began."""
    seen: list[str] = []
    models: list[tuple[object, ...]] = []
    monkeypatch.setattr(cli_util, "open_browser", seen.append)
    monkeypatch.setattr(config, "is_manually_set", lambda name: name in options)
    real = config.get_option
    monkeypatch.setattr(config, "get_option", lambda name: options.get(name, real(name)))
    monkeypatch.setattr(server.models, "opened", lambda *given: models.append(given))
    monkeypatch.setattr(server.cache, "tune_interpreter", lambda: None)
    monkeypatch.setattr(server, "_follow", lambda: None)
    tasks = 0

    async def start() -> None:
        nonlocal tasks
        async with server.running(None):
            tasks = len(asyncio.all_tasks())
            await asyncio.sleep(0)

    asyncio.run(start())
    assert models == [("crossformer_nano", "bundled", pick_device(), "float32")]
    assert tasks == 2, "sessions that have ended are looked for"
    assert seen == opened


@pytest.mark.parametrize("wanted", [True, False])
def test_the_other_pages_are_imported_while_nobody_waits(
    wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is computed ahead, and also if nothing is to be."""
    done: list[str] = []
    fake = SimpleNamespace(run=lambda: done.append("ahead"))
    monkeypatch.setattr(server, "time", SimpleNamespace(sleep=lambda seconds: done.append("waited")))
    monkeypatch.setattr(server, "import_module", lambda name: done.append(name.rpartition(".ui.")[2]) or fake)
    monkeypatch.setattr(server, "gc", SimpleNamespace(freeze=lambda: None))
    monkeypatch.setattr(server.ahead, "wanted", lambda: wanted)
    monkeypatch.setattr(server.ahead, "run", lambda works: [work() for work in works])
    server._follow()
    assert done[:2] == ["waited", "pages.predict"]
    assert done[1:26] == [f"pages.{name}" for name in server.PAGES[1:]]
    assert done[26:] == (["ahead", "ahead"] if wanted else []), "its module, then its work"


def test_all_pages_are_imported_early() -> None:
    asked: set[str] = set()
    for path in (ROOT / "app.py", *(ROOT / "pages").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(INSIDE):
                inside = f"{node.module}.".removeprefix(INSIDE)
                is_file = (ROOT / f"{str(node.module).replace('.', '/')}.py").is_file()
                asked |= {inside[:-1]} if is_file else {f"{inside}{alias.name}" for alias in node.names}
    assert asked == set(server.PAGES)
