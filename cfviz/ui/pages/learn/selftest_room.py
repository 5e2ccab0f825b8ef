"""The room of the self-test: one question at a time and no way back, then before and after compared."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import streamlit as st

import cfviz
from cfviz.lessons import selftest
from cfviz.lessons.course import Course
from cfviz.lessons.drawing import bias_html, map_svg, picture
from cfviz.lessons.selftest import COLUMNS, ORDERS, PHASES, TOPICS, UNSURE, Item, Sitting
from cfviz.lessons.selftest_texts import bias_said, by_guessing, map_said, option_name, taught_at, text
from cfviz.models.crossformer import CrossFormer, recorded
from cfviz.ui.compute import models
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session.state import AS_TRAINED, DEFAULT_MODEL
from cfviz.ui.shell import frame
from cfviz.ui.widgets.takeaway import to_csv
from cfviz.words import signed, together

from . import progress


def bundled_model(ctx: Context) -> CrossFormer:
    """The model of the questions: always the bundled one, so that everybody is asked the same."""
    settings = replace(ctx.settings, model=DEFAULT_MODEL, dtype="float32", lda=AS_TRAINED)
    try:
        return models.model(settings)
    except (ValueError, FileNotFoundError) as error:
        ctx.stop(error)


@cached(32)
def _items(name: str, form: str, edition: str, _model: CrossFormer) -> list[Item]:
    return selftest.items(name, form, _model)


def set_name(ctx: Context) -> str:
    """The set of questions that the link names."""
    return ctx.get("set", "1", lambda text: selftest.NAME.fullmatch(text) is not None)


def show_selftest(ctx: Context, course: Course) -> None:
    """Draw the room."""
    model = bundled_model(ctx)
    ctx.computed()
    _body(ctx, course, model)


@st.fragment
def _body(ctx: Context, course: Course, model: CrossFormer) -> None:
    t, name = ctx.t, set_name(ctx)
    with st.container(key="cf-desk-quiet"):
        progress.desk(course, "test", True)
    if not progress.known():
        st.caption(t("learn.wait"))
        return
    sittings = progress.tests().get(name, {})
    stale = [one for one in sittings.values() if one.edition != selftest.edition(model)]
    asked = {phase: _items(name, one.form, selftest.edition(model), model) for phase, one in sittings.items()}
    running = next((phase for phase, one in sittings.items() if not one.done), None)
    if stale:
        st.warning(t("selftest.stale", name=name), icon=":material/history:")
        _forget(ctx, name)
    elif running:
        _question(ctx, name, running, sittings[running], asked[running])
    else:
        _overview(ctx, course, model, name, sittings, asked)


# ---------------------------------------------------------------- before, between and after


def _overview(
    ctx: Context, course: Course, model: CrossFormer, name: str, sittings: dict[str, Sitting],
    asked: dict[str, list[Item]],
) -> None:  # fmt: skip
    t, book = ctx.t, progress.tests()
    st.markdown(t("selftest.about"))
    full = name not in book and len(book) >= selftest.MAX_SETS
    for phase, place in zip(PHASES, st.columns(2), strict=True):
        with place, st.container(border=True, height="stretch"):
            st.subheader(t(f"selftest.{phase}"), anchor=False)
            if phase in sittings:
                right = sum(sittings[phase].marks(asked[phase]))
                st.markdown(t("selftest.score", right=right, all=len(TOPICS)))
                st.caption(t("selftest.taken", when=_time(sittings[phase].begun)))
            else:
                missed = phase == "before" and "after" in sittings
                st.markdown(t("selftest.missed" if missed else f"selftest.{phase}_is"))
                st.button(
                    t("selftest.begin"), key=f"selftest.begin.{phase}", disabled=missed or full,
                    type="primary" if phase == "before" or "before" in sittings else "secondary",
                    on_click=_begin, args=(ctx, name, phase, selftest.edition(model)),
                )  # fmt: skip
    if full:
        st.info(t("selftest.full", most=selftest.MAX_SETS), icon=":material/info:")
    if sittings:
        _results(ctx, course, sittings, asked)
        _take(ctx, model, name, sittings, asked)
    with st.expander(t("selftest.honest"), icon=":material/balance:"):
        guess = by_guessing(_items(name, "A", selftest.edition(model), model))
        st.markdown(t("selftest.honest_is", name=name, guess=guess))
        if sittings:
            _forget(ctx, name)


def _begin(ctx: Context, name: str, phase: str, edition: str) -> None:
    sittings = progress.tests().setdefault(name, {})
    form = selftest.form_of(phase, ctx.get("order", "ab", ORDERS))
    if "before" in sittings and phase == "after":  # the other form, whatever the link says by now
        form = next(one for one in selftest.FORMS if one != sittings["before"].form)
    sittings.setdefault(phase, Sitting(form, edition, int(time.time())))


def _forget(ctx: Context, name: str) -> None:
    st.button(
        ctx.t("selftest.forget"), key="selftest.forget", icon=":material/delete:",
        on_click=progress.forget_test, args=(name,),
    )  # fmt: skip


# ---------------------------------------------------------------- one question


def _question(ctx: Context, name: str, phase: str, sitting: Sitting, asked: Sequence[Item]) -> None:
    t, n = ctx.t, len(sitting.answers)
    item = asked[n]
    st.progress(
        n / len(asked), text=t("selftest.number", phase=t(f"selftest.{phase}"), n=n + 1, all=len(asked))
    )
    ask = text(t, "ask", item)
    st.markdown(ask)
    with st.container(key="cf-test"):
        with st.container(key="cf-test-picture"):
            _picture(ctx, item)
        with st.container(key="cf-test-ask"):
            key = f"selftest.{name}.{phase}.{n}"
            codes = [option.code for option in item.question.options] + [UNSURE]
            chosen = st.radio(
                ask, codes, index=None, key=key, label_visibility="collapsed",
                format_func=lambda code: option_name(ctx.t, item, code),
            )  # fmt: skip
            st.button(
                t("selftest.answer"), key=f"{key}.answer", type="primary", disabled=chosen is None,
                on_click=_answer, args=(name, phase, n, key),
            )  # fmt: skip
            st.caption(t("selftest.final"))


def _answer(name: str, phase: str, n: int, key: str) -> None:
    """Keep an answer; a second click on the same button finds its question answered and changes nothing."""
    code, sitting = st.session_state.get(key), progress.tests().get(name, {}).get(phase)
    if code and sitting and len(sitting.answers) == n:
        progress.tests()[name][phase] = sitting.answered(code, int(time.time()))


def _picture(ctx: Context, item: Item) -> None:
    t = ctx.t
    if item.side:
        st.html(picture(map_svg(ctx.theme, item.side, item.query, item.letters.items()), map_said(t, item)))
    if item.surfaces:
        said_of = {letter: bias_said(t, letter, one) for letter, one in item.surfaces.items()}
        st.html(bias_html(ctx.theme, item.surfaces, said_of))
        st.caption(t("selftest.bias_scale"))


# ---------------------------------------------------------------- results


def _results(
    ctx: Context, course: Course, sittings: dict[str, Sitting], asked: dict[str, list[Item]]
) -> None:
    """Before and after by topic; right answers only once both are done."""
    t = ctx.t
    marks = {phase: one.marks(asked[phase]) for phase, one in sittings.items()}
    if len(marks) == len(PHASES):
        before, after = (sum(marks[phase]) for phase in PHASES)
        st.markdown(
            t("selftest.change", before=before, after=after, all=len(TOPICS), by=signed(after - before, 0))
        )
    head = [t("selftest.topic"), *(t(f"selftest.{phase}") for phase in marks)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for n, topic in enumerate(TOPICS):
        cells = [_mark(ctx, sittings[phase], n, marks[phase][n]) for phase in marks]
        lines.append(f"| {t(f'selftest.topic_{topic}')} | " + " | ".join(cells) + " |")
    st.markdown("\n".join(lines))
    if "after" in marks:
        for phase in marks:
            with st.expander(
                t("selftest.review", phase=t(f"selftest.{phase}")), icon=":material/fact_check:"
            ):
                for item, (code, _) in zip(asked[phase], sittings[phase].answers, strict=True):
                    _review(ctx, item, code)
    missed = [topic for n, topic in enumerate(TOPICS) if not list(marks.values())[-1][n]]
    _where_taught(ctx, course, missed)


def _mark(ctx: Context, sitting: Sitting, n: int, right: bool) -> str:
    unsure = sitting.answers[n][0] == UNSURE
    return ctx.t(f"selftest.mark_{'right' if right else 'unsure' if unsure else 'wrong'}")


def _review(ctx: Context, item: Item, code: str) -> None:
    good = next(iter(item.question.good))
    st.markdown(f"**{ctx.t(f'selftest.topic_{item.topic}')}.** {text(ctx.t, 'ask', item)}")
    if item.side or item.surfaces:
        _picture(ctx, item)
    answer, right = option_name(ctx.t, item, code), option_name(ctx.t, item, good)
    answers = ctx.t("selftest.answers", answer=answer, right=right)
    st.markdown(together(answers, text(ctx.t, "why", item)))


def _where_taught(ctx: Context, course: Course, topics: Sequence[str]) -> None:
    """Links to the steps that teach these topics."""
    places = taught_at(course)
    wanted = dict.fromkeys(places[topic] for topic in topics if topic in places)
    if not wanted:
        return
    st.markdown(ctx.t("selftest.where"))
    with st.container(horizontal=True, gap="small", key="cf-test-where"):
        for i, j in wanted:
            title = course.text(ctx.lang, f"{course.lessons[i - 1].id}.{course.step(i, j).id}.title")
            st.page_link(
                frame.script("learn"), label=f"{i}.{j} {title}", icon=":material/school:",
                query_params=ctx.settings.query() | {"room": "lessons", "lesson": str(i), "step": str(j)},
            )  # fmt: skip


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _exact(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def records(
    ctx: Context, model: CrossFormer, name: str, sittings: dict[str, Sitting], asked: dict[str, list[Item]]
) -> list[dict[str, Any]]:
    """One record per answer, with the names in `COLUMNS`; right answers are given away only at the end."""
    rows, told = [], recorded(model)
    for phase, sitting in sittings.items():
        last = sitting.begun
        marked = zip(asked[phase], sitting.answers, sitting.marks(asked[phase]), strict=False)
        for n, (item, (code, at), right) in enumerate(marked, 1):
            good = option_name(ctx.t, item, next(iter(item.question.good)))
            rows.append({
                "set": name, "phase": phase, "form": sitting.form, "number": n, "topic": item.topic,
                "edition": sitting.edition, "question": text(ctx.t, "ask", item),
                "options": [str(option.fields["text"]) for option in item.question.options],
                "answer": "" if code == UNSURE else option_name(ctx.t, item, code), "right": int(right),
                "unsure": int(code == UNSURE), "begun": _exact(sitting.begun), "answered": _exact(at),
                "seconds": at - last, "right_answer": good if "after" in sittings else "",
                "model": DEFAULT_MODEL, "weights_sha256": told.sha256 or "", "cfviz": cfviz.__version__,
                "language": ctx.lang,
            })  # fmt: skip
            last = at
    return rows


def _take(
    ctx: Context, model: CrossFormer, name: str, sittings: dict[str, Sitting], asked: dict[str, list[Item]]
) -> None:
    rows = records(ctx, model, name, sittings, asked)
    table = [[" / ".join(x) if isinstance(x, list) else x for x in row.values()] for row in rows]
    data = json.dumps({"kind": "cfviz self-test", "answers": rows}, ensure_ascii=False, indent=1)
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            ctx.t("selftest.csv"), to_csv(COLUMNS, table), f"cfviz-selftest-{name}.csv", "text/csv",
            icon=":material/table_view:", on_click="ignore", key="selftest.csv",
        )  # fmt: skip
        st.download_button(
            ctx.t("selftest.json"), data.encode(), f"cfviz-selftest-{name}.json", "application/json",
            icon=":material/data_object:", on_click="ignore", key="selftest.json",
        )  # fmt: skip
    st.caption(ctx.t("selftest.inside"))
