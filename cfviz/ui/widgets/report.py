"""The button that downloads the whole session as one HTML file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from cfviz import report
from cfviz.data.samples import sample
from cfviz.measured.survey import Survey
from cfviz.report import others
from cfviz.run import inspect
from cfviz.trace import Trace
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import state


def origin(ctx: Context) -> report.Origin:
    """The names of the chosen photo and weights outside this session."""
    own = ctx.settings.photo.startswith(state.OWN)
    path = ctx.photo.name if own else sample(ctx.settings.photo).typed
    return report.Origin(
        path, None if own else ctx.settings.photo, models.weights_argument(ctx.model), _address()
    )


def show_other_report(ctx: Context, trace: Trace, model: Any, weights: str | None, at: others.Place) -> None:
    """Offer a report on a model of timm and the chosen photo; it is made on a click.

    Args:
        ctx: The page.
        trace: Its attention on the photo.
        model: The model.
        weights: The value for `--weights`; None for timm's.
        at: The token that is looked at: stage, block, row, column.
    """
    where, lang = replace(origin(ctx), weights=weights), ctx.lang
    st.download_button(
        ctx.t("report.save"), lambda: others.html(trace, model, where, lang, at=at).encode(),
        "cfviz-report-timm.html", "text/html", icon=":material/description:", on_click="ignore",
        help=ctx.t("report.save_help"), key="report.save.timm", type="tertiary",
    )  # fmt: skip


def _address() -> str:
    """The address at which the reader has the app open."""
    parts = urlsplit(st.context.url or report.ADDRESS)
    return f"{parts.scheme}://{parts.netloc}"


def show_report_button(ctx: Context, survey: Survey | None = None) -> None:
    """Offer a report on the chosen model and photo; it is made on a click.

    Args:
        ctx: The page.
        survey: What many photos show of the chosen weights, to be part of it.
    """
    photo, net, s, where = ctx.photo, ctx.model, ctx.settings, origin(ctx)

    def make() -> bytes:
        trace = inspect(photo, net, s.size, report.WATCH, dtype=s.dtype, mode=s.mode, centre=s.centre)
        return report.html(trace, net, where, s.lang, survey=survey).encode()

    name = "save" if survey is None else "save_survey"
    st.download_button(
        ctx.t(f"report.{name}"), make, "cfviz-report.html", "text/html", icon=":material/description:",
        on_click="ignore", help=ctx.t(f"report.{name}_help"), key=f"report.{name}",
        type="secondary" if survey is None else "tertiary",
    )  # fmt: skip
