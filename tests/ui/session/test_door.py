"""What comes through the door: how many messages, and how long a session is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Common_pb2 import FileURLsRequest
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.state.session_state import WStates

from cfviz.ui.session import door


class Clock:
    """A clock that is advanced by hand, with the calls scheduled on it."""

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
    desk = door.Desk(clock.later, lambda: clock.now)
    take = door.Rate(lambda one: done.append(one.rerun_script.query_string), desk)
    return take, clock, done


def test_a_person_who_clicks_never_waits() -> None:
    take, clock, done = rate()
    for n in range(door.BURST):
        take.take(click(f"{n}"))
    assert len(done) == door.BURST
    for n in range(200):
        clock.pass_(door.EVERY)
        take.take(click(f"{n}"))
    assert len(done) == door.BURST + 200
    assert not clock.calls


def test_a_flood_is_reduced_to_its_latest_message_a_few_times_a_second() -> None:
    take, clock, done = rate()
    for n in range(2000):
        take.take(click(f"{n}"))
        clock.pass_(1 / 200)
    assert len(done) <= door.BURST + 10 / door.EVERY + 1
    clock.pass_(1)
    assert done[-1] == "1999", "the session ends where its last message says"
    assert not clock.calls


def test_the_page_and_its_fragments_wait_separately_within_a_bound() -> None:
    take, clock, done = rate()
    for _ in range(door.BURST):
        take.take(click("first"))
    for n in range(100):
        take.take(click(f"part {n}", fragment=f"{n}"))
    take.take(click("old"))
    take.take(click("new"))
    clock.pass_(60)
    kept = [f"part {n}" for n in range(100 - door.WAITING + 1, 100)]
    assert done[door.BURST :] == [*kept, "new"]
    assert not clock.calls


def test_a_click_in_a_flood_is_not_lost() -> None:
    """The session's next message, of another widget or page, used to replace it."""

    def said(message: BackMsg) -> list[str]:
        return sorted(widget.id for widget in message.rerun_script.widget_states.widgets)

    clock, done = Clock(), list[BackMsg]()
    take = door.Rate(done.append, door.Desk(clock.later, lambda: clock.now))
    for _ in range(door.BURST):
        take.take(click(""))
    press = click("press")
    press.rerun_script.widget_states.widgets.extend(
        [
            WidgetState(id="cancel", trigger_value=True),
            WidgetState(id="figure", json_trigger_value="{}"),
            WidgetState(id="slider", int_value=1),
        ]
    )
    take.take(press)
    move = click("move")
    move.rerun_script.widget_states.widgets.append(WidgetState(id="slider", int_value=2))
    take.take(move)
    for _ in range(50):
        take.take(click("timer"))
    turn = click("elsewhere")
    turn.rerun_script.page_script_hash = "other"
    take.take(turn)
    clock.pass_(60)
    here, there = done[door.BURST :]
    assert said(here) == ["cancel", "figure"], "the slider is no click: the browser has it no longer"
    assert said(there) == []
    assert there.rerun_script.query_string == "elsewhere"


@pytest.mark.slow
def test_many_floods_get_no_more_runs_than_one() -> None:
    """Five clients with two hundred messages a second used to keep all others waiting for three seconds."""
    clock, done = Clock(), list[str]()
    desk = door.Desk(clock.later, lambda: clock.now)
    sessions = [door.Rate(lambda one: done.append(one.rerun_script.query_string), desk) for _ in range(50)]
    for _ in range(door.BURST):
        for n, one in enumerate(sessions):
            one.take(click(f"{n}"))
    done.clear()
    for _ in range(1000):
        for n, one in enumerate(sessions):
            one.take(click(f"{n}"))
        clock.pass_(1 / 50)
    assert len(done) <= 20 / door.EVERY + 1
    assert max(done.count(f"{n}") for n in range(50)) <= min(done.count(f"{n}") for n in range(50)) + 1
    done.clear()
    clock.pass_(60)
    assert len(done) == 50, "the last of each"
    assert not clock.calls


def test_nobody_can_clear_the_caches_of_others() -> None:
    take, _, done = rate()
    for message in (BackMsg(clear_cache=True), BackMsg(set_run_on_save=True), BackMsg(load_git_info=True)):
        take.take(message)
    assert done == []
    take.take(BackMsg(stop_script=True))
    assert done == [""]


