"""The room of the self-test: begun, answered, compared, and the files that it gives away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import cfviz
from cfviz.ui.pages.learn import selftest, selftest_room
from cfviz.ui.pages.learn.selftest import Sitting
from cfviz.words import translator
from tests.pages.test_pages import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    return cfviz.create_model("crossformer_nano", weights="bundled")


def right(model: Any, form: str) -> list[str]:
    return [next(iter(item.question.good)) for item in selftest.items("1", form, model)]


def opened(**link: str) -> AppTest:
    """The room, once the browser has told what it stores."""
    app = run("learn", room="test", **link)
    app.session_state["cfviz.learn.known"] = True
    return app.run()


def take(app: AppTest, phase: str, codes: list[str]) -> None:
    app.button(key=f"selftest.begin.{phase}").click().run()
    for n, code in enumerate(codes):
        key = f"selftest.1.{phase}.{n}"
        assert app.button(key=f"{key}.answer").disabled
        app.radio(key=key).set_value(code).run()
        app.button(key=f"{key}.answer").click().run()
        assert not app.exception


def test_before_and_after_are_compared(model: Any) -> None:
    app = opened(order="ba", lang="en")
    take(app, "before", right(model, "B")[:3] + [selftest.UNSURE] * 7)
    assert "**3** of 10 right" in [m.value for m in app.markdown]
    assert [one.label for one in app.expander if "questions and answers" in one.label] == []
    take(app, "after", right(model, "A"))
    assert any("Difference: **+7**" in m.value for m in app.markdown)
    assert len([one for one in app.expander if "questions and answers" in one.label]) == 2


def test_nothing_begins_before_the_browser_has_told_what_it_stores() -> None:
    app = run("learn", room="test", lang="zh-Hant")
    assert not app.exception
    assert [one.key for one in app.button if (one.key or "").startswith("selftest")] == []


def test_answers_to_earlier_questions_are_not_marked() -> None:
    app = opened(lang="en")
    app.session_state["cfviz.learn.tests"] = {"1": {"before": Sitting("A", "0.old", 1, (("A", 2),))}}
    app.run()
    assert "can no longer be marked" in app.warning[0].value
    app.button(key="selftest.forget").click().run()
    assert app.button(key="selftest.begin.before")


def test_the_files_give_the_right_answers_away_only_at_the_end(model: Any) -> None:
    ctx: Any = SimpleNamespace(t=translator("en"), lang="en")
    codes = [*right(model, "A")[:9], selftest.UNSURE]
    before = Sitting("A", "1.x", 100, tuple((code, 110 + n) for n, code in enumerate(codes)))
    asked = {"before": selftest.items("1", "A", model), "after": selftest.items("1", "B", model)}
    rows = selftest_room.records(ctx, model, "1", {"before": before}, asked)
    assert [tuple(row) for row in rows] == [selftest_room.COLUMNS] * 10
    assert [row["right"] for row in rows] == [1] * 9 + [0]
    assert [row["seconds"] for row in rows] == [10] + [1] * 9
    assert {row["right_answer"] for row in rows} == {""}
    assert (rows[9]["answer"], rows[9]["unsure"]) == ("", 1)
    assert rows[0]["answered"] == "1970-01-01T00:01:50Z"
    both = {"before": before, "after": Sitting("B", "1.x", 200, before.answers)}
    assert all(row["right_answer"] for row in selftest_room.records(ctx, model, "1", both, asked))


def test_the_teachers_room_links_every_step_and_a_test_of_its_own() -> None:
    app = run("learn", lang="en", room="teacher", photo="cat", size="160")
    assert not app.exception
    links = [line for block in app.code for line in block.value.splitlines() if "lesson=" in line]
    assert len(links) == 4
    assert all("photo=cat" in line and "size=160" in line for line in links)
    test = app.code[-1].value
    assert "set=class-1&order=ab" in test
    assert "set=class-1&order=ba" in test
    app.text_input(key="teacher.set").set_value("a b").run()
    assert "24 letters" in app.warning[0].value


def test_a_link_for_a_photo_of_the_class_asks_for_the_file() -> None:
    app = run("learn", lang="en", lesson="1", step="3", bring="own-0123456789")
    assert not app.exception
    assert any("prepared for a photo of your class" in one.value for one in app.info)
    app = run("learn", lang="en", lesson="1", step="3", bring="own-<b>")
    assert not app.info
