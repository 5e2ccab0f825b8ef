"""Readers' photos: decoded one at a time, however many ask, and equal ones once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from cfviz.ui.session import photos


def test_photos_are_decoded_one_at_a_time_and_equal_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
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
