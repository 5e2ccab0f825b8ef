"""The page of lessons: one step at a time, predict first, then reveal."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from cfviz import web
from cfviz.lessons.course import QUESTION_KINDS, Course, load_lessons
from cfviz.lessons.figures import IN_FIGURE, sandbox
from cfviz.lessons.question import Grade, Option, Question, RefusedError, Scene, accepted, grade
from cfviz.ui.compute import cache, keys
from cfviz.ui.context import Context
from cfviz.ui.shell import frame
from cfviz.ui.widgets.weights import warn_without_classes

from . import progress
from .glossary import show_glossary, show_terms
from .scenes import labelled
from .selftest_room import show_selftest
from .show import StepState, show_figure
from .teacher import ask_for_photo, show_teacher

PICKED, GIVEN, TRY = "cfviz.learn.picked", "cfviz.learn.given", "cfviz.learn.try"
CSS = ("lessons.css", "selftest.css")
ROOMS = ("lessons", "test", "teacher")


def show_lessons(ctx: Context) -> None:
    """Draw the page; an error in the lesson files ends it with a sentence."""
    try:
        course = load_lessons()
    except ValueError as error:
        ctx.stop(error)
    st.html(f"<style>{_sheet()}</style>")
    room = _choose_room(ctx)
    if room == "test":
        show_selftest(ctx, course)
        return
    ask_for_photo(ctx)
    if warn_without_classes(ctx, ctx.model):
        return
    if room == "teacher":
        show_teacher(ctx, course, scene(ctx), photo_key(ctx))
        ctx.computed()  # worksheets that another reader asked for need no prediction
    else:
        _body(ctx, course)


def lede(ctx: Context) -> str:
    """The key of the sentence below the title: what the room is for."""
    room = _room(ctx)
    return "learn.lede" if room == ROOMS[0] else f"learn.lede_{room}"


def _room(ctx: Context) -> str:
    return ctx.get("room", ROOMS[0], ROOMS)


def _choose_room(ctx: Context) -> str:
    room = _room(ctx)
    st.session_state["learn.room"] = room
    with st.container(key="cf-learn-rooms"):
        st.segmented_control(
            ctx.t("learn.room"), ROOMS, key="learn.room", label_visibility="collapsed", required=True,
            format_func=lambda one: ctx.t(f"learn.room_{one}"),
            on_change=lambda: ctx.put(room=st.session_state["learn.room"] or room),
        )  # fmt: skip
    return room


@st.fragment
def _body(ctx: Context, course: Course) -> None:
    at = step_from_link(ctx, course)
    _top(ctx, course, at)
    with st.container(key="cf-lesson"):
        try:
            with st.spinner(ctx.t("learn.wait"), show_time=False):
                now = step_state(ctx, course, at)
        except RefusedError as error:
            _refused(ctx, course, at, str(error))
        except ValueError as error:
            ctx.stop(error)
        else:
            _shown(ctx, course, at, now)
    ctx.computed()  # some steps need no prediction
    show_glossary(ctx, course)


def _shown(ctx: Context, course: Course, at: tuple[int, int], now: StepState) -> None:
    with st.container(key="cf-say"):
        _say(ctx, course, at, now)
    with st.container(key="cf-figure"):
        show_figure(ctx, now)
    with st.container(key="cf-ask"):
        _ask(ctx, course, at, now)


def _refused(ctx: Context, course: Course, at: tuple[int, int], why: str) -> None:
    """A step the chosen model cannot answer: the reason, and the way on."""
    with st.container(key="cf-say"):
        st.subheader(_text(ctx, course, at, "title", {}), anchor=False)
        st.info(course.text(ctx.lang, why), icon=":material/info:")
        _navigation(ctx, course, at)


@st.cache_resource(show_spinner=False)
def _sheet() -> str:
    return web.style(*(f"desk/{name}" for name in CSS))


# ---------------------------------------------------------------- the place and the subject


def step_from_link(ctx: Context, course: Course) -> tuple[int, int]:
    """Lesson and step from the link, counted from 1 and clipped to what exists."""
    lesson = ctx.get("lesson", 1, range(1, len(course.lessons) + 1))
    return lesson, ctx.get("step", 1, range(1, len(course.lessons[lesson - 1].steps) + 1))


def open_step(ctx: Context, lesson: int, step: int) -> None:
    """Open a step, from a callback or before the page is drawn."""
    ctx.put(lesson=lesson, step=step)


def turn(ctx: Context, by: int) -> bool:
    """Open the step after this one (1) or before it (-1), if there is one; returns whether there is."""
    if ctx.get("room", ROOMS[0], ROOMS) != "lessons":
        return False
    try:
        course = load_lessons()
    except ValueError:
        return False  # the page itself says what is wrong with the lessons
    to = _beside(course, step_from_link(ctx, course), by)
    if to:
        open_step(ctx, *to)
    return to is not None


def photo_key(ctx: Context) -> str:
    """A cache key of photo, model and size."""
    return keys.on_photo(ctx.settings, ctx.model, ctx.photo)


def scene(ctx: Context) -> Scene:
    """The subject of the questions: the chosen model on the chosen photo."""
    return Scene(
        ctx.model, ctx.settings.size, ctx.trace, ctx.labels, lambda: ctx.prepared.tensor,
        lambda key, make: cache.cached_with_trace(ctx.trace(), key, make), labelled, ctx.lang,
    )  # fmt: skip


def step_state(ctx: Context, course: Course, at: tuple[int, int]) -> StepState:
    """The step's current state: its question, newly made, and what was picked or answered."""
    step, about, about_key, key = course.step(*at), scene(ctx), photo_key(ctx), answer_key(ctx, at)
    tries: dict[str, int] = st.session_state.setdefault(TRY, {})
    id = f"{at[0]}.{at[1]}.{tries.get(key, 0)}"
    given = _given()
    question = QUESTION_KINDS[step.ask].make(about, step.state, step.after)
    picked = given.get(key) or accepted(question, _picked(id, about_key))
    words = {name: ctx.t(f"learn.map_{name}") for name in ("label", "on", "off")}  # the browser fills them in
    heard = partial(keep_picks, about_key)
    return StepState(step, about, question, picked, key not in given, id, about_key, words, heard)


