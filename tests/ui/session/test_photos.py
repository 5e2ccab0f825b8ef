"""Readers' photos: decoded one at a time, and identical ones only once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

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
