"""A figure alone on a page of its own, opened from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cfviz.web import Figure


@pytest.fixture
def opened_file(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens HTML as a file, waits for its figure and returns the page.

    `opened_file(html, width=1440, **context)`; errors of a page and requests fail the test.
    """
    errors: list[str] = []
    with ExitStack() as stack:

        def show(html: str, width: int = 1440, **context: Any) -> Any:
            file = tmp_path / "figure.html"
            file.write_text(html, "utf-8")
            window = browser.new_context(viewport={"width": width, "height": 900}, **context)
            stack.callback(window.close)
            page = window.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(
                "request", lambda r: None if r.url.startswith(("file:", "blob:")) else errors.append(r.url)
            )
            page.goto(file.as_uri())
            page.wait_for_selector(".cf[data-ready]")
            return page

        yield show
    assert not errors, f"the browser reported: {errors}"


def alone(figure: Figure, data: bytes) -> str:
    """A page with nothing but a figure."""
    box = f'<main><div class="{figure.host}"></div></main>'
    return f'<!doctype html><meta charset="utf-8"><style>{figure.style}</style>{box}{figure.alone(data)}'
