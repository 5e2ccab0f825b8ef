"""The teacher's room: goals, times, links with the class's photo, worksheets to print, a test for the class.

A link can name a photo of the gallery. It cannot carry a photo of one's own, because the server keeps none:
such a link names the file by the digest of its bytes, and whoever opens it is asked for that file.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import streamlit as st

from cfviz.data.samples import sample
from cfviz.lessons import selftest
from cfviz.lessons.course import Course
from cfviz.lessons.question import Scene
from cfviz.ui.compute import models
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.session.plain import plain
from cfviz.ui.session.state import DEFAULT_PHOTO, OWN
from cfviz.ui.widgets.photos import add_photos, photo_title
from cfviz.words import LANGUAGES, short_name, translator

from .worksheet import Sheet, worksheet

BRING = "bring"  # parameter of a link: the reader's own photo that it is meant for
_BROUGHT = re.compile(re.escape(OWN) + "[0-9a-f]{10}")


def address(ctx: Context, lang: str | None = None, **more: object) -> str:
    """A link to the lessons with the settings of this page that a link can carry.

    Args:
        ctx: The page.
        lang: The language, if other than the page's.
        more: Further parameters: a lesson and a step, or a room.
    """
    query = ctx.settings.query()
    if query["photo"].startswith(OWN):
        query |= {"photo": DEFAULT_PHOTO, BRING: query["photo"]}
        query.pop("centre", None)
    if query["model"].startswith(OWN):
        query.pop("model")
    query |= {"lang": lang or ctx.lang} | {name: str(value) for name, value in more.items()}
    page = (st.context.url or "learn").partition("?")[0]
    return f"{page}?{urlencode(query)}"


def show_teacher(ctx: Context, course: Course, scene: Scene, source: str) -> None:
    """Draw the room.

    Args:
        ctx: The page.
        course: All lessons.
        scene: The chosen model on the chosen photo, for the worksheets.
        source: A cache key of photo, model and size.
    """
    t, lessons = ctx.t, course.lessons
    minutes = sum(lesson.minutes for lesson in lessons)
    steps = len(course.places())
    st.markdown(t("teacher.about", lessons=len(lessons), steps=steps, minutes=minutes))
    rows = [f"| {t('teacher.lesson')} | {t('teacher.goal')} |", "| --- | --- |"]
    for n, lesson in enumerate(lessons, 1):
        title, goal = (course.text(ctx.lang, f"{lesson.id}.{part}") for part in ("title", "goal"))
        rows.append(f"| {n} {title}{t('teacher.minutes', n=lesson.minutes)} | {goal} |")
    st.markdown("\n".join(rows))
    st.subheader(t("teacher.prepare"), anchor=False)
    _photo(ctx)
    with st.container(horizontal=True, gap="medium"):
        n = st.segmented_control(
            t("learn.lesson"), range(1, len(lessons) + 1), key="teacher.lesson", default=1, required=True
        )
        lang = st.segmented_control(
            t("teacher.lang"), list(LANGUAGES), key="teacher.lang", default=ctx.lang, required=True,
            format_func=lambda code: LANGUAGES[code],
        )  # fmt: skip
    _lesson(ctx, course, n or 1, lang or ctx.lang, scene, source)
    _measure(ctx, lang or ctx.lang)


def _photo(ctx: Context) -> None:
    """What the links will say about the photo and the model."""
    t, own = ctx.t, ctx.settings.photo.startswith(OWN)
    photo = plain(photo_title(t, ctx.settings.photo))
    st.markdown(t("teacher.photo_own" if own else "teacher.photo_gallery", photo=photo))
    if ctx.settings.model.startswith(OWN):
        st.markdown(t("teacher.model_own"))


def _lesson(ctx: Context, course: Course, n: int, lang: str, scene: Scene, source: str) -> None:
    """The links to a lesson's steps, the worksheet and the key."""
    t, lesson = ctx.t, course.lessons[n - 1]
    links = tuple(address(ctx, lang, lesson=n, step=step) for step in range(1, len(lesson.steps) + 1))
    titles = [course.text(lang, f"{lesson.id}.{step.id}.title") for step in lesson.steps]
    lines = [f"{n}.{k} {name}\n{link}" for k, (name, link) in enumerate(zip(titles, links, strict=True), 1)]
    st.code("\n".join(lines), language=None, wrap_lines=True)
    own = ctx.settings.photo.startswith(OWN)
    words = translator(lang)
    photo = photo_title(words, ctx.settings.photo)
    entry = None if own else sample(ctx.settings.photo)
    credit = words("common.credit", author=entry.author, licence=entry.license) if entry else ""
    sheet = Sheet(course, n, lang, scene, photo, credit, models.title(ctx.settings.model), links)
    with st.spinner(t("learn.wait")), st.container(horizontal=True, gap="small"):
        for kind, icon in (("sheet", "description"), ("key", "fact_check")):
            st.download_button(
                t(f"teacher.{kind}"), _printed(source, n, lang, photo, links, kind == "key", sheet),
                f"cfviz-{lesson.id}-{kind}-{lang}.html", "text/html", icon=f":material/{icon}:",
                on_click="ignore", key=f"teacher.{kind}.{n}",
            )  # fmt: skip


@cached(20, 8 * 2**20)
def _printed(
    source: str, n: int, lang: str, photo: str, links: tuple[str, ...], key: bool, _sheet: Sheet
) -> bytes:
    return worksheet(_sheet, key)


def _measure(ctx: Context, lang: str) -> None:
    """Links to a self-test of the class's own."""
    t = ctx.t
    with st.container(border=True):
        st.subheader(t("teacher.test"), anchor=False)
        st.markdown(t("teacher.test_is"))
        name = st.text_input(t("teacher.set"), "class-1", max_chars=24, key="teacher.set", width=260)
        if not selftest.NAME.fullmatch(name):
            st.warning(t("teacher.set_wrong"), icon=":material/info:")
            return
        links = [address(ctx, lang, room="test", set=name, order=order) for order in selftest.ORDERS]
        said = [
            f"{t(f'teacher.half_{order}')}\n{link}"
            for order, link in zip(selftest.ORDERS, links, strict=True)
        ]
        st.code("\n".join(said), language=None, wrap_lines=True)


# ---------------------------------------------------------------- at the reader's side


def ask_for_photo(ctx: Context) -> None:
    """Ask for the class's photo if the link was made for one that this session does not have."""
    wanted = ctx.get(BRING, "", lambda text: _BROUGHT.fullmatch(text) is not None)
    if not wanted or ctx.settings.photo == wanted:
        return
    with ctx.banner:
        if wanted in photos.own():
            st.info(ctx.t("teacher.have"), icon=":material/photo:")
        elif ctx.settings.photo.startswith(OWN):
            name = plain(short_name(photo_title(ctx.t, ctx.settings.photo)))
            st.warning(ctx.t("teacher.another", photo=name), icon=":material/photo:")
        else:
            st.info(ctx.t("teacher.bring"), icon=":material/photo:")
        if wanted not in photos.own():
            with st.expander(ctx.t("teacher.bring_here"), expanded=True, icon=":material/upload:"):
                add_photos(ctx, "bring")