def test_few_runs_begin_at_once_and_who_sends_least_comes_first() -> None:
    """Fifty sessions that each sent a few messages used to keep another waiting for twelve seconds."""
    clock, done = Clock(), list[str]()
    desk = door.Desk(clock.later, lambda: clock.now)
    running: dict[str, bool] = {}

    def session(name: str) -> door.Rate:
        def handle(_message: BackMsg) -> None:
            done.append(name)
            running[name] = True

        return door.Rate(handle, desk, lambda: running.get(name, False))

    crowd = [session(f"{n}") for n in range(20)]
    for _ in range(3):
        for one in crowd:
            one.take(click(""))
    assert len(done) == door.AT_ONCE
    session("calm").take(click(""))
    clock.pass_(0.1)
    assert len(done) == door.AT_ONCE, "they still run"
    running["3"] = False
    clock.pass_(0.1)
    assert done[door.AT_ONCE :] == ["calm"]
    clock.pass_(door.YOUNG)
    assert len(done) == 2 * door.AT_ONCE + 1, "a run that takes long lets others begin"
    clock.pass_(60)
    assert sorted(set(done)) == sorted([*(f"{n}" for n in range(20)), "calm"])
    assert not clock.calls


def test_a_run_counts_before_its_thread_has_started() -> None:
    """Streamlit says that a page runs when its thread does; of a hundred messages at once, all began."""
    clock, done = Clock(), list[str]()
    desk = door.Desk(clock.later, lambda: clock.now)
    crowd = [door.Rate(lambda _: done.append("run"), desk, lambda: False) for _ in range(100)]
    for one in crowd:
        one.take(click(""))
    assert len(done) == door.AT_ONCE
    clock.pass_(60)
    assert len(done) == 100
    assert not clock.calls


def test_the_number_of_upload_places_is_bounded() -> None:
    take, _, done = rate()
    take.take(BackMsg(file_urls_request=FileURLsRequest(file_names=[""] * 500_000)))
    assert done == []
    take.take(BackMsg(file_urls_request=FileURLsRequest(file_names=["a.jpg"])))
    assert done == [""]


def test_nothing_is_run_for_a_reader_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that connect, ask and leave, again and again, kept everybody waiting for 2.5 s."""
    here, done = {"one"}, list[str]()

    def handle_backmsg(_session: AppSession, one: BackMsg) -> None:
        done.append(one.rerun_script.query_string)

    monkeypatch.setattr(AppSession, "handle_backmsg", handle_backmsg)
    monkeypatch.setattr(
        door, "get_instance", lambda: SimpleNamespace(is_active_session=lambda id: id in here)
    )
    door._limit_messages()

    class Session(AppSession):
        id = "one"

        def __init__(self) -> None:
            pass

        def __del__(self) -> None:
            pass

    session = Session()
    session.handle_backmsg(click("first"))
    here.clear()
    session.handle_backmsg(click("second"))
    here.add("one")
    session.handle_backmsg(click("third"))
    assert done == ["first", "third"]


def test_the_length_of_a_link_is_bounded() -> None:
    """One of 900,000 letters kept everybody waiting for more than a second."""
    take, _, done = rate()
    take.take(BackMsg(rerun_script=ClientState(query_string="&".join(f"k{n}=v" for n in range(100_000)))))
    assert done == []
    take.take(BackMsg(rerun_script=ClientState(query_string="do=" + "_".join(["1.k1-zero"] * 200))))
    assert len(done) == 1


def test_streamlit_still_has_the_functions_that_are_wrapped() -> None:
    door.guard()
    assert AppSession.handle_backmsg.__wrapped__
    assert WStates.__getitem__.__wrapped__


def test_ended_sessions_are_released() -> None:
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


def test_values_of_no_widget_are_dropped() -> None:
    """After one of them, every run of the session used to end in the redacted page."""
    message = click("")
    names = ("x", "", "cfviz.settings", "$$ID-1-None", f"{door.INTERNAL}_$$ID-2__events", "$$WIDGET")
    message.rerun_script.widget_states.widgets.extend(WidgetState(id=name, int_value=1) for name in names)
    door._only_widgets(message)
    assert [widget.id for widget in message.rerun_script.widget_states.widgets] == [names[3], names[4]]
    whole = message.SerializeToString()
    door._only_widgets(message)
    assert message.SerializeToString() == whole
