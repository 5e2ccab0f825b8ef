"""What comes through the door: how many messages, how many bytes, how long a session is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.state.session_state import WStates
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from cfviz.ui.session import door


class Clock:
    """Time that passes when it is told to, and what is to be called in it."""

    def __init__(self) -> None:
        self.now, self.calls = 1000.0, list[tuple[float, Callable[[], None]]]()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.calls.append((self.now + seconds, call))

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and min(at for at, _ in self.calls) <= end:
            at, call = min(self.calls, key=lambda one: one[0])
            self.calls.remove((at, call))
            self.now = max(self.now, at)
            call()
        self.now = end


def click(query: str, fragment: str = "") -> BackMsg:
    return BackMsg(rerun_script=ClientState(query_string=query, fragment_id=fragment))


def rate() -> tuple[door.Rate, Clock, list[str]]:
    clock, done = Clock(), list[str]()
    take = door.Rate(lambda one: done.append(one.rerun_script.query_string), clock.later, lambda: clock.now)
    return take, clock, done


def test_who_clicks_is_never_kept_waiting() -> None:
    take, clock, done = rate()
    for n in range(door.BURST):
        take.take(click(f"{n}"))
    assert len(done) == door.BURST
    for n in range(200):
        clock.pass_(door.EVERY)
        take.take(click(f"{n}"))
    assert len(done) == door.BURST + 200
    assert not clock.calls


def test_of_a_flood_the_latest_comes_through_a_few_times_a_second() -> None:
    take, clock, done = rate()
    for n in range(2000):
        take.take(click(f"{n}"))
        clock.pass_(1 / 200)
    assert len(done) <= door.BURST + 10 / door.EVERY + 1
    clock.pass_(1)
    assert done[-1] == "1999", "the session ends where its last message says"
    assert not clock.calls


def test_the_page_and_its_fragments_wait_apart_and_not_without_end() -> None:
    take, clock, done = rate()
    for _ in range(door.BURST):
        take.take(click("first"))
    for n in range(100):
        take.take(click(f"part {n}", fragment=f"{n}"))
    take.take(click("old"))
    take.take(click("new"))
    clock.pass_(60)
    assert done[door.BURST :] == ["part 97", "part 98", "part 99", "new"]
    assert not clock.calls


def test_nobody_clears_what_others_use() -> None:
    take, _, done = rate()
    for message in (BackMsg(clear_cache=True), BackMsg(set_run_on_save=True), BackMsg(load_git_info=True)):
        take.take(message)
    assert done == []
    take.take(BackMsg(stop_script=True))
    assert done == [""]


def test_streamlit_still_has_what_is_wrapped() -> None:
    door.guard()
    assert AppSession.handle_backmsg.__wrapped__
    assert WStates.__getitem__.__wrapped__


def test_a_session_has_a_budget_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    door.guard()
    monkeypatch.setattr(door, "MOST_UPLOADED", 100)
    manager = MemoryUploadedFileManager("/upload")

    def send(session: str, id: str, size: int) -> None:
        manager.add_file(session, UploadedFileRec(id, "a.jpg", "image/jpeg", bytes(size)))

    send("one", "a", 60)
    with pytest.raises(ValueError, match="in one session"):
        send("one", "b", 60)
    assert [file.file_id for file in manager.get_files("one", ["a", "b"])] == ["a"]
    send("one", "a", 90)  # in its own place
    send("two", "b", 60)  # another's budget
    manager.remove_file("one", "a")
    send("one", "b", 60)


def test_sessions_that_ended_are_let_go_by_themselves() -> None:
    storage = MemorySessionStorage(ttl_seconds=0)
    gone: list[str] = []

    class Session:
        id = "one"

        def shutdown(self) -> None:
            gone.append(self.id)

    runtime = SimpleNamespace(_session_mgr=SimpleNamespace(_session_storage=storage))
    storage.save(SimpleNamespace(session=Session()))  # type: ignore[arg-type]
    assert not gone
    time.sleep(0.01)
    assert door.forget_ended(runtime) == 1
    assert gone == ["one"]
    assert door.forget_ended(runtime) == 0
    assert door.forget_ended(None) == 0
