"""Readers' photos: decoded one at a time, and identical ones only once."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from cfviz.data.samples import sample
from cfviz.ui.session import photos, queue


def test_photos_are_decoded_one_at_a_time_and_identical_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, decoded = 0, 0, list[str]()
    book = threading.Lock()

    def load(_data: bytes, name: str) -> Any:
        nonlocal at_once, most
        with book:
            at_once += 1
            most = max(most, at_once)
            decoded.append(name)
        time.sleep(0.02)
        with book:
            at_once -= 1
        return SimpleNamespace(size=(10, 10))

    monkeypatch.setattr(photos, "load_image", load)
    photos._opened.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: photos._open(b"", f"{n % 4}.jpg", f"{n % 4}"), range(16)))
    photos._opened.clear()
    assert most == 1
    assert sorted(decoded) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_reader_with_many_photos_lets_others_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """All used to wait for one lock, in order of arrival."""
    order, mine = list[str](), threading.local()
    begun, go = threading.Event(), threading.Event()

    def load(_data: bytes, name: str) -> Any:
        begun.set()
        go.wait(20)
        order.append(name)
        return SimpleNamespace(size=(10, 10))

    def open_(who: str, name: str) -> None:
        mine.who = who
        photos._open(b"", name, name)

    monkeypatch.setattr(photos, "load_image", load)
    monkeypatch.setattr(queue, "_reader", lambda: mine.who)
    photos._opened.clear()
    threads = [threading.Thread(target=open_, args=("many", f"many {n}")) for n in range(6)]
    threads[0].start()
    begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    while queue._turns.length < 5:
        time.sleep(0.005)
    threads.append(threading.Thread(target=open_, args=("one", "one")))
    threads[-1].start()
    while queue._turns.length < 6:
        time.sleep(0.005)
    go.set()
    for thread in threads:
        thread.join(20)
    photos._opened.clear()
    assert order.index("one") <= 2, order


class Visit:
    """Sessions of browsers, one of them current."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch

    def __call__(self, browser: str, session: dict[str, Any]) -> None:
        self.patch.setattr(photos.st, "session_state", session)
        self.patch.setattr(photos.reader, "browser", lambda: browser)


def bring(name: str) -> str:
    data = sample(name).path.read_bytes()
    upload = SimpleNamespace(name=f"{name}.jpg", size=len(data), getvalue=lambda: data, file_id=name)
    assert photos.take([upload]) == (True, [])
    return list(photos.own())[-1]


def test_own_photos_survive_a_reload_and_no_other_browser_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    visit, first, again = Visit(monkeypatch), dict[str, Any](), dict[str, Any]()
    visit("mine", first)
    id = bring("cat")
    visit("another's", {})
    assert photos.own() == {}
    with pytest.raises(ValueError, match="own-"):
        photos.photo(id)
    visit("mine", again)
    assert list(photos.own()) == [id]
    assert photos.photo(id).name == "cat.jpg"
    other = bring("coffee")
    visit("mine", first)
    assert list(photos.own()) == [id], "a run of another tab does not change under its feet"
    visit("mine", {})
    assert list(photos.own()) == [id, other]


def test_own_photos_go_with_the_last_session_of_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    visit, session = Visit(monkeypatch), dict[str, Any]()
    visit("soon gone", session)
    bring("cat")
    assert "soon gone" in photos._shelves
    session.clear()
    gc.collect()
    assert "soon gone" not in photos._shelves
    visit("soon gone", {})
    assert photos.own() == {}


def test_own_photos_can_be_removed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    visit, session = Visit(monkeypatch), dict[str, Any]()
    visit("remover", session)
    id = bring("cat")
    assert session[photos._SHELF].photos.keys() == {id}
    photos.forget()
    assert photos.own() == session[photos._SHELF].photos == {}
    visit("remover", {})
    assert photos.own() == {}


def test_a_browser_keeps_no_more_than_one_reader_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MAX_OWN", 2)
    visit, one, two = Visit(monkeypatch), dict[str, Any](), dict[str, Any]()
    visit("mine", one)
    bring("cat")
    visit("mine", two)
    assert len(photos.own()) == 1
    coffee, cathedral = bring("coffee"), bring("berlin-cathedral")
    assert list(photos.own()) == [coffee, cathedral]
    visit("mine", one)
    lemurs = bring("lemurs")
    assert len(one[photos._SHELF].photos) == 2
    assert lemurs in one[photos._SHELF].photos
