"""What the browser is told with the empty page, before the app's first message: how things will look.

Streamlit draws a page in the middle of the window and moves it aside when the sidebar arrives; it gets our
styles with the page's elements, and draws those before them. Told at the start, nothing moves. The code of
the elements that every page has is asked for at once too; otherwise grey bars of another height would stand
for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from streamlit import file_util

from cfviz import web

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EARLY = (  # of Streamlit's own scripts, those that every page needs; what it no longer has is left out
    "Html", "purify.es", "rehype-raw", "hastscript", "web-namespaces", "PageLink", "BidiComponent",
    "_arrayReduce", "serialization", "recordbatch", "Selectbox", "useMenuTrigger", "Autocomplete",
    "ButtonGroup", "WidgetLabel",
)  # fmt: skip

OWN = {"predict": ("ImageList",)}  # what the first figure of a page is drawn with


def _scripts(early: Sequence[str]) -> str:
    """Links that make a browser load some scripts beside Streamlit's main script."""
    folder = Path(file_util.get_static_dir()) / "static" / "js"
    names = [path.name for name in early for path in sorted(folder.glob(f"{name}.*.js"))]
    return "".join(f'<link rel="modulepreload" crossorigin href="./static/js/{name}">' for name in names)


# Within `:root`, so that our styles win over Streamlit's, which follow them.
CSS = f"{web.text('shell/first.css')} :root {{ {web.text('shell/style.css')} }}"
STYLE = f"{_scripts(EARLY)}<style>{CSS}</style></head>".encode()
SCRIPTS = {f"/{page}": _scripts(names).encode() for page, names in OWN.items()}
VALIDATORS = (b"etag", b"last-modified", b"content-length")  # of the page without the styles


class FirstStyles:
    """Writes the styles into the page that Streamlit serves for every address of the app.

    Args:
        app: The web server's next layer.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; put the styles into the answer if it is a page."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"text/html" in headers.get(b"accept", b""):  # a browser that opens a page: not compressed
            headers.pop(b"accept-encoding", None)
            scope = {**scope, "headers": list(headers.items())}
        start: Message | None = None
        body = b""

        async def dress(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
            elif start is None or message["type"] != "http.response.body":
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    own = next((more for end, more in SCRIPTS.items() if scope["path"].endswith(end)), b"")
                    page = body.replace(b"</head>", own + STYLE, 1)
                    kept = [one for one in start["headers"] if one[0].lower() not in VALIDATORS]
                    await send({**start, "headers": [*kept, (b"content-length", b"%d" % len(page))]})
                    await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, dress)


def _is_page(start: Message) -> bool:
    """Whether an answer is a whole page as plain text."""
    headers = {name.lower(): value for name, value in start["headers"]}
    html = headers.get(b"content-type", b"").startswith(b"text/html")
    return html and start["status"] == 200 and b"content-encoding" not in headers
