"""What a request must pass before Streamlit reads it: names, addresses, and the bytes of an upload."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import socket
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
import safetensors.torch
import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.session_manager import SessionClientDisconnectedError
from streamlit.web.server.starlette.starlette_routes import (
    create_health_routes,
    create_metrics_routes,
    create_upload_routes,
)
from streamlit.web.server.starlette.starlette_websocket import StarletteSessionClient
from websockets.server import ServerProtocol

from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.errors import CheckpointError
from cfviz.ui.session import budget, gate, photos
from cfviz.ui.widgets import weights
from tests.conftest import SOON

NOBODY = cast(Any, None), cast(Any, None)  # receives and sends nothing
CLICK = BackMsg(rerun_script=ClientState(query_string="lang=en")).SerializeToString()
TOKEN = b"2|00000000|" + b"0" * 32 + b"|1"


class Server:
    """The part of Streamlit's server between a request and the store of uploads."""

    def __init__(self) -> None:
        self.uploaded_file_mgr = MemoryUploadedFileManager("/_stcore/upload_file")
        self.sessions = {"one", "two"}
        self._session_mgr = SimpleNamespace(get_session_info=lambda id: id if id in self.sessions else None)
        self.stats_mgr = SimpleNamespace(registered_families=list, get_stats=lambda family_names: {})
        runtime = cast(Runtime, self)
        routes = [
            *create_upload_routes(runtime, self.uploaded_file_mgr, None),
            *create_metrics_routes(runtime, None),
            *create_health_routes(runtime, None),
        ]
        self.app = Starlette(routes=routes, middleware=[Middleware(gate.Gate)])

    def is_active_session(self, session: str) -> bool:
        return session in self.sessions

    @property
    async def is_ready_for_browser_connection(self) -> tuple[bool, str]:
        return True, "ok"

    def ask(
        self, path: str, method: str = "GET", body: bytes = b"", chunk: int = 2**16, **headers: str
    ) -> tuple[int, str]:
        """The status and the text of the answer."""
        given = {"host": "localhost:8501"} | {name.replace("_", "-"): text for name, text in headers.items()}
        chunks = [body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""]
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": b"",
            "root_path": "", "scheme": "http", "query_string": b"", "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 9), "headers": [
                *((name.encode(), text.encode()) for name, text in given.items()),
                (b"x-xsrftoken", TOKEN), (b"cookie", b"_streamlit_xsrf=" + TOKEN),
            ],
        }  # fmt: skip
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            if chunks:
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)

        asyncio.run(self.app(scope, cast(Any, receive), send))
        return said[0]["status"], b"".join(one.get("body", b"") for one in said[1:]).decode()

    def put(self, size: int, session: str = "one", id: str = "a", **headers: str) -> tuple[int, str]:
        """Upload so many bytes."""
        head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n'
        body = head + bytes(size) + b"\r\n--x--\r\n"
        type_ = "multipart/form-data; boundary=x"
        return self.ask(f"/_stcore/upload_file/{session}/{id}", "PUT", body, content_type=type_, **headers)

    def kept(self, session: str = "one") -> dict[str, int]:
        return {
            id: len(file.data) for id, file in self.uploaded_file_mgr.file_storage.get(session, {}).items()
        }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    for module in (gate, budget):
        monkeypatch.setattr(module, "exists", lambda: True)
        monkeypatch.setattr(module, "get_instance", lambda: made)
    budget.shared.cache_clear()
    yield made
    budget.shared.cache_clear()


# ---------------------------------------------------------------- uploads


@pytest.mark.parametrize("declared", [True, False])
def test_a_session_over_its_budget_gets_a_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    """The answer used to be a server error."""
    monkeypatch.setattr(gate, "MOST_UPLOADED", 300_000)
    assert server.put(100_000)[0] == 204
    more = {"content_length": "250100"} if declared else {}
    status, said = server.put(250_000, id="b", **more)
    assert (status, said) == (
        413,
        "This file was not kept: one session may send 0\u00a0MB in all. Remove files on the page, "
        "or reload it to start over.",
    )
    assert server.kept() == {"a": 100_000}
    assert server.put(250_000, id="b", accept_language="zh-TW", **more)[1].startswith("這個檔案沒有保留")
    assert server.put(250_000, "two", "b", **more)[0] == 204, "another's budget"
    assert not gate._on_the_way


