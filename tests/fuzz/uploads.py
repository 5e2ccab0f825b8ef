"""Requests to the upload endpoint that no browser sends: torn forms, odd names, wrong lengths."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any, cast
from unittest.mock import patch

from starlette.applications import Starlette
from starlette.middleware import Middleware
from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.web.server.starlette.starlette_routes import create_upload_routes

from cfviz.data.header import ImageError
from cfviz.data.images import load_image
from cfviz.ui.session import budget, gate
from tests.fuzz.harness import Case
from tests.fuzz.images import corpus
from tests.fuzz.mutate import Rng, mutated
from tests.fuzz.refusals import code_of

NAMES = (
    "holiday.jpg", "", ".", "../../etc/passwd", "a\\b.png", "x" * 70_000, "<script>alert(1)</script>.png",
    "a%00.jpg", "照片.heic", "\udcff.jpg", "a;b.jpg", "weights.pth", "\u202egpj.exe",
)  # fmt: skip
TYPES = ("image/jpeg", "", "text/html; charset=utf-16", "multipart/mixed; boundary=x", "a" * 9000)
FORMS = (
    "multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary=", "text/plain",
    "", "multipart/form-data; boundary=" + "y" * 300, "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x; charset=nothing",
)  # fmt: skip
LENGTHS = ("-1", "many", "1e9", "0", str(10**30), "", "²", "9" * 5000)
MOST = 40_000  # bytes that a session may send here, less than some of the photos


def make(rng: Rng) -> Case:
    """Make a form with a photo in it and something wrong."""

    def one(of: tuple[Any, ...], often: float = 0.6) -> Any:
        return of[0] if rng.random() < often else of[int(rng.integers(len(of)))]

    photo = corpus()[int(rng.integers(len(corpus())))][2]
    name, kind = one(NAMES), one(TYPES)
    parts = int(one((1, 0, 2, 3, 40), 0.7))
    head = (
        f'--x\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    )
    part = head.encode("utf-8", "surrogateescape") + photo + b"\r\n"
    body, note = part * parts + b"--x--\r\n", "whole"
    if rng.random() < 0.6:
        body, note = mutated(body, rng)
    headers = {"content-type": one(FORMS)}
    if rng.random() < 0.3:
        headers["content-length"] = one(LENGTHS, 0.0)
    chunk = int(one((2**16, 1000, 37), 0.8))
    return Case(
        body,
        f"{name[:60]!r} {kind[:60]!r} {headers} {parts} parts in {chunk}: {note}"[:600],
        (headers, chunk),
    )


def check(case: Case) -> str:
    """Check that the request is answered without a server error; a stored file opens or is refused."""
    headers, chunk = case.extra
    app, manager = _endpoint()
    try:
        with patch.object(gate, "MOST_UPLOADED", MOST):
            status = asyncio.run(_put(app, headers, case.data, chunk))
        assert status == 204 or 400 <= status < 500, status
        kept = manager.get_files("reader", ["one"])
        assert len(kept) == (status == 204)
        assert sum(len(file.data) for file in kept) <= MOST
        assert not gate._on_the_way
        assert budget.shared().used == 0, "nothing counts that is not kept"
        for file in kept:
            json.dumps([file.name, file.type])
            try:
                load_image(file.data, name=file.name)
            except ImageError as error:
                return f"kept, {code_of(error)}"
            return "kept, opened"
        return str(status)
    finally:
        manager.remove_session_files("reader")


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
    corpus()
    _endpoint()


class _Active:
    """The part of Streamlit's runtime that the endpoint uses."""

    def is_active_session(self, session: str) -> bool:
        return session == "reader"


@cache
def _endpoint() -> tuple[Starlette, MemoryUploadedFileManager]:
    manager = MemoryUploadedFileManager("/_stcore/upload_file")
    routes = create_upload_routes(cast(Runtime, _Active()), manager, None)
    return Starlette(routes=routes, middleware=[Middleware(gate.Gate)]), manager


async def _put(app: Starlette, headers: dict[str, str], body: bytes, chunk: int) -> int:
    """The status code of the endpoint's answer."""
    token = "2|00000000|" + "0" * 32 + "|1"
    chunks = [body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""]
    scope = {
        "type": "http", "http_version": "1.1", "method": "PUT", "path": "/_stcore/upload_file/reader/one",
        "raw_path": b"", "root_path": "", "scheme": "http", "query_string": b"", "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 9), "headers": [
            *((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
            (b"x-xsrftoken", token.encode()), (b"cookie", b"_streamlit_xsrf=" + token.encode()),
        ],
    }  # fmt: skip
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)} if chunks else {
            "type": "http.disconnect"
        }  # fmt: skip

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, cast(Any, receive), send)
    return statuses[0]
