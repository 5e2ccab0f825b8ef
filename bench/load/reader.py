"""A reader without a browser: speaks Streamlit's protocol over a websocket and clicks what a page offers."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from streamlit.components.v2.bidi_component.constants import EVENT_DELIM
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX
from websockets.asyncio.client import ClientConnection, connect

PAGES = ("", "predict", "grouping", "attention", "embedding", "position_bias", "lab")
KEPT_RUNS = 2  # a browser caches the messages of this many latest runs
LAB = ("1.k1-zero", "2.1.bias-zero", "2.2.h1-zero", "2.2.h3-zero_3.1.attn-zero")  # interventions in the lab
LARGEST = 64 * 2**20  # bytes in one message


@dataclass
class Rerun:
    """One click and the resulting run.

    Attributes:
        page: The page that was clicked on.
        kind: "open", "page", "photo", "commit" or "connection".
        seconds: Time from sending the message to the end of the run.
        size: Number of bytes received.
        errors: Error messages from the server.
        at: When the run ended, in seconds of `time.monotonic`.
    """

    page: str
    kind: str
    seconds: float
    size: int
    errors: list[str]
    at: float


@dataclass
class _Seen:
    """What the page has shown: links, the photo list and components."""

    links: dict[str, tuple[str, str]] = field(default_factory=dict)  # page -> script hash, query
    photos: tuple[str, list[str]] | None = None  # id of the select box, its options
    components: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> id, fragment


class Reader:
    """One session: opens a page, then clicks, one click at a time.

    Args:
        address: `ws://…/_stcore/stream`.
        seed: Seed of all the reader's choices.
        limit: Seconds after which a run counts as hung.
        session: Id of a session to rejoin.
    """

    def __init__(self, address: str, seed: int, limit: float = 60.0, session: str = "") -> None:
        self.address, self.limit, self.session = address, limit, session
        self.rng = random.Random(seed)
        self.page, self.script, self.query = "", "", f"lang={self.rng.choice(('en', 'zh-Hant'))}"
        self.seen = _Seen()
        self._known: deque[set[str]] = deque([set()], KEPT_RUNS)
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Reader:
        self._socket = await connect(
            self.address,
            subprotocols=["streamlit", "load", *filter(None, [self.session])],  # type: ignore[list-item]
            max_size=LARGEST,
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            await self._socket.close()

    # ---------------------------------------------------------------- what a reader does

    async def open(self) -> Rerun:
        """Open a random first page, as if by entering its address in a browser."""
        return await self.start(self.rng.choice(PAGES))

    async def start(self, page: str) -> Rerun:
        """Open a page by name, as if by entering its address in a browser."""
        self.page = page
        rerun = await self._run("open", page_name=page)
        # The first run may name the main script; the page's own link has the right script.
        self.script = self.seen.links.get(page, (self.script, ""))[0]
        return rerun

    async def click(self) -> Rerun:
        """Pick a photo, go to another page, or click into a figure."""
        choice = self.rng.random()
        if choice < 0.3 and len(self.seen.links) > 1:
            return await self._turn()
        if choice < 0.65 or (commit := self._commit()) is None:
            return await self.photo()
        widget, fragment = commit
        return await self._run("commit", widget, fragment_id=fragment)

    async def _turn(self) -> Rerun:
        """Go to another page."""
        there = [page for page in self.seen.links if page != self.page and page in PAGES]
        self.page = self.rng.choice(there)
        self.script, self.query = self.seen.links[self.page]
        self.seen.components.clear()
        return await self._run("page")

    async def photo(self, id: str = "") -> Rerun:
        """Pick a photo, at random by default: from the strip if there is one, else from the sidebar."""
        assert self.seen.photos is not None
        box, titles = self.seen.photos
        strip = self.seen.components.get("cfviz.picker")
        if strip is None:
            return await self._run("photo", WidgetState(id=box, string_value=self.rng.choice(titles)))
        events = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{strip[0]}{EVENT_DELIM}events"
        value = json.dumps([{"event": "pick", "value": id or self.rng.choice(self._strip)}])
        state = WidgetState(id=strip[0], json_value="{}")  # a browser sends both
        return await self._run("photo", state, WidgetState(id=events, json_trigger_value=value))

    def _commit(self) -> tuple[WidgetState, str] | None:
        """A click in the page's figure; None if the page has no figure that reports clicks to the server."""
        pick = self.rng.randrange
        figures: dict[str, dict[str, Any]] = {
            "cfviz_living": {"stage": pick(4), "block": 0, "head": 0, "row": pick(7), "col": pick(7)},
            "cfviz_embedding": {"cel": pick(4), "measure": "carried", "row": pick(7), "col": pick(7)},
            "cfviz_position_bias": {"block": pick(4), "head": 0},
            "cfviz_lab": {"do": self.rng.choice(LAB), "how": "zero", "seq": pick(1, 10**6)},
        }
        for name, value in figures.items():
            if name in self.seen.components:
                id, fragment = self.seen.components[name]
                return WidgetState(id=id, json_value=json.dumps({"commit": value})), fragment
        return None

    # ---------------------------------------------------------------- Streamlit's messages

    async def _run(self, kind: str, *widgets: WidgetState, **state: Any) -> Rerun:
        """Send one click and process all messages until the run ends."""
        message = BackMsg(
            rerun_script=ClientState(
                query_string=self.query,
                page_script_hash=self.script,
                cached_message_hashes=sorted(set().union(*self._known)),
                **state,
            )
        )
        message.rerun_script.widget_states.widgets.extend(widgets)
        self._known.append(set())
        assert self._socket is not None
        start, rerun = time.monotonic(), Rerun(self.page, kind, 0.0, 0, [], 0.0)
        await self._socket.send(message.SerializeToString())
        try:
            async with asyncio.timeout(self.limit):
                await self._until_finished(rerun)
        except TimeoutError:
            rerun.errors.append(f"no end after {self.limit:.0f} s")
        rerun.at = time.monotonic()
        rerun.seconds = rerun.at - start
        return rerun

    async def _until_finished(self, rerun: Rerun) -> None:
        assert self._socket is not None
        while True:
            content = await self._socket.recv(decode=False)
            rerun.size += len(content)
            message = ForwardMsg.FromString(content)
            kind = message.WhichOneof("type")
            if kind == "delta":
                self._take(message.delta, rerun)
                if message.metadata.cacheable:
                    self._known[-1].add(message.hash)
            elif kind == "ref_hash":
                self._known[-1].add(message.ref_hash)
            elif kind == "new_session":
                self.script = message.new_session.page_script_hash
                self.session = message.new_session.initialize.session_id
            elif kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            elif kind == "script_finished":
                if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                    rerun.errors.append("the script has an error")
                if message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    return

    def _take(self, delta: Delta, rerun: Rerun) -> None:
        """Record what can be clicked, and any error."""
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            rerun.errors.append(f"{element.exception.type}: {element.exception.message}")
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            rerun.errors.append(element.alert.body)
        elif kind == "page_link":
            link = element.page_link
            self.seen.links[link.page] = (link.page_script_hash, link.query_string)
        elif kind == "selectbox" and self._is_photo(element.selectbox.id):
            self.seen.photos = (element.selectbox.id, list(element.selectbox.options))
        elif kind == "bidi_component":
            component = element.bidi_component
            if component.component_name == "cfviz_position_bias" and not component.id.endswith("surfaces"):
                return  # another figure on the same page, which takes other messages
            self.seen.components[component.component_name] = (component.id, delta.fragment_id)
            if component.component_name == "cfviz.picker":
                self._strip = [photo["id"] for photo in json.loads(component.json)["photos"]]

    @staticmethod
    def _is_photo(id: str) -> bool:
        return id.endswith("-w.photo")
