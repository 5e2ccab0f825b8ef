"""The page that a browser opens first: with the styles of its frame, and never a copy of other styles."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cfviz.ui.shell import first

PAGE = b"<html><head><title>x</title></head><body>\xe4\xb8\xad</body></html>"


def answer(headers: list[tuple[bytes, bytes]], body: bytes = PAGE, **asked: Any) -> tuple[Any, bytes, Any]:
    """What a browser gets of an answer in two pieces: headers and body; and what headers the app was sent."""
    sent: list[Any] = []
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": asked.get("status", 200), "headers": headers})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": asked.get("path", "/"),
        "headers": [(b"accept", asked.get("accept", b"text/html")), (b"accept-encoding", b"gzip")],
    }  # fmt: skip
    asyncio.run(first.FirstStyles(app)(scope, None, send))  # type: ignore[arg-type]
    return dict(sent[0]["headers"]), b"".join(one["body"] for one in sent[1:]), seen[0]


def test_a_page_gets_the_styles_and_its_new_length() -> None:
    validators = [(b"etag", b'"a"'), (b"last-modified", b"then"), (b"content-length", b"%d" % len(PAGE))]
    headers, body, asked = answer([(b"content-type", b"text/html; charset=utf-8"), *validators])
    assert body == PAGE.replace(b"</head>", first.STYLE)
    assert headers[b"content-length"] == b"%d" % len(body)
    assert not {b"etag", b"last-modified"} & set(headers), "a browser must not keep it under Streamlit's mark"
    assert b"accept-encoding" not in asked, "a compressed page could not be written into"


def test_what_the_first_figure_of_a_page_is_drawn_with_is_asked_for_at_once() -> None:
    """It waited for the page's run, and only then for its code."""
    told = [(b"content-type", b"text/html")]
    assert b"/ImageList." in answer(told, path="/app/predict")[1]
    assert b"/ImageList." not in answer(told, path="/attention")[1]


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ([(b"content-type", b"text/javascript"), (b"etag", b'"a"')], {"accept": b"*/*"}),
        ([(b"content-type", b"text/html"), (b"content-encoding", b"gzip"), (b"etag", b'"a"')], {}),
        ([(b"content-type", b"text/html"), (b"etag", b'"a"')], {"status": 404}),
    ],
)
def test_every_other_answer_passes_unchanged(
    headers: list[tuple[bytes, bytes]], asked: dict[str, Any]
) -> None:
    got, body, _ = answer(headers, **asked)
    assert (got, body) == (dict(headers), PAGE)
