"""Checks on requests before Streamlit reads them: addresses, names, uploads, connections.

Streamlit answers to any name, shows its figures to anybody, takes uploads without end and reads messages as
fast as they come. `Gate` is the outermost layer of the web server from its start on (see `cfviz.ui.server`).
What is kept and what waits to be sent is known only further in, and a connection without a request only
further out, where neither Streamlit (see `door`) nor Uvicorn has a hook, so `guard` wraps three functions.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import exists, get_instance
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.runtime_util import get_max_widget_state_size_bytes
from streamlit.runtime.session_manager import SessionClientDisconnectedError
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web.server.starlette.starlette_websocket import StarletteSessionClient, is_host_allowed
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cfviz.words import preferred, translator

from . import budget, log
from .pace import Bucket

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_UPLOADED = 600 * 2**20  # bytes of one session: weights of 400 MB, photos of 128 MB, some room
MOST_FILES = 400  # uploads of one session
STALLED = 30.0  # seconds without a byte after which an upload is given up
SILENT = 30.0  # seconds in which a connection has to send a whole request, or its first message
MOST_OPEN = 500  # websockets at a time
ARRIVALS = (60, 5)  # websockets from one address: at once, and a second after that; a class may share one
MESSAGES = (60, 30)  # of one websocket: at once, and a second after that
MOST_UNREAD = 64 * 2**20  # bytes that wait for one client to read them; a page has a few MB
HEAVY = 2**15  # bytes of a message that count as one more message
OPEN = ("health", "host-config", "stream", "upload_file", "bidi-components")  # of /_stcore/, for pages
LOCAL = (".local", ".localhost", ".lan", ".home", ".internal", ".home.arpa", ".test")  # of no public server
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host")
_log = log.paced(__name__)
_lang: ContextVar[str] = ContextVar("the language of the request", default="en")
_counted: ContextVar[int] = ContextVar("bytes of the request that the budget has counted already", default=0)


class Gate:
    """Checks every request.

    Args:
        app: The web server's next layer.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        guard()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        headers = dict(scope.get("headers", ()))
        _lang.set(preferred(headers.get(b"accept-language", b"").decode("latin-1")))
        try:
            if scope["type"] in ("http", "websocket"):
                _check_name(headers)
                _check_address(scope["path"])
            if scope["type"] == "http" and scope["method"] == "PUT":
                with _arriving(scope["path"], headers, receive) as counting:
                    await self._app(scope, counting, send)
            elif scope["type"] == "websocket":
                with _connected(scope, receive, send) as pacing:
                    await _until_closed(self._app, scope, pacing, send)
            else:
                await self._app(scope, receive, send)
        except HTTPException as refused:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": refused.detail[:120]})
            else:
                answer = PlainTextResponse(refused.detail, refused.status_code)
                await answer(scope, receive, send)


@cache
def guard() -> None:
    """Once per process: limit what is kept of uploads and of messages that nobody reads, and silence."""
    _limit_uploads()
    _limit_output()
    _limit_silence()
    threading.Thread(target=_learn_names, daemon=True).start()


def _said(key: str, **fields: object) -> str:
    """A sentence in the language of the request."""
    return translator(_lang.get())(key, **fields)


# ---------------------------------------------------------------- addresses and names


def _check_address(path: str) -> None:
    """Refuse what no page needs: figures about the server, a run of a script for its health, programs."""
    inner = path.partition("/_stcore/")[2]
    if inner and inner.partition("/")[0] not in OPEN:
        raise HTTPException(404, "Not found")


def _check_name(headers: Mapping[bytes, bytes]) -> None:
    """Refuse requests under a name that is not the server's."""
    name = foreign({name.decode("latin-1"): text.decode("latin-1") for name, text in headers.items()})
    if name:
        raise HTTPException(421, _said("errors.server_name", name=name))


def foreign(headers: Mapping[str, str]) -> str:
    """The name under which a request came, if it is not the server's: a web page elsewhere may have lent it.

    Such a name can be made to lead here (DNS rebinding). Whoever runs the server sets its names in
    `server.allowedHosts`. If none are set, the server answers to addresses, to names that only a local
    network can have, to the machine's own, and to a proxy: a page cannot make a browser send a proxy's
    headers when it opens a websocket.

    Args:
        headers: The request's headers; their names in lower case, or a mapping that does not care.

    Returns:
        The name in printable form, or nothing if it is fine.
    """
    host = headers.get("host", "")
    if config.get_option("server.allowedHosts"):
        fine = is_host_allowed(host)
    else:
        fine = not host or is_local(host) or any(name in headers for name in FORWARDED)
    if fine:
        return ""
    _log.warning("refused a request to %r, which is no name of this server", host[:80])
    return re.sub(r"[^\w.-]", "", _without_port(host))[:80] or "?"


