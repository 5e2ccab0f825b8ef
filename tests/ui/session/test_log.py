"""How often something may happen, and how often the log says so."""

from __future__ import annotations

import logging

import pytest

from cfviz.ui.session import door, forms, gate, log
from cfviz.ui.session.pace import Bucket


def test_a_bucket_empties_and_fills() -> None:
    now = [0.0]
    bucket = Bucket(3, 2, lambda: now[0])
    assert bucket.full
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    assert not bucket.ready
    now[0] = 1.5
    assert bucket.ready
    assert bucket.take() == 0
    now[0] = 60
    assert bucket.full
    assert bucket.take(5) == 1.0


def test_a_client_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    logger = logging.getLogger("test_log")
    logger.addFilter(log.Pace(lambda: now[0]))
    with caplog.at_level(logging.WARNING):
        for i in range(1000):
            logger.warning("dropped %d", i)
        logger.warning("something else")
        logger.error("an error")
        at_once, _ = log.LINES
        assert caplog.messages == [f"dropped {i}" for i in range(int(at_once))] + [
            "something else",
            "an error",
        ]
        now[0] = 60.0
        caplog.clear()
        logger.warning("dropped %d", 7)
        logger.warning("dropped %d", 8)
    assert caplog.messages == [f"dropped 7 (and {1000 - at_once} more like it)", "dropped 8"]


def test_all_that_clients_cause_is_paced() -> None:
    for module in (door, forms, gate):
        assert sum(isinstance(one, log.Pace) for one in module._log.filters) == 1, module.__name__