def test_all_sessions_share_one_budget(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred sessions could keep 60 GB."""
    monkeypatch.setenv(budget.UPLOADS, "1")
    assert server.put(600_000)[0] == 204
    status, said = server.put(600_000, "two")
    assert status == 413
    assert "all readers together have sent the 1\u00a0MB that this server keeps for them" in said
    assert server.kept("two") == {}
    assert server.put(700_000)[0] == 413, "what is replaced counts until the new file is there"
    assert server.put(300_000)[0] == 204
    assert server.put(600_000, "two")[0] == 204
    assert budget.shared().used == 900_000
    server.uploaded_file_mgr.remove_session_files("two")
    assert budget.shared().used == 300_000


def test_bytes_count_while_they_arrive(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "STALLED", 0.05)
    path = "/_stcore/upload_file/one/a"
    assert server.ask(path, "PUT", b"--x", content_type="multipart/form-data; boundary=x")[0] == 400
    seen = []

    async def some() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def arrive() -> None:
        before = budget.shared().used
        with gate._arriving(path, {}, cast(Any, some)) as receive:
            await receive()
            await receive()
            seen.append(budget.shared().used - before)
        with gate._arriving(path, {}, cast(Any, never)) as receive, pytest.raises(Exception, match="408"):
            await receive()
        seen.append(budget.shared().used - before)

    asyncio.run(arrive())
    assert seen == [2000, 0]


def test_an_ended_session_keeps_no_files(server: Server) -> None:
    """A file still arriving when its session ended used to stay for ever."""
    server.is_active_session = lambda _: True  # type: ignore[method-assign]  # as it was when the file began
    assert server.put(1000, "gone")[0] == 404
    assert server.kept("gone") == {}


def test_the_number_of_a_sessions_files_is_limited(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_FILES", 3)
    assert [server.put(0, id=f"{n}")[0] for n in range(5)] == [204, 204, 204, 413, 413]
    assert server.put(5, id="1")[0] == 204


@pytest.mark.slow
def test_a_model_counts_for_as_long_as_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = CrossFormer(**VARIANTS["crossformer_nano"], num_classes=3).state_dict()
    data = safetensors.torch.save({key: value.contiguous() for key, value in state.items()})
    file = SimpleNamespace(name="mine.safetensors", size=len(data), getvalue=lambda: data)
    budget.shared.cache_clear()
    net = weights._built(weights._opened(file))
    assert 0.9 * len(data) < budget.shared().used <= len(data)
    del net
    gc.collect()
    assert budget.shared().used == 0
    monkeypatch.setattr(budget.shared(), "most", 1000)
    with pytest.raises(CheckpointError, match=r"mine.safetensors was not opened: all readers together"):
        weights._built(weights._opened(file))
    budget.shared.cache_clear()


@pytest.mark.slow
def test_a_photo_counts_for_as_long_as_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, Any] = {}
    monkeypatch.setattr(photos, "st", SimpleNamespace(session_state=state))
    monkeypatch.setattr(photos, "change", lambda **_: None)
    monkeypatch.setattr(photos.reader, "browser", lambda: "the browser of this test")
    budget.shared.cache_clear()
    out = io.BytesIO()
    Image.new("RGB", (40, 40)).save(out, "PNG")
    data = out.getvalue()
    photos.take([SimpleNamespace(name="a.png", size=len(data), file_id="1", getvalue=lambda: data)])
    assert budget.shared().used == len(data)
    state.clear()
    gc.collect()
    assert budget.shared().used == 0


def test_the_budget_follows_from_the_memory_or_is_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(budget.UPLOADS, raising=False)
    monkeypatch.setattr(budget, "machine_memory", lambda: 64 * 2**30)
    assert budget.most() == 16 * 2**30
    monkeypatch.setattr(budget, "machine_memory", lambda: 2**30)
    assert budget.most() == 2**30
    monkeypatch.setenv(budget.UPLOADS, "2500")
    assert budget.most() == 2500 * 2**20
    with caplog.at_level(logging.ERROR):
        monkeypatch.setenv(budget.UPLOADS, "much")
        assert budget.most() == 2**30
    assert "expected a number of MB" in caplog.text


# ---------------------------------------------------------------- addresses and names


def test_the_servers_statistics_are_not_public(server: Server) -> None:
    """Anybody could read how many sessions there were and how much memory they took."""
    assert server.ask("/_stcore/health") == (200, "ok")
    for path in ("metrics", "script-health-check", "agent/interact", "metrics/", "new-in-the-next-release"):
        assert server.ask(f"/_stcore/{path}")[0] == 404
        assert server.ask(f"/base/_stcore/{path}")[0] == 404


def test_a_foreign_page_cannot_reach_the_app_under_its_own_name(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: evil.example resolves to this machine, and its page then reads the app's."""
    status, said = server.ask("/_stcore/health", host="evil.example:8501")
    assert status == 421
    assert "evil.example" in said
    assert "--server.allowedHosts=evil.example:8501" not in said
    assert server.ask("/_stcore/health", host="evil.example", x_forwarded_for="192.0.2.7")[0] == 200
    config.set_option("server.allowedHosts", ["*.school.example"])
    try:
        assert server.ask("/_stcore/health", host="evil.example", x_forwarded_for="192.0.2.7")[0] == 421
        assert server.ask("/_stcore/health", host="cfviz.school.example")[0] == 200
    finally:
        config.set_option("server.allowedHosts", [])
    monkeypatch.setattr(gate, "_own_names", {"gpu3.uni.example"})
    for name in ("gpu3.uni.example", "GPU3.uni.example.:80", "192.168.1.20:8501", "[::1]:8501", ""):
        assert server.ask("/_stcore/health", host=name)[0] == 200, name
    for name in ("teacher", "teacher.local", "a.localhost:8501", "pi.home.arpa", "127.0.0.1"):
        assert server.ask("/_stcore/health", host=name)[0] == 200, name
    for name in ("127.0.0.1.evil.example", "evil.local.example", "evil.com", "local.com:80", "1.2.3.4.5"):
        assert server.ask("/_stcore/health", host=name)[0] == 421, name


@pytest.mark.parametrize(
    ("path", "host", "open"),
    [("/_stcore/stream", "localhost", True), ("/_stcore/stream", "evil.example", False),
     ("/_stcore/other", "localhost", False)],
)  # fmt: skip
def test_a_websocket_is_checked_too(path: str, host: str, open: bool) -> None:
    said: list[Any] = []
    reached: list[str] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "websocket", "path": path, "headers": [(b"host", host.encode())], "client": ("::1", 9)}
    asyncio.run(gate.Gate(cast(Any, inner))(scope, cast(Any, None), send))
    assert bool(reached) == open
    assert [one["type"] for one in said] == ([] if open else ["websocket.close"])


