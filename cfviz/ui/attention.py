"""The parts of the attention page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from cfviz.figures import living
from cfviz.geometry import token_box
from cfviz.trace import Trace

from .components import committed, fresh, go, living_figure

if TYPE_CHECKING:
    from .page import Context

NAME = "attention.figure"
POINTS = ("q", "k", "v", "bias", "probs", "out")
WATCH = tuple(f"layers.*.blocks.*.attn.{point}" for point in POINTS)
PLACE = ("stage", "block", "head", "row", "col")
START, CENTRE = "cfviz.attention.start", "cfviz.attention.centre"


def place(ctx: Context, trace: Trace) -> dict[str, Any]:
    """Where the reader is: stage, block, head, row, col from 0; as the link says, moved to what exists.

    The link counts stages, blocks and heads from 1, as people do, rows and columns from 0, as arrays do.
    """
    stages = trace.groupings
    stage = ctx.get("stage", 1, range(1, len(stages) + 1)) - 1
    block = ctx.get("block", 1, range(1, len(stages[stage]) + 1)) - 1
    g = stages[stage][block]
    heads = trace[f"layers.{stage}.blocks.{block}.attn.bias"].shape[0]
    return {
        "stage": stage,
        "block": block,
        "head": ctx.get("head", 1, range(1, heads + 1)) - 1,
        "row": ctx.get("row", int(0.45 * g.H), range(g.H)),
        "col": ctx.get("col", int(0.55 * g.W), range(g.W)),
        "locked": ctx.get("held", 0, (0, 1)) == 1,
    }


def put(ctx: Context, to: dict[str, Any]) -> None:
    """Write a place into the link."""
    counted = {"stage": to["stage"] + 1, "block": to["block"] + 1, "head": to["head"] + 1}
    ctx.put(**counted, row=to["row"], col=to["col"], held=int(bool(to.get("locked"))))


def source(ctx: Context, trace: Trace) -> str:
    """What the attention was computed from, in one string."""
    s = ctx.settings
    return "|".join(
        map(str, (ctx.photo.sha256, s.model, trace.weights.sha256, trace.size, s.dtype, s.device))
    )


@st.cache_resource(show_spinner=False, max_entries=12)
def message(source: str, centre: tuple[int, int], _trace: Trace, _lang: str) -> living.Packed:
    """The figure's message around one block, shared by all who look at the same photo and model."""
    units = living.units(_trace.arrays, _trace.groupings)
    strides = {s: token_box(s, 0, 0)[2] for s in range(len(_trace.groupings))}
    return living.pack(
        units, size=_trace.size, strides=strides, strings=living.words(_lang), photo=_trace.crop, name=NAME,
        source=source, start={"stage": centre[0], "block": centre[1]},
    )  # fmt: skip


def figure(ctx: Context, trace: Trace) -> living.Packed:
    """The living figure on the chosen photo; a click lands in the link."""
    here, what = place(ctx, trace), source(ctx, trace)
    if fresh(NAME) or START not in st.session_state:
        st.session_state[START] = here | {"tour": not here["locked"] and "row" not in st.query_params}
    centres: dict[str, tuple[int, int]] = st.session_state.setdefault(CENTRE, {})
    centre = centres.setdefault(what, (here["stage"], here["block"]))
    try:
        packed = message(what, centre, trace, ctx.lang)
    except ValueError as error:
        ctx.stop(error)
        raise

    def commit() -> None:
        clicked = committed(NAME)
        if clicked:
            put(ctx, clicked)
            if clicked.get("need"):
                centres[what] = (clicked["stage"], clicked["block"])

    packed = packed.at(st.session_state[START], living.words(ctx.lang))
    living_figure(packed.data, name=NAME, on_commit=commit)
    return packed


def send(ctx: Context, to: dict[str, Any]) -> None:
    """Send figure and link to another place, from a callback."""
    put(ctx, to)
    go(NAME, **{key: to[key] for key in PLACE})
