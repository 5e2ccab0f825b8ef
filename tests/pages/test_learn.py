"""The page of lessons: every step in both languages, right and wrong answers, links, refusals, progress."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.lessons import Scene, grade, load_lessons, selftest
from cfviz.lessons.course import QUESTION_KINDS
from cfviz.lessons.question import Question
from cfviz.lessons.selftest import Sitting
from cfviz.run import inspect, load, pick_device
from cfviz.ui.compute import keys
from cfviz.ui.pages.learn import selftest_room
from cfviz.ui.pages.learn.page import GIVEN, PICKED
from cfviz.ui.pages.learn.scenes import labelled
from cfviz.ui.session.state import Settings
from cfviz.words import translator
from tests.pages.test_pages import first, run

COURSE = load_lessons()
PHOTO, SIZE = "cat", 160


def about() -> tuple[Scene, str]:
    """The subject that the page asks about, and the part it names."""
    model, photo = load("crossformer_nano"), load_image(sample(PHOTO).path)
    image = prepare(photo, SIZE).tensor
    scene = Scene(
        model, SIZE, lambda *w: inspect(photo, model, SIZE, w), model_labels(model), lambda: image,
        segmented=labelled,
    )  # fmt: skip
    return scene, keys.on_photo(Settings(size=SIZE, device=pick_device()), model, photo)


def model_labels(model: Any) -> list[str]:
    return list(cfviz.run.class_names(model))


def page(lang: str, lesson: int, step: int) -> AppTest:
    return run("learn", lang=lang, photo=PHOTO, size=str(SIZE), lesson=str(lesson), step=str(step))


def answer(app: AppTest, question: Question, source: str, id: str, codes: list[str]) -> AppTest:
    """Point as the figure reports it, or choose as a student does; then check."""
    if question.kind == "one":
        app.radio(key=f"learn.choice.{id}").set_value(codes[0]).run()
    else:
        app.session_state[PICKED] = (id, source, codes)
        app.run()
    return app.button(key="learn.check").click().run()


def attempts(question: Question) -> tuple[list[str], list[str]]:
    """A wrong answer and the right one."""
    right = sorted(question.good)
    wrong = [option.code for option in question.options if option.code not in question.good] or ["9.9"]
    return wrong[:1], right if question.kind in ("many", "tokens") else right[:1]


def go_through(lang: str, lesson: int) -> None:
    scene, source = about()
    app = page(lang, lesson, 1)
    lesson_id = COURSE.lessons[lesson - 1].id
    for n, step in enumerate(COURSE.lessons[lesson - 1].steps, 1):
        assert not app.exception, step.id
        question = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
        title = COURSE.text(lang, f"{lesson_id}.{step.id}.title")
        assert title in [head.value for head in app.subheader]
        assert app.button(key="learn.check").disabled
        wrong, right = attempts(question)
        answer(app, question, source, f"{lesson}.{n}.0", wrong)
        assert not app.exception, step.id
        assert len(app.warning) == 1, step.id
        why = grade(question, wrong).reason
        if why:
            assert COURSE.text(lang, why[0], **why[1]) in app.warning[0].value
        app.button(key="learn.again").click().run()
        answer(app, question, source, f"{lesson}.{n}.1", right)
        assert not app.exception, step.id
        assert len(app.success) == 1, step.id
        if step.id != COURSE.lessons[-1].steps[-1].id:
            app.button(key="learn.next").click().run()
    assert app.session_state["cfviz.learn.first"] == {
        f"{lesson_id}.{step.id}": False for step in COURSE.lessons[lesson - 1].steps
    }


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
@pytest.mark.parametrize("lesson", range(1, 6))
def test_every_step_accepts_right_and_wrong_answers(lang: str, lesson: int) -> None:
    go_through(lang, lesson)


@pytest.mark.slow
def test_the_first_answer_counts_and_can_be_reset() -> None:
    scene, source = about()
    app = page("en", 1, 3)
    step = COURSE.step(1, 3)
    question = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
    answer(app, question, source, "1.3.0", sorted(question.good))
    assert len(app.success) == 1
    assert any(f"**1** of {len(COURSE.places())} steps answered" in m.value for m in app.markdown)
    app.button(key="learn.again").click().run()
    answer(app, question, source, "1.3.1", ["0.0"])
    assert "Row 0, column 0 is in another window" in app.warning[0].value
    assert app.session_state["cfviz.learn.first"] == {"windows.window": True}
    app.button(key="learn.reset").click().run()
    assert app.session_state["cfviz.learn.first"] == {}
    assert not app.success


@pytest.mark.slow
def test_the_current_pick_is_judged() -> None:
    """A pick that arrives with the click on "Check", before the page has run for it, counts."""
    scene, source = about()
    for lesson, n in ((1, 3), (2, 3)):  # by pointing, by choosing
        app, step = page("en", lesson, n), COURSE.step(lesson, n)
        id, wrong, right = (
            f"{lesson}.{n}.0",
            *attempts(QUESTION_KINDS[step.ask].make(scene, step.state, step.after)),
        )
        if step.ask == "group":
            app.session_state[PICKED] = (id, source, wrong)
            app.run()
            app.session_state[PICKED] = (id, source, right)
        else:
            app.radio(key=f"learn.choice.{id}").set_value(wrong[0]).run()
            app.radio(key=f"learn.choice.{id}").set_value(right[0])
        app.button(key="learn.check").click().run()
        assert not app.exception
        assert (len(app.success), len(app.warning)) == (1, 0)
        assert app.session_state["cfviz.learn.first"] == {f"{COURSE.lessons[lesson - 1].id}.{step.id}": True}
        assert list(app.session_state[GIVEN].values()) == [tuple(right)]


def test_a_pick_made_for_another_step_is_not_judged() -> None:
    scene, source = about()
    app, step = page("en", 1, 3), COURSE.step(1, 3)
    question = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
    app.session_state[PICKED] = ("1.3.0", source, sorted(question.good))
    app.run()
    app.session_state[PICKED] = ("2.1.0", source, ["3.3"])
    app.button(key="learn.check").click().run()
    assert not app.exception
    assert app.button(key="learn.check").disabled
    assert app.session_state[GIVEN] == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lang", "lesson", "step", "said"),
    [("en", 4, 4, "needs a model with a DPB"), ("zh-Hant", 4, 4, "DPB")],
)
def test_a_step_says_if_the_model_lacks_what_it_asks_about(
    lang: str, lesson: int, step: int, said: str
) -> None:
    app = run(
        "learn", lang=lang, photo=PHOTO, size=str(SIZE), model="crossformer_nano_rpb", lesson=str(lesson),
        step=str(step),
    )  # fmt: skip
    assert not app.exception
    assert not app.error
    assert [said in one.value for one in app.info] == [True]
    assert not [button for button in app.button if button.key == "learn.check"]
    app.button(key="learn.next").click().run()
    assert not app.exception
    after = COURSE.places()[COURSE.places().index((lesson, step)) + 1]
    key = f"{COURSE.lessons[after[0] - 1].id}.{COURSE.step(*after).id}.title"
    assert COURSE.text(lang, key) in [head.value for head in app.subheader]


@pytest.mark.slow
@pytest.mark.parametrize("codes", [["3.4", "4.3"], ["400.2"], ["x"], ["-1.0"], ["²0.1"], ["1.2.3"], [""]])
def test_answers_that_no_figure_sends_are_asked_again(codes: list[str]) -> None:
    """Several picks for one token, tokens outside the map and other text leave the question open."""
    n, m = next(at for at in COURSE.places() if COURSE.step(*at).ask == "strongest_token")
    app = page("en", n, m)
    app.session_state[PICKED] = (f"{n}.{m}.0", about()[1], codes)
    app.run()
    assert not app.exception
    assert app.button(key="learn.check").disabled
    assert "Click one token" in " ".join(caption.value for caption in app.caption)
    app.session_state[PICKED] = (f"{n}.{m}.0", about()[1], ["0.0"])
    app.run()
    app.button(key="learn.check").click().run()
    assert not app.exception
    assert len(app.warning) + len(app.success) == 1


@pytest.mark.slow
def test_a_link_leads_to_a_step_and_a_bad_one_to_the_first() -> None:
    app = page("en", 3, 3)
    assert COURSE.text("en", "scales.edge.title") in [head.value for head in app.subheader]
    assert first(app.query_params["lesson"]) == "3"
    app = run("learn", lang="en", lesson="99", step="<b>")
    assert not app.exception
    assert COURSE.text("en", "windows.tokens.title") in [head.value for head in app.subheader]


def test_the_sandbox_links_back_to_the_step() -> None:
    app = run("grouping", lang="en", back="2.3", map="8x8", g="4", i="2")
    assert "Back to lesson 2, step 3" in [link.proto.label for link in app.get("page_link")]
    app = run("grouping", lang="en", back="<script>")
    assert not any("Back to" in link.proto.label for link in app.get("page_link"))


def test_faulty_lesson_files_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("cfviz.lessons.course.FOLDER", tmp_path)
    app = run("learn", lang="en")
    assert not app.exception
    assert "cannot be read" in app.error[0].value


@pytest.mark.slow
@pytest.mark.parametrize("link", [{"lesson": "1", "step": "2"}, {"room": "test"}, {"room": "teacher"}])
def test_nothing_says_computing_once_the_page_is_there(link: dict[str, str]) -> None:
    """Neither a step on a made-up map nor worksheets made before need a prediction: the notice stayed."""
    for _ in range(2):
        app = run("learn", lang="en", photo=PHOTO, size=str(SIZE), **link)
        assert not app.exception
        assert [one.proto.body for one in app.get("html") if 'class="cf-computing"' in one.proto.body] == []


# ---------------------------------------------------------------- the rooms of the self-test and of teachers


@pytest.fixture(scope="module")
def nano() -> Any:
    return cfviz.create_model("crossformer_nano", weights="bundled")


def right_answers(model: Any, form: str) -> list[str]:
    return [next(iter(item.question.good)) for item in selftest.items("1", form, model)]


def begun(**link: str) -> AppTest:
    """The room, once the browser has told what it stores."""
    app = run("learn", room="test", **link)
    app.session_state["cfviz.learn.known"] = True
    return app.run()


def take_test(app: AppTest, phase: str, codes: list[str]) -> None:
    app.button(key=f"selftest.begin.{phase}").click().run()
    for n, code in enumerate(codes):
        key = f"selftest.1.{phase}.{n}"
        assert app.button(key=f"{key}.answer").disabled
        app.radio(key=key).set_value(code).run()
        app.button(key=f"{key}.answer").click().run()
        assert not app.exception


@pytest.mark.slow
def test_before_and_after_are_compared(nano: Any) -> None:
    app = begun(order="ba", lang="en")
    take_test(app, "before", right_answers(nano, "B")[:3] + [selftest.UNSURE] * 7)
    assert "**3** of 10 right" in [m.value for m in app.markdown]
    assert [one.label for one in app.expander if "questions and answers" in one.label] == []
    take_test(app, "after", right_answers(nano, "A"))
    assert any("Difference: **+7**" in m.value for m in app.markdown)
    assert len([one for one in app.expander if "questions and answers" in one.label]) == 2


@pytest.mark.slow
def test_nothing_begins_before_the_browser_has_told_what_it_stores() -> None:
    app = run("learn", room="test", lang="zh-Hant")
    assert not app.exception
    assert [one.key for one in app.button if (one.key or "").startswith("selftest")] == []


@pytest.mark.slow
def test_answers_to_earlier_questions_are_not_marked() -> None:
    app = begun(lang="en")
    app.session_state["cfviz.learn.tests"] = {"1": {"before": Sitting("A", "0.old", 1, (("A", 2),))}}
    app.run()
    assert "can no longer be marked" in app.warning[0].value
    app.button(key="selftest.forget").click().run()
    assert app.button(key="selftest.begin.before")


@pytest.mark.slow
def test_the_files_give_the_right_answers_away_only_at_the_end(nano: Any) -> None:
    ctx: Any = SimpleNamespace(t=translator("en"), lang="en")
    codes = [*right_answers(nano, "A")[:9], selftest.UNSURE]
    before = Sitting("A", "1.x", 100, tuple((code, 110 + n) for n, code in enumerate(codes)))
    asked = {"before": selftest.items("1", "A", nano), "after": selftest.items("1", "B", nano)}
    rows = selftest_room.records(ctx, nano, "1", {"before": before}, asked)
    assert [tuple(row) for row in rows] == [selftest_room.COLUMNS] * 10
    assert [row["right"] for row in rows] == [1] * 9 + [0]
    assert [row["seconds"] for row in rows] == [10] + [1] * 9
    assert {row["right_answer"] for row in rows} == {""}
    assert (rows[9]["answer"], rows[9]["unsure"]) == ("", 1)
    assert rows[0]["answered"] == "1970-01-01T00:01:50Z"
    both = {"before": before, "after": Sitting("B", "1.x", 200, before.answers)}
    assert all(row["right_answer"] for row in selftest_room.records(ctx, nano, "1", both, asked))


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_link_for_a_photo_of_the_class_asks_for_the_file() -> None:
    app = run("learn", lang="en", lesson="1", step="3", bring="own-0123456789")
    assert not app.exception
    assert any("prepared for a photo of your class" in one.value for one in app.info)
    app = run("learn", lang="en", lesson="1", step="3", bring="own-<b>")
    assert not app.info