def is_local(host: str) -> bool:
    """Whether a `Host` header is an address, or a name that no public server can have."""
    name = _without_port(host).strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(LOCAL) or name in _own_names
    return True


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host)


_own_names = {socket.gethostname().lower()}


def _learn_names() -> None:
    """Add the machine's full name; asking for it can take seconds where the network does not answer."""
    _own_names.add(socket.getfqdn().lower())


# ---------------------------------------------------------------- connections


_open = 0  # websockets
_arrivals: dict[str, Bucket] = {}  # address -> connections of late


async def _until_closed(app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a websocket until it is closed, by either side.

    Streamlit reads on from a connection that it has closed, or whose client is gone, and what the web server
    answers would leave a traceback in the log.
    """
    closed = False

    async def sending(message: Message) -> None:
        nonlocal closed
        closed = closed or message["type"] == "websocket.close"
        try:
            await send(message)
        except OSError:  # the client is gone
            closed = True
            raise

    try:
        await app(scope, receive, sending)
    except RuntimeError:
        if not closed:
            raise


@contextmanager
def _connected(scope: Scope, receive: Receive, send: Send) -> Iterator[Receive]:
    """Count a websocket, and read its messages only as fast as a reader can click.

    What is not read waits in the client's own buffers, and costs nothing here. A browser asks for its page as
    soon as it is connected; a client that asks for none is disconnected.

    Raises:
        HTTPException: If there are too many connections, or too many of late from this address.
    """
    global _open
    who = str((scope.get("client") or ("",))[0])
    for old in [name for name, bucket in _arrivals.items() if bucket.full]:
        del _arrivals[old]
    arrivals = _arrivals.setdefault(who, Bucket(*ARRIVALS))
    if _open >= MOST_OPEN or not arrivals.ready:
        raise HTTPException(503, _said("errors.server_busy"))
    arrivals.take()
    _bound(getattr(receive, "__self__", None))
    pace, asked = Bucket(*MESSAGES), False

    async def end(code: int, why: str) -> Message:
        _log.warning("closed a connection that %s", why)
        await send({"type": "websocket.close", "code": code})
        return {"type": "websocket.disconnect", "code": code}

    async def pacing() -> Message:
        nonlocal asked
        try:
            message = await (receive() if asked else asyncio.wait_for(receive(), SILENT))
        except TimeoutError:
            return await end(1008, "asked for no page")
        if message["type"] == "websocket.receive":
            asked = True
            came = message.get("bytes")
            if not _is_message(came):  # Streamlit would leave a traceback in the log
                return await end(1003, "sent what is no message of a page")
            await asyncio.sleep(pace.take(1 + len(came or b"") / HEAVY))
        return message

    _open += 1
    try:
        yield pacing
    finally:
        _open -= 1


def _is_message(came: bytes | None) -> bool:
    """Whether a frame holds a message; text does not, nor does a broken one."""
    if came is None:
        return False
    try:
        BackMsg.FromString(came)
    except Exception:  # of protobuf, which comes with Streamlit
        return False
    return True


def _bound(connection: Any) -> None:
    """Let a websocket refuse messages that Streamlit refuses anyway, once it has them whole: up to 200 MB."""
    most = get_max_widget_state_size_bytes() + 1
    protocol = getattr(connection, "conn", None)
    for limit in ("max_message_size", "max_fragment_size"):
        if hasattr(protocol, limit):
            setattr(protocol, limit, most)


def _limit_silence() -> None:
    """End connections on which no whole request arrives, however slowly its bytes trickle in."""
    made = AutoHTTPProtocol.connection_made

    @wraps(made)
    def timed(connection: Any, transport: asyncio.Transport) -> None:
        made(connection, transport)
        connection.loop.call_later(SILENT, _end_if_silent, connection, None)

    setattr(AutoHTTPProtocol, made.__name__, timed)


def _end_if_silent(connection: Any, before: object) -> None:
    """End a connection that waits for the same request as at the last look.

    Args:
        connection: Uvicorn's; it knows its present or latest request as `cycle`.
        before: The latest request at the last look, if it had been answered.
    """
    if connection not in connection.connections:  # closed, or a websocket by now
        return
    latest = connection.cycle
    waits = latest is None or latest.response_complete
    if waits and latest is before:
        connection.transport.close()
        return
    connection.loop.call_later(SILENT, _end_if_silent, connection, latest if waits else connection)


def _limit_output() -> None:
    """End the connection of a client that asks for figures and does not read them."""
    write = StarletteSessionClient.write_forward_msg

    @wraps(write)
    def limited(client: StarletteSessionClient, message: ForwardMsg) -> None:
        waiting = client._send_queue._queue  # type: ignore[attr-defined]  # asyncio's queue says only how many
        if sum(map(len, waiting)) > MOST_UNREAD:
            _log.warning("closed a connection that left %d messages unread", len(waiting))
            client._closed.set()
            raise SessionClientDisconnectedError
        write(client, message)

    setattr(StarletteSessionClient, write.__name__, limited)


# ---------------------------------------------------------------- uploads


_on_the_way: Counter[str] = Counter()  # session -> bytes of unfinished uploads


@contextmanager
def _arriving(path: str, headers: Mapping[bytes, bytes], receive: Receive) -> Iterator[Receive]:
    """Count an upload's bytes as they arrive; they count as kept from the first one on.

    Raises:
        HTTPException: If the upload says that it is larger than what the session or the server has left.
    """
    session = path.rstrip("/").split("/")[-2] if path.count("/") > 1 else ""
    shared = budget.shared()
    said = headers.get(b"content-length", b"")
    length = int(said) if said.isdigit() and len(said) < 20 else 0
    manager = get_instance().uploaded_file_mgr if exists() else None
    _check_room(manager, session, length)
    taken = 0

    async def counting() -> Message:
        nonlocal taken
        try:
            message = await asyncio.wait_for(receive(), STALLED)
        except TimeoutError:
            raise HTTPException(408, _said("errors.server_stalled")) from None
        size = len(message.get("body", b""))
        _check_room(manager, session, size)
        shared.give(-size)
        _on_the_way[session] += size
        taken += size
        _counted.set(taken)
        return message

    try:
        yield counting
    finally:
        shared.give(taken)
        _on_the_way[session] -= taken
        if not _on_the_way[session]:
            del _on_the_way[session]


def _check_room(manager: Any, session: str, size: int, instead: int = 0, counted: int = 0) -> None:
    """Refuse bytes for which the session or the server has no room.

    Args:
        manager: Streamlit's store of uploads.
        session: The session's id.
        size: How many bytes.
        instead: How many bytes of the session they replace.
        counted: How many of them have been counted on arrival.
    """
    kept = getattr(manager, "file_storage", {}).get(session, {})
    mine = sum(len(one.data) for one in list(kept.values())) + _on_the_way[session] - counted
    shared = budget.shared()
    if mine - instead + size > MOST_UPLOADED:
        _log.warning("refused an upload: the session has %d MB already", mine >> 20)
        raise HTTPException(413, _said("errors.server_session_full", limit=MOST_UPLOADED >> 20))
    if shared.used - instead - counted + size > shared.most:
        _log.warning("refused an upload: all sessions have %d MB already", shared.used >> 20)
        raise HTTPException(413, _said("errors.server_full", limit=shared.most >> 20))


def _limit_uploads() -> None:
    add = MemoryUploadedFileManager.add_file

    @wraps(add)
    def limited(manager: MemoryUploadedFileManager, session_id: str, file: UploadedFileRec) -> None:
        kept = manager.file_storage.get(session_id, {})
        old = kept.get(file.file_id)
        if old is None and len(kept) >= MOST_FILES:
            raise HTTPException(413, _said("errors.server_many_files", limit=MOST_FILES))
        sessions = getattr(get_instance(), "_session_mgr", None) if exists() else None
        if sessions is not None and sessions.get_session_info(session_id) is None:
            raise HTTPException(404, "Not found")  # it ended meanwhile: nobody would remove the file
        _check_room(manager, session_id, len(file.data), 0 if old is None else len(old.data), _counted.get())
        add(manager, session_id, file)

    setattr(MemoryUploadedFileManager, add.__name__, limited)
