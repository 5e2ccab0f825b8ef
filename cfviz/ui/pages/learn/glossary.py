"""The lessons' terms, with the paper's sections: a card for each one in a step, all of them below."""

from __future__ import annotations

import streamlit as st

from cfviz.lessons.course import Course, Step
from cfviz.models.variants import PAPERS
from cfviz.ui.context import Context

PAPER = PAPERS[0]


def entry(ctx: Context, course: Course, term: str) -> str:
    """A term's meaning and where the paper explains it, as Markdown."""
    section = course.terms[term]
    where = ctx.t("learn.section", section=section, url=PAPER) if section else ctx.t("learn.no_section")
    return f"{course.text(ctx.lang, f'term.{term}.is')}\n\n{where}"


def show_terms(ctx: Context, course: Course, step: Step) -> None:
    """The step's terms as quiet buttons, each of which opens the glossary card."""
    if not step.terms:
        return
    with st.container(horizontal=True, gap="small", key="cf-terms"):
        for n, term in enumerate(step.terms):
            with st.popover(course.text(ctx.lang, f"term.{term}"), type="tertiary", key=f"learn.term.{n}"):
                st.markdown(entry(ctx, course, term))


def show_glossary(ctx: Context, course: Course) -> None:
    """All terms, below the lesson."""
    with st.container(key="cf-glossary"), st.expander(ctx.t("learn.glossary"), icon=":material/menu_book:"):
        for term in course.terms:
            st.markdown(f"**{course.text(ctx.lang, f'term.{term}')}**  \n{entry(ctx, course, term)}")
