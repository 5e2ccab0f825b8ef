"""Frames on a page's websocket that no browser sends: damaged, endless or forged, one after another."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.WidgetStates_pb2 import WidgetState

from cfviz.ui.session import door, state
from tests.fuzz.harness import Case
from tests.fuzz.mutate import Rng, mutated

SECONDS = 1.0  # that others would wait
MOST = 10**6  # bytes of a frame; longer ones are not read
LINKS = (
    "lang=en", "", "a=" + "b" * 900_000, "&".join(f"k{n}=v" for n in range(90_000)), "model=" + "%00" * 5000,
    "do=" + "_".join(["1.k1-zero"] * 1600), "row=" + "9" * 15_000, "%" * 16_000, "=" * 16_000, "&" * 16_000,
    "lang=zh-Hant&model=\u202e", "w=" + "[" * 16_000, "photo=\0",
)  # fmt: skip
KEYS = ("$$ID-0-None", "$$STREAMLIT_INTERNAL_KEY_x", "cfviz.settings", "", "\0", "x" * 5000)


def make(rng: Rng) -> Case:
    """Make a few frames of one session."""
    frames, notes = [], []
    for _ in range(int(rng.integers(1, 12))):
        frame = _message(rng).SerializeToString()
        note = f"{len(frame)} bytes"
        if rng.random() < 0.3:
            frame, damage = mutated(frame, rng)
            note += f", {damage}"
        if rng.random() < 0.05:
            frame, note = bytes(rng.integers(256, size=2000, dtype="uint8")), "noise"
        frames.append(frame[:MOST])
        notes.append(note)
    return Case(b"".join(frames), "; ".join(notes)[:600], frames)


def _message(rng: Rng) -> BackMsg:
    kinds = [field.name for field in BackMsg.DESCRIPTOR.fields if field.name != "debug_last_backmsg_id"]
    if rng.random() < 0.4:
        kind = kinds[int(rng.integers(len(kinds)))]
        message = BackMsg()
        field = BackMsg.DESCRIPTOR.fields_by_name[kind]
        if field.message_type is None:
            setattr(message, kind, True)
        else:
            getattr(message, kind).SetInParent()
        return message
    link = LINKS[int(rng.integers(len(LINKS)))] if rng.random() < 0.5 else LINKS[0]
    asked = ClientState(query_string=link, page_script_hash=f"{int(rng.integers(4))}", fragment_id="")
    for _ in range(int(rng.choice((0, 1, 3, 20_000), p=(0.4, 0.3, 0.25, 0.05)))):
        key = KEYS[int(rng.integers(len(KEYS) - 1))]
        asked.widget_states.widgets.append(WidgetState(id=key, trigger_value=True))
    return BackMsg(rerun_script=asked)


def check(case: Case) -> str:
    """Check that only messages a page sends are handled, at no more than four a second."""
    clock = _Clock()
    handled: list[BackMsg] = []
    rate = door.Rate(handled.append, door.Desk(clock.later, lambda: clock.now))
    torn = 0
    for frame in case.extra:
        message = BackMsg()
        try:
            message.ParseFromString(frame)
        except DecodeError:  # Streamlit ends the connection
            torn += 1
            continue
        rate.take(message)
    assert sum(one.WhichOneof("type") not in door.LIGHT for one in handled) <= door.BURST
    clock.end()
    for message in handled:
        door._only_widgets(message)
        assert message.WhichOneof("type") in door.ASKED
        asked = message.rerun_script
        assert len(asked.query_string) <= door.LONGEST
        assert len(message.file_urls_request.file_names) <= door.MOST_NAMES
        assert all(one.id.startswith("$$") for one in asked.widget_states.widgets)
        query = dict(pair.partition("=")[::2] for pair in asked.query_string.split("&"))
        state.read(query, state.Settings(), ["crossformer_nano"], ["cat"])
    return "torn" if torn else "whole"


class _Clock:
    """Time that passes when it is asked to."""

    def __init__(self) -> None:
        self.now, self._calls = 0.0, list[Any]()

    def later(self, seconds: float, call: Any) -> None:
        self._calls.append((self.now + seconds, call))

    def end(self) -> None:
        """Let all that was put off happen."""
        while self._calls:
            at, call = min(self._calls, key=lambda one: one[0])
            self._calls.remove((at, call))
            self.now = max(self.now, at)
            call()


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