def answer_key(ctx: Context, at: tuple[int, int]) -> str:
    """A step's key among the answers; another photo or model asks the question anew."""
    return keys.joined(f"{at[0]}.{at[1]}", photo_key(ctx))


def _given() -> dict[str, tuple[str, ...]]:
    """The answers checked in this session."""
    return st.session_state.setdefault(GIVEN, {})


def _picked(id: str, about_key: str) -> tuple[str, ...]:
    kept = st.session_state.get(PICKED)
    return tuple(kept[2]) if kept and kept[:2] == (id, about_key) else ()


def keep_picks(about_key: str, id: str, picked: list[str]) -> None:
    """Keep the reader's picks until the answer is checked."""
    st.session_state[PICKED] = (id, about_key, picked[:256])


def check_answer(key: str, name: str, id: str, about_key: str, question: Question) -> None:
    """Close the question with the current picks: the answer is shown, and counts if it is the first.

    A button calls this with the arguments it had when the page was last drawn. The question does not depend
    on the picks, but the picks may be newer than that page, so they are read here.
    """
    answer = accepted(question, _picked(id, about_key))
    if answer and key not in _given():
        _given()[key] = answer
        progress.record(name, grade(question, answer).right)


def ask_again(key: str) -> None:
    """Ask the same question once more; the first answer keeps counting."""
    st.session_state[GIVEN].pop(key, None)
    st.session_state[TRY][key] = st.session_state[TRY].get(key, 0) + 1


# ---------------------------------------------------------------- the top row