# ---------------------------------------------------------------- connections


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_arrivals", {})
    monkeypatch.setattr(gate, "ARRIVALS", (3, 0.001))

    def arrives(who: str) -> bool:
        try:
            with gate._connected({"client": (who, 1)}, *NOBODY):
                return True
        except HTTPException:
            return False

    assert [arrives("a") for _ in range(5)] == [True, True, True, False, False]
    assert arrives("b")
    monkeypatch.setattr(gate, "MOST_OPEN", 1)
    with gate._connected({"client": ("c", 1)}, *NOBODY):
        assert not arrives("d")
    assert arrives("d")
    assert gate._open == 0


def test_messages_are_read_as_fast_as_a_reader_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    click = BackMsg()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def receive() -> dict[str, Any]:
        click.rerun_script.query_string = "a" * sizes.pop(0)
        return {"type": "websocket.receive", "bytes": click.SerializeToString()}

    monkeypatch.setattr(gate, "MESSAGES", (10, 5))
    monkeypatch.setattr(gate.asyncio, "sleep", sleep)
    sizes = [100] * 12 + [10 * gate.HEAVY]

    async def read() -> None:
        with gate._connected({"client": ("e", 1)}, cast(Any, receive), NOBODY[1]) as pacing:
            while sizes:
                await pacing()

    asyncio.run(read())
    assert slept[:9] == [0.0] * 9
    assert 0.1 < slept[11] < 0.6
    assert slept[12] > 2, "one of many bytes counts as many"


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hundred messages of megabytes could wait for each of them."""
    gate.guard()
    monkeypatch.setattr(gate, "MOST_UNREAD", 10_000)

    class Socket:
        headers, cookies, client = Headers({}), dict[str, str](), None

        async def send_bytes(self, _payload: bytes) -> None:
            await asyncio.sleep(60)

    async def talk() -> int:
        client = StarletteSessionClient(cast(Any, Socket()))
        message = ForwardMsg(hash="x" * 1000)
        for n in range(100):
            try:
                client.write_forward_msg(message)
            except SessionClientDisconnectedError:
                await client.aclose()
                return n
        return 100

    assert 9 <= asyncio.run(talk()) <= 12


def test_a_message_too_large_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit checks a message's size only when all of it has arrived, and accepts 200 MB."""
    protocol = ServerProtocol(max_size=200 * 2**20)

    class Connection:
        conn = protocol

        async def receive(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(gate, "_arrivals", {})
    with gate._connected({"client": ("f", 1)}, cast(Any, Connection().receive), NOBODY[1]):
        assert protocol.max_message_size == protocol.max_fragment_size == 10**6 + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nX: "]
)
def test_a_connection_without_a_request_is_ended(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """It stayed for ever, however slowly its bytes came."""
    monkeypatch.setattr(gate, "SILENT", 0.1)

    async def hello(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def talk() -> bytes:
        config = uvicorn.Config(gate.Gate(hello), lifespan="off", log_config=None, timeout_keep_alive=60)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as place:
            serving = asyncio.create_task(server._serve(sockets=[place]))
            reader, writer = await asyncio.open_connection(*place.getsockname())
            writer.write(begun)
            trickle = asyncio.create_task(drip(writer))
            said = await asyncio.wait_for(everything(reader), SOON)
            trickle.cancel()
            server.should_exit = True
            await serving
        return said

    async def everything(reader: asyncio.StreamReader) -> bytes:
        """What comes to the end of the connection, which may cut off what drips."""
        said = b""
        with suppress(ConnectionResetError):
            while more := await reader.read(2**16):
                said += more
        return said

    async def drip(writer: asyncio.StreamWriter) -> None:
        while begun:
            await asyncio.sleep(0.02)
            writer.write(b"a")

    assert asyncio.run(talk()).count(b"200 OK") == (b"Host" in begun)


@pytest.mark.parametrize("how", ["closed by the app", "gone", "neither"])
def test_reading_on_after_the_end_of_a_connection_is_no_error(how: str) -> None:
    """Streamlit reads on from what it has closed; 112 tracebacks were in the log of an hour of floods."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        web = WebSocket(scope, receive, send)
        await web.accept()
        if how == "neither":
            raise RuntimeError("a fault of ours")
        with suppress(WebSocketDisconnect):
            await (web.close() if how == "closed by the app" else web.send_bytes(b"page"))
        try:
            await web.receive_bytes()
        except RuntimeError:
            await web.close()

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise OSError

    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": [], "client": ("::1", 9)}
    with pytest.raises(RuntimeError, match="ours") if how == "neither" else nullcontext():
        asyncio.run(gate.Gate(cast(Any, inner))(scope, cast(Any, receive), send))


@pytest.mark.slow
def test_a_websocket_that_asks_for_no_page_or_sends_text_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SILENT", 0.02)
    monkeypatch.setattr(gate, "_arrivals", {})
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def talk(*messages: dict[str, Any]) -> list[str]:
        left = list(messages)

        async def receive() -> dict[str, Any]:
            if not left:
                await asyncio.sleep(0.1)
                return {"type": "websocket.disconnect", "code": 1000}
            return left.pop(0)

        with gate._connected({"client": ("g", 1)}, cast(Any, receive), send) as pacing:
            return [(await pacing())["type"] for _ in range(len(messages) + 1)]

    begin, click = {"type": "websocket.connect"}, {"type": "websocket.receive", "bytes": CLICK}
    assert asyncio.run(talk(begin, click))[-1] == "websocket.disconnect"
    assert not said, "who has asked for a page may read it for as long as he likes"
    assert asyncio.run(talk(begin)) == ["websocket.connect", "websocket.disconnect"]
    assert said == [{"type": "websocket.close", "code": 1008}]
    for other in ({"text": "hello"}, {"bytes": b"\x0a" * 9}, {"bytes": bytes(9)}):
        del said[:]
        assert (
            asyncio.run(talk(begin, click, {"type": "websocket.receive", **other}))[2]
            == "websocket.disconnect"
        )
        assert said == [{"type": "websocket.close", "code": 1003}]
