"""The home page's figure: the whole model, drawn from the reader's own photo and model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import streamlit as st
from PIL import Image

from cfviz import point_names
from cfviz.data import answers
from cfviz.figures.live.message import digest_of
from cfviz.figures.plots.architecture import anatomy, feature_colours, readable
from cfviz.framing import size_text
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.cost import Cost, cost
from cfviz.trace import Trace
from cfviz.ui.compute import keys, models
from cfviz.ui.compute.cache import cached, cached_with_trace
from cfviz.ui.context import Context
from cfviz.ui.session import forms
from cfviz.ui.session.photos import data_uri
from cfviz.ui.session.plain import plain
from cfviz.ui.shell import frame
from cfviz.ui.widgets.answer import answer_line
from cfviz.ui.widgets.figure import HOME, committed
from cfviz.ui.widgets.photos import photo_credit, photo_title
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_answer, weights_line
from cfviz.words import lookup

TEXTS = (
    "stage", "map_alt", "photo_label", "cel_title", "blocks", "chip", "params", "macs", "query", "sda",
    "lda", "answer", "answer_none", "hint", "said_sda", "said_lda", "said_whole", "padded", "go_grouping",
    "go_attention", "go_position_bias", "go_predict",
)  # fmt: skip
NAME = "whole"
PAPERS = ("https://arxiv.org/abs/2108.00154", "https://arxiv.org/abs/2303.06908")
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
        row, col = int(go["y"] * group.H), int(go["x"] * group.W)
        counted = {"stage": str(go["stage"] + 1), "block": str(go["block"] + 1)}  # links count from 1
        query |= counted | {"row": str(row), "col": str(col)}
    st.switch_page(frame.script(page), query_params=query)


def _below(ctx: Context, trace: Trace) -> None:
    """The sentence on the small pictures, the credit and the downloads."""
    costs = part_costs(keys.weights(ctx.settings, ctx.model), trace.size, ctx.model)
    st.caption(
        ctx.t(
            "home.summary",
            model=plain(models.title(ctx.settings.model)),
            size=size_text(ctx.settings.size),
            params=readable(costs["total"].params),
            macs=readable(costs["total"].macs),
        )
        + "\n\n"
        + photo_credit(ctx.t, ctx.settings.photo)
    )
    rows = [(name, part.params, part.macs) for name, part in costs.items()]
    table = (("part", "parameters", "multiply_adds"), rows)
    take_away(ctx, "model", code=_code(ctx), table=table, live="whole")


@cached(32)
def part_costs(weights: str, size: tuple[int, int], _model: CrossFormer) -> dict[str, Cost]:
    """The cost of every part; counting takes a second, which readers who arrive together share."""
    return cost(_model, *size)


def _data(ctx: Context, trace: Trace) -> dict[str, Any]:
    """Everything the figure draws; equal inputs give equal bytes, so a rerun sends nothing."""
    shown = pictures(trace, ctx.model.depths)
    costs = part_costs(keys.weights(ctx.settings, ctx.model), trace.size, ctx.model)
    stages = anatomy(
        trace.groupings, [d["num_chs"] for d in ctx.model.feature_info], ctx.model.num_heads, costs
    )
    for s, stage in enumerate(stages):
        stage["picture"] = shown[s]
        part, embedding = costs[f"stage.{s}"], costs[f"cel.{s}"]
        stage["params_text"] = readable(part.params + embedding.params)
        stage["macs_text"] = readable(part.macs + embedding.macs)
    labels = ctx.labels
    title = photo_title(ctx.t, ctx.settings.photo)
    top = [[labels[i], p] for i, _, p in trace.top(5)] if trace.weights.predicts else []
    data = {
        "photo": shown[-1],
        "of": digest_of(trace.crop) if trace.crop else "",
        "photo_alt": ctx.t("home.figure.photo_alt", photo=title),
        "stages": stages,
        "top": top,
        "none": trace.shown == (),
        "classes": len(labels),
        "line": answer_line(ctx, trace),
        "known": answers.folded_list(ctx.t, labels) if top else "",
        "weights": weights_line(ctx, markdown=False),
        "links": {page: frame.exists(page) for page in LINKED},
        "text": {name: lookup(ctx.lang, f"home.figure.{name}") for name in TEXTS},
        "css": ctx.theme.css(),
    }
    return {"id": hashlib.sha256(repr(data).encode()).hexdigest()[:16], **data}


def pictures(trace: Trace, depths: Sequence[int]) -> tuple[str, ...]:
    """Each stage's picture, then the crop, as data URIs; kept with the trace."""
    return cached_with_trace(trace, "pictures", lambda: _pictures(trace, depths))


def _pictures(trace: Trace, depths: Sequence[int]) -> tuple[str, ...]:
    maps = [trace[point] for point in point_names.stage_outputs(depths)]
    assert trace.crop is not None
    uris = [data_uri(Image.fromarray(feature_colours(array))) for array in maps]
    return (*uris, data_uri(trace.crop, "WEBP", lossless=True))


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