def _top(ctx: Context, course: Course, at: tuple[int, int]) -> None:
    """The lesson, the step and the progress."""
    t, lesson = ctx.t, at[0]
    with st.container(key="cf-lessons-top", horizontal=True, vertical_alignment="bottom", gap="small"):
        st.session_state["learn.lesson"] = lesson
        st.selectbox(
            t("learn.lesson"), range(1, len(course.lessons) + 1), key="learn.lesson", width=340,
            format_func=lambda n: f"{n}  {course.text(ctx.lang, course.lessons[n - 1].id + '.title')}",
            on_change=lambda: open_step(ctx, st.session_state["learn.lesson"], 1),
        )  # fmt: skip
        st.session_state["learn.step"] = at[1]
        st.segmented_control(
            t("learn.step"), range(1, len(course.lessons[lesson - 1].steps) + 1), key="learn.step",
            format_func=lambda n: f"{n}{_sign(course, lesson, n)}", required=True,
            on_change=lambda: open_step(ctx, lesson, st.session_state["learn.step"]),
        )  # fmt: skip
        with st.popover(_score(ctx, course), icon=":material/trending_up:"):
            _progress(ctx, course)
        progress.desk(course, f"{at[0]}.{at[1]}", answer_key(ctx, at) not in _given())


def _sign(course: Course, lesson: int, step: int) -> str:
    first = progress.answers().get(f"{course.lessons[lesson - 1].id}.{course.step(lesson, step).id}")
    return "" if first is None else " ✓" if first else " ✕"


def _score(ctx: Context, course: Course) -> str:
    mine = progress.answers()
    return ctx.t("learn.score", right=sum(mine.values()), all=len(course.places()))


def _progress(ctx: Context, course: Course) -> None:
    """How many answers are right, where they are stored, and buttons to download or reset them."""
    mine = progress.answers()
    st.markdown(ctx.t("learn.progress", done=len(mine), right=sum(mine.values()), all=len(course.places())))
    st.caption(ctx.t("learn.kept"))
    st.caption(ctx.t("learn.link"))
    st.download_button(
        ctx.t("learn.export"), progress.table(course, ctx.lang), "cfviz-lessons.csv", "text/csv",
        icon=":material/download:", on_click="ignore", key="learn.export",
    )  # fmt: skip

    def reset() -> None:
        progress.reset()
        st.session_state[GIVEN] = {}

    st.button(ctx.t("learn.reset"), icon=":material/restart_alt:", key="learn.reset", on_click=reset)


def _beside(course: Course, at: tuple[int, int], by: int) -> tuple[int, int] | None:
    places = course.places()
    n = places.index(at) + by
    return places[n] if 0 <= n < len(places) else None


# ---------------------------------------------------------------- the step


def _text(ctx: Context, course: Course, at: tuple[int, int], part: str, fields: Any) -> str:
    key = f"{course.lessons[at[0] - 1].id}.{course.step(*at).id}.{part}"
    return course.text(ctx.lang, key, **fields)


def _say(ctx: Context, course: Course, at: tuple[int, int], now: StepState) -> None:
    """The step's text, formula, terms and question."""
    step, fields = now.step, now.question.fields
    st.subheader(_text(ctx, course, at, "title", {}), anchor=False)
    st.markdown(_text(ctx, course, at, "say", fields))
    if step.formula:
        st.latex(step.formula)
    show_terms(ctx, course, step)
    st.markdown(f"**{_text(ctx, course, at, 'ask', fields)}**")


