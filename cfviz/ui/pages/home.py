"""The home page's figure: the whole model, drawn from the reader's own photo and model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cfviz import point_names
from cfviz.figures.plots.architecture import readable
from cfviz.framing import size_text
from cfviz.geometry import Grouping
from cfviz.measured import coverage, stage_pictures, whole_model
from cfviz.models.probes.cost import cost
from cfviz.models.variants import PAPERS
from cfviz.trace import Trace
from cfviz.ui.compute import models
from cfviz.ui.compute.cache import cached_with_trace
from cfviz.ui.context import Context
from cfviz.ui.session import forms
from cfviz.ui.session.plain import plain
from cfviz.ui.shell import frame
from cfviz.ui.widgets.figure import HOME, committed
from cfviz.ui.widgets.photos import photo_credit, photo_title
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_answer

NAME = "whole"
LINKED = ("grouping", "attention", "embedding", "position_bias", "predict")


def show_model(ctx: Context) -> None:
    """Draw the figure; a click on one of its parts opens the page that explains it, at the same place."""
    with st.container(key="cf-start", horizontal=True, vertical_alignment="center", gap="medium"):
        st.page_link(
            frame.script("learn"), label=ctx.t("home.lessons"), icon=":material/school:",
            query_params=ctx.settings.query(), width="content",
        )  # fmt: skip
        st.markdown(ctx.t("home.papers", first=PAPERS[0], second=PAPERS[1]), width="content")
    trace = ctx.trace(*point_names.stage_outputs(ctx.model.depths))
    HOME.show(_data(ctx, trace), name=NAME)
    if go := committed(NAME, forms.WHOLE, "go"):
        _follow(ctx, go)
    warn_without_answer(ctx)
    _below(ctx, trace)


def _follow(ctx: Context, go: dict[str, Any]) -> None:
    """Open the requested page at the selected token."""
    page = go["page"]
    if page not in LINKED or not frame.exists(page):
        return
    query = dict(ctx.settings.query())
    stages = ctx.model.groupings(*ctx.settings.sides)
    if page == "attention" and go["stage"] < len(stages) and go["block"] < len(stages[go["stage"]]):
        group = stages[go["stage"]][go["block"]]
        counted = {"stage": str(go["stage"] + 1), "block": str(go["block"] + 1)}  # links count from 1
        query |= counted | _token(go, group)
    if page == "embedding" and go["stage"] < len(stages):
        query |= {"cel": str(go["stage"] + 1)} | _token(go, stages[go["stage"]][0])
    st.switch_page(frame.script(page), query_params=query)


def _token(go: dict[str, Any], group: Grouping) -> dict[str, str]:
    """The selected token's row and column in a link."""
    row, col = min(int(go["y"] * group.H), group.H - 1), min(int(go["x"] * group.W), group.W - 1)
    return {"row": str(row), "col": str(col)}


def _below(ctx: Context, trace: Trace) -> None:
    """The sentence on the small pictures, the credit and the downloads."""
    costs = cost(ctx.model, *trace.size)
    st.caption(
        ctx.t(
            "home.summary",
            model=plain(models.title(ctx.settings.model)),
            size=size_text(ctx.settings.size),
            params=readable(costs["total"].params),
            macs=readable(costs["total"].macs),
            covers=coverage(trace.groupings, ctx.t),
        )
        + "\n\n"
        + photo_credit(ctx.t, ctx.settings.photo)
    )
    rows = [(name, part.params, part.macs) for name, part in costs.items()]
    table = (("part", "parameters", "multiply_adds"), rows)
    take_away(ctx, "model", code=_code(ctx), table=table, live="whole")


def _data(ctx: Context, trace: Trace) -> dict[str, Any]:
    """Everything the figure draws; equal inputs give equal bytes, so a rerun sends nothing."""
    return whole_model(
        trace, ctx.model, ctx.lang,
        title=photo_title(ctx.t, ctx.settings.photo),
        labels=ctx.labels,
        pictures=pictures(trace, ctx.model.depths),
        costs=cost(ctx.model, *trace.size),
        links={page: frame.exists(page) for page in LINKED},
        theme=ctx.theme,
    )  # fmt: skip


def pictures(trace: Trace, depths: Sequence[int]) -> tuple[str, ...]:
    """Each stage's picture, then the crop, as data URIs; kept with the trace."""
    return cached_with_trace(trace, "pictures", lambda: stage_pictures(trace, depths))


def _code(ctx: Context) -> str:
    height, width = ctx.settings.sides
    return f"""
import cfviz
from cfviz.models.probes.cost import cost

model = {models.model_code(ctx.model)}
for name, part in cost(model, {height}, {width}).items():
    print(f"{{name:8}} {{part.params:>12,}} parameters {{part.macs:>14,}} multiply-adds")
print(model.groupings({height}, {width}))  # which tokens attend to which, block by block
"""
