"""Jobs on a page: all readers see them, and the one who started a job can cancel it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from cfviz import jobs
from cfviz.ui.session import reader


def listing() -> None:
    """The list alone."""
    from types import SimpleNamespace

    from cfviz.ui.widgets.jobs import panel
    from cfviz.words import translator

    panel(SimpleNamespace(t=translator("en")), "study", None, "out")


def asked(monkeypatch: pytest.MonkeyPatch, ip: str | None, state: dict[str, Any], **headers: str) -> None:
    """A request from somewhere."""
    cookies = {"_streamlit_xsrf": headers.pop("cookie")} if "cookie" in headers else {}
    context = SimpleNamespace(headers=Headers(headers), ip_address=ip, cookies=cookies)
    monkeypatch.setattr(reader, "st", SimpleNamespace(context=context, session_state=state))


def test_a_job_belongs_to_the_browser_that_started_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Any reader could cancel any job."""
    monkeypatch.setenv(jobs.JOBS, str(tmp_path))
    folder = tmp_path / "study" / "one"
    folder.mkdir(parents=True)
    jobs.write(folder / "job.json", {"kind": "study", "command": ["models"], "result": "out"})
    monkeypatch.setattr(reader, "browser", lambda: "me")
    monkeypatch.setattr(reader, "at_the_machine", lambda: False)
    for owner, theirs in (("me", True), ("somebody", False), ("", False)):
        jobs.write(folder / "state.json", {"state": "failed", "started": 1.0, "owner": owner})
        app = AppTest.from_function(listing).run()
        assert not app.exception
        assert ["jobs.resume.study.one" in [button.key for button in app.button]] == [theirs]
        assert "only in the browser that started it" in app.caption[0].value
        assert "newest 50" in app.caption[0].value
    monkeypatch.setattr(reader, "at_the_machine", lambda: True)
    app = AppTest.from_function(listing).run()
    again: list[str] = []
    monkeypatch.setattr(jobs, "resume", lambda _job, owner: again.append(owner))
    app.button(key="jobs.resume.study.one").click().run()
    assert again == ["me"]


def test_a_browser_is_recognised_by_its_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    token = b"0123456789abcdef"
    first, again = (generate_xsrf_token_string(token, 1) for _ in range(2))
    assert first != again, "masked anew each time"
    words = []
    for cookie in (first, again, generate_xsrf_token_string(token[::-1], 1)):
        asked(monkeypatch, None, {}, cookie=cookie)
        words.append(reader.browser())
    assert words[0] == words[1] != words[2]
    assert hashlib.sha256(token).hexdigest()[:32] not in words
    state: dict[str, Any] = {}
    for cookies in ({}, {"cookie": "nonsense"}, {"cookie": "2|zz|" + "9" * 9999}):
        asked(monkeypatch, None, state, **cookies)
        assert reader.browser() == reader.browser() not in words
        assert len(state) == 1


def test_a_local_reader_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, None, {}, Host="localhost:8501")
    assert reader.at_the_machine()
    for ip, headers in (
        ("192.168.1.7", {"Host": "localhost:8501"}),
        (None, {"Host": "cfviz.example.org"}),
        (None, {"Host": "localhost", "X-Forwarded-For": "192.0.2.7"}),
    ):
        asked(monkeypatch, ip, {}, **headers)
        assert not reader.at_the_machine()
    for host in ("127.0.0.1", "[::1]:8501", "localhost"):
        asked(monkeypatch, None, {}, Host=host)
        assert reader.at_the_machine()