def _ask(ctx: Context, course: Course, at: tuple[int, int], now: StepState) -> None:
    """The choices, the verdict, and the way on."""
    t, key = ctx.t, answer_key(ctx, at)
    name = f"{course.lessons[at[0] - 1].id}.{now.step.id}"
    if not now.open:
        names = {o.code: _label(ctx, course, o) for o in now.question.options}
        if names:
            given = course.text(ctx.lang, "list.comma").join(names.get(code, code) for code in now.picked)
            st.markdown(ctx.t("learn.given", answer=given))
    elif now.question.options:
        _choose(ctx, course, at, now)
        if now.step.ask in IN_FIGURE:
            st.caption(t("learn.or_click"))
    else:
        st.caption(_picks(ctx, now))
    if now.open:
        st.button(
            t("learn.check"), type="primary", key="learn.check", disabled=not now.picked,
            on_click=check_answer, args=(key, name, now.id, now.source, now.question), width="stretch",
        )  # fmt: skip
    else:
        _verdict(ctx, course, at, now, grade(now.question, now.picked))
    _navigation(ctx, course, at, told=not now.open)
    if not _beside(course, at, 1) and not now.open:
        st.markdown(t("learn.done", right=sum(progress.answers().values()), all=len(course.places())))
    page, query = sandbox(now.step, now.scene, now.open)
    here = {"back": f"{at[0]}.{at[1]}"}
    st.page_link(
        frame.script(page), label=t("learn.sandbox", page=t(f"common.page_{page}")), icon=":material/tune:",
        query_params=ctx.settings.query() | query | here,
    )  # fmt: skip


def _navigation(ctx: Context, course: Course, at: tuple[int, int], told: bool = False) -> None:
    """Buttons to the previous and next steps and, once the answer is shown, to repeat the question."""
    t, before, after = ctx.t, _beside(course, at, -1), _beside(course, at, 1)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="cf-lesson-ways"):
        if before:
            st.button(t("learn.back"), key="learn.back", icon=":material/arrow_back:", on_click=open_step,
                      args=(ctx, *before))  # fmt: skip
        if after:
            st.button(
                t("learn.next" if after[0] == at[0] else "learn.next_lesson"), key="learn.next",
                on_click=open_step, icon=":material/arrow_forward:", icon_position="right",
                type="primary" if told else "secondary", args=(ctx, *after),
            )  # fmt: skip
        if told:
            st.button(t("learn.again"), key="learn.again", type="tertiary", icon=":material/replay:",
                      on_click=ask_again, args=(answer_key(ctx, at),))  # fmt: skip


def _picks(ctx: Context, now: StepState) -> str:
    if not now.picked:
        return ctx.t("learn.pick_one" if now.question.kind == "token" else "learn.pick_many")
    shown = (one.split(".") for one in sorted(now.picked, key=lambda one: [int(n) for n in one.split(".")]))
    return ctx.t("learn.picked", n=len(now.picked), list=", ".join(f"({r}, {c})" for r, c in shown))


def _choose(ctx: Context, course: Course, at: tuple[int, int], now: StepState) -> None:
    """The options to choose from; a choice made in the figure is selected here too."""
    question = now.question
    codes, names = (
        [o.code for o in question.options],
        {o.code: _label(ctx, course, o) for o in question.options},
    )
    key = f"learn.choice.{now.id}"
    label = _text(ctx, course, at, "ask", question.fields)

    def chosen() -> None:
        value = st.session_state[key]
        keep_picks(now.source, now.id, value if isinstance(value, list) else [value] if value else [])

    shared: dict[str, Any] = {
        "options": codes, "format_func": lambda code: names[code], "key": key, "on_change": chosen,
        "label_visibility": "collapsed",
    }  # fmt: skip
    if question.kind == "many":
        st.session_state[key] = [code for code in now.picked if code in codes]
        st.pills(label, selection_mode="multi", **shared)
        return
    st.session_state[key] = now.picked[0] if now.picked and now.picked[0] in codes else None
    st.radio(label, horizontal=True, **shared)


def _label(ctx: Context, course: Course, option: Option) -> str:
    return course.text(ctx.lang, option.key, **option.fields) if option.key else str(option.fields["text"])


def _verdict(ctx: Context, course: Course, at: tuple[int, int], now: StepState, found: Grade) -> None:
    """Right or wrong, and why, with the numbers of this photo and model."""
    said = _text(ctx, course, at, "right" if found.right else "wrong", found.fields)
    if found.reason:
        why = course.text(ctx.lang, found.reason[0], **found.reason[1])
        said = why if now.question.kind == "token" else ctx.t("learn.and_why", said=said, why=why)
    if found.right:
        st.success(said, icon=":material/check:")
    else:
        st.warning(said, icon=":material/lightbulb:")
