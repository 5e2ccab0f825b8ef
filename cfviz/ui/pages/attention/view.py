"""The parts of the attention page, in the order of their appearance."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from cfviz import point_names
from cfviz.figures.live.attention import Kept, Packed, Part, html, pack, unit
from cfviz.figures.live.logits import Encoded
from cfviz.figures.plots.attention_measures import curves, head_dots, over_photo
from cfviz.framing import size_text
from cfviz.geometry import token_box
from cfviz.models.room import attention_weights, vector_bytes
from cfviz.stats import spearman
from cfviz.trace import Trace
from cfviz.ui.compute import models
from cfviz.ui.compute.cache import cached, cached_with_trace
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import choose_class, show_answer_line
from cfviz.ui.widgets.chart import let_the_browser_paint, show_hint
from cfviz.ui.widgets.figure import about_to_appear, committed, follow_later, living_figure, move_to
from cfviz.ui.widgets.request import requested
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_answer
from cfviz.words import figure_words, scientific, two_digits

from . import measures
from .measures import AttentionSubject, subject_of

NAME = "attention.figure"
ALONE = 32_000_000  # bytes of one block that the reader goes to
SELECTION = ("stage", "block", "head", "row", "col")
START, SENT = "cfviz.attention.start", "cfviz.attention.sent"
DEPENDENCE = "cfviz.attention.dependence"
PICKED = "cfviz.attention.picked"  # a head of the table was clicked
CODE = """
import cfviz
from cfviz.data.samples import sample

model = {model}
trace = cfviz.inspect({photo}, model, size={size}, watch="layers.{s}.blocks.{b}.attn.*")
g = trace.grouping({s}, {b})                       # how the block partitions its map
group, query = g.group_of({row}, {col})            # the token's group, and its place in it
probs = trace["layers.{s}.blocks.{b}.attn.probs"]  # (groups, heads, queries, keys)
attention = probs[group, {head}, query]            # what the figure shows
tokens = g.members[group]                          # the keys as row * W + col; -1 is padding
"""
HEADS_CODE = """
import cfviz
from cfviz.analysis.attention_measures import distance, entropy
from cfviz.data.samples import sample

model = {model}
trace = cfviz.inspect({photo}, model, size={size}, watch="layers.*.blocks.*.attn.probs")
for s, blocks in enumerate(trace.groupings):
    for b, g in enumerate(blocks):
        probs = trace[f"layers.{{s}}.blocks.{{b}}.attn.probs"]      # groups, heads, queries, keys
        print(s + 1, b + 1, g.kind, distance(probs, g, 4 * 2**s), entropy(probs, g))   # pixels, bits
"""
GRADIENT_CODE = """
import cfviz
from cfviz.analysis.receptive_field import summed_over_squares
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.probes.gradients import receptive_field

model = {model}
image = prepare(load_image({photo}), {size}).tensor
pixels = receptive_field(model, image, "layers.{s}.blocks.{b}.out", {row}, {col})   # H, W
shown = summed_over_squares(pixels, 4)             # one value per token of the first stage
"""
ROLLOUT_CODE = """
import cfviz
from cfviz.analysis.rollout import layers_until, one_token, rollout
from cfviz.data.samples import sample

model = {model}
trace = cfviz.inspect({photo}, model, size={size}, watch="layers.*.blocks.*.attn.probs")
stages, merging = layers_until(
    trace.groupings,
    ({s}, {b}),
    lambda s, b: trace[f"layers.{{s}}.blocks.{{b}}.attn.probs"].mean(1),         # mean over heads
    lambda name: model.get_parameter(name).detach().float().cpu().numpy(),       # |w| of kernels between
    trace.settings.get("cooled", ()),
)
g = trace.grouping({s}, {b})
flow = rollout(one_token(g.H, g.W, {row}, {col}), stages, merging)[0]  # per token of the first stage
"""
RELEVANCE_CODE = """
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.probes import gradients

model = {model}
image = prepare(load_image({photo}), {size}).tensor
by_block = gradients.attention_gradients(model, image, {target})     # each block's attention and its gradient
# H, W; and the share of the logit's rise that the sum misses
attributions, missing = gradients.integrated_gradients(model, image, {target})
"""


def choose_subject(ctx: Context) -> AttentionSubject:
    """The model on the photo; a switch shuffles the weights to show what depends on them."""
    return subject_of(ctx, ctx.get("shuffled", 0, (0, 1)) == 1)


def selection_from_link(ctx: Context, trace: Trace) -> dict[str, Any]:
    """The reader's place from the link: stage, block, head, row, col from 0, clipped to what exists.

    Without a block in the link it is the stage's first block of long distance attention, if there is one.

    The link counts stages, blocks and heads from 1, as people do, but rows and columns from 0, as arrays do.
    """
    stages = trace.groupings
    stage = ctx.get("stage", 1, range(1, len(stages) + 1)) - 1
    long = next((b for b, g in enumerate(stages[stage]) if g.kind == "lda"), 0)  # what CrossFormer adds
    block = ctx.get("block", long + 1, range(1, len(stages[stage]) + 1)) - 1
    g = stages[stage][block]
    heads = trace[point_names.attention(stage, block, "bias")].shape[0]
    return {
        "stage": stage,
        "block": block,
        "head": min(ctx.get("head", 1, lambda n: n >= 1), heads) - 1,  # clipped as the figure does
        "row": min(ctx.get("row", int(0.45 * g.H), lambda n: n >= 0), g.H - 1),
        "col": min(ctx.get("col", int(0.55 * g.W), lambda n: n >= 0), g.W - 1),
        "locked": ctx.get("held", 0, (0, 1)) == 1,
    }


def write_selection(ctx: Context, to: dict[str, Any]) -> None:
    """Write a place into the link."""
    counted = {"stage": to["stage"] + 1, "block": to["block"] + 1, "head": to["head"] + 1}
    ctx.put(**counted, row=to["row"], col=to["col"], held=int(bool(to.get("locked"))))


Place = tuple[int, int]  # stage, block


@cached(512, 160 * 2**20)  # some forty photos for nano at 224 px
def packed_message(
    source: str, at: Place, part: Part, has: Place | None, _trace: Trace, _lang: str
) -> Packed:
    """One of the figure's messages, shared by all who look at the same photo and model."""
    blocks = [block_of(_trace, s, b) for s, stage in enumerate(_trace.groupings) for b in range(len(stage))]
    strides = {s: token_box(s, 0, 0)[2] for s in range(len(_trace.groupings))}
    return pack(
        blocks, size=_trace.size, strides=strides, strings=figure_words("attention", _lang), name=NAME,
        source=source,
        photo=None if part == "stage" else _trace.crop,
        start={"stage": at[0], "block": at[1]}, part=part, has=has, alone=ALONE,
    )  # fmt: skip


def block_of(trace: Trace, s: int, b: int) -> Kept:
    """One block of the figure, encoded once whichever block a message begins with."""
    g, (_, heads, _, depth) = trace.grouping(s, b), trace[point_names.attention(s, b, "q")].shape

    def encode() -> Encoded:
        return unit(trace.arrays, s, b, g).encoded()

    return Kept(s, b, g, heads, lambda: cached_with_trace(trace, ("attention sent", s, b), encode), depth)


def show_attention(ctx: Context, subject: AttentionSubject) -> None:
    """The living figure on the chosen photo; a click updates the link.

    The initial block is sent and drawn first, the others of its stage once the browser has it: the page's run
    does not wait for them. Another stage is sent when the reader goes there: all of them together are twice
    the bytes.
    """
    here = selection_from_link(ctx, subject.trace)
    appears = about_to_appear(NAME)
    if appears or START not in st.session_state:
        st.session_state[START] = here | {"tour": not here["locked"] and "row" not in st.query_params}
    place = here["stage"], here["block"]
    if appears or st.session_state.get(SENT, ("",))[0] != subject.source:
        st.session_state[SENT] = (subject.source, place, place)
    _, first, later = st.session_state[SENT]
    try:
        packed = packed_message(subject.source, first, "first", None, subject.trace, ctx.lang)
    except ValueError as error:
        ctx.stop(error)

    def commit() -> None:
        clicked = committed(NAME, forms.ATTENTION)
        if clicked:
            write_selection(ctx, clicked)
            if clicked.get("need"):
                _send_stage(subject, selection_from_link(ctx, subject.trace))  # clipped to what exists

    packed = packed.at(st.session_state[START], figure_words("attention", ctx.lang))
    show_hint(ctx.t("attention.look"))
    if subject.shuffled:
        st.warning(ctx.t("attention.shuffled"), icon=":material/shuffle:")
    living_figure(packed.data, name=NAME, on_commit=commit)
    if appears:
        let_the_browser_paint()
    follow_later(subject.source, (NAME, partial(_rest, subject, later, first)))


def _rest(subject: AttentionSubject, later: Place, first: Place) -> bytes:
    """The other blocks of a stage."""
    return packed_message(subject.source, later, "stage", first, subject.trace, "en").data


def _send_stage(subject: AttentionSubject, to: dict[str, Any]) -> None:
    """Send the blocks of a place's stage at the next run, as far as they fit."""
    source, first, _ = st.session_state[SENT]
    if source == subject.source:
        st.session_state[SENT] = (source, first, (to["stage"], to["block"]))


def offline_page(ctx: Context, subject: AttentionSubject, here: dict[str, Any]) -> bytes:
    """The figure as a stand-alone page, at a place; it is made without the reader's session."""
    place = here["stage"], here["block"]
    packed = packed_message(subject.source, place, "whole", None, subject.trace, ctx.lang)
    # The cached message may have been packed for another reader, in another language.
    packed = packed.at(here, figure_words("attention", ctx.lang))
    return html(packed, f"cfviz {ctx.settings.model} {subject.trace.photo}", ctx.lang).encode()


def show_footer(ctx: Context, subject: AttentionSubject) -> None:
    """Below the figure: its fidelity, its code, the offline page, the switch that shuffles the weights."""
    if subject.whole:
        error = measures.fidelity(subject.source, subject)
        st.badge(ctx.t("attention.fidelity", error=scientific(error)), icon=":material/verified:",
                 color="gray", help=ctx.t("attention.fidelity_help"))  # fmt: skip
    else:
        st.caption(ctx.t("attention.large", **_sizes(ctx)))
    here = selection_from_link(ctx, subject.trace)
    fields = {**code_fields(ctx, subject), "s": here["stage"], "b": here["block"]}
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        take_away(
            ctx, "living", code=CODE.format(**fields, row=here["row"], col=here["col"], head=here["head"])
        )
        st.download_button(
            ctx.t("attention.offline"), partial(offline_page, ctx, subject, here), "cfviz-attention.html",
            "text/html", type="tertiary", icon=":material/file_save:", on_click="ignore",
            help=ctx.t("attention.offline_help"),
        )  # fmt: skip
        st.toggle(
            ctx.t("attention.shuffle"), subject.shuffled, key="w.attention.shuffle",
            help=ctx.t("attention.shuffle_help"),
            on_change=lambda: ctx.put(shuffled=int(st.session_state["w.attention.shuffle"])),
        )  # fmt: skip


def _sizes(ctx: Context) -> dict[str, str]:
    """What all attention weights would take, and what is kept in their place."""
    sides = ctx.settings.sides
    weights = attention_weights(ctx.model, *sides)
    return {
        "size": size_text(sides),
        "weights": f"{weights / 1e6:.0f}",
        "whole": f"{4 * weights / 1e6:,.0f}",
        "kept": f"{vector_bytes(ctx.model, *sides) / 1e6:.0f}",
    }


def _needs_all(ctx: Context, subject: AttentionSubject) -> bool:
    """Say so if a section needs the attention weights of all blocks, which are too many to keep."""
    if subject.whole:
        return False
    st.info(ctx.t("attention.large_needs", **_sizes(ctx)), icon=":material/memory:")
    return True


def code_fields(ctx: Context, subject: AttentionSubject) -> dict[str, Any]:
    """The model and the input, as named in the shown code."""
    model = models.model_code(ctx.model)
    if subject.shuffled:
        model += "\nfrom cfviz.models.probes.gradients import shuffled\nmodel = shuffled(model)"
    return {"model": model, "photo": photos.photo_code(ctx.settings.photo), "size": ctx.settings.framing_code}


def move_figure(ctx: Context, to: dict[str, Any]) -> None:
    """Move the figure and the link to another place, from a callback."""
    write_selection(ctx, to)
    move_to(NAME, **{key: to[key] for key in SELECTION})


def show_heads(ctx: Context, subject: AttentionSubject) -> None:
    """Measurements of every head: a plot and a sortable table; a click goes to the head."""
    if _needs_all(ctx, subject):
        return
    rows = measures.head_measures(subject.source, subject)
    show_hint(ctx.t("attention.heads_look"))
    _heads_picture(ctx, subject, rows)
    _heads_table(ctx, subject, rows)


def _heads_picture(ctx: Context, subject: AttentionSubject, rows: list[dict[str, Any]]) -> None:
    t = ctx.t
    names = list(dict.fromkeys(f"{r['stage']}.{r['block']}" for r in rows))
    groups = [[r for r in rows if f"{r['stage']}.{r['block']}" == name] for name in names]
    axes = {"axis": t("attention.axis_block"), "value": t("attention.axis_distance")}
    words = axes | {"head": t("attention.head"), "block": t("attention.block")}
    kinds = [g[0]["kind"].lower() for g in groups]
    fig = head_dots(names, kinds, [[r["distance"] for r in g] for g in groups], ctx.theme, words)
    chart.show_chart(ctx, fig, "heads", t("attention.heads_alt"))
    take_away(
        ctx, "heads", chart=chart.chart_key(ctx, "heads"),
        code=HEADS_CODE.format(**code_fields(ctx, subject)),
        table=(tuple(rows[0]), [tuple(row.values()) for row in rows]),
    )  # fmt: skip


def _heads_table(ctx: Context, subject: AttentionSubject, rows: list[dict[str, Any]]) -> None:
    t, key, number = ctx.t, f"w.attention.heads.{len(rows)}", st.column_config.NumberColumn

    def picked() -> None:
        i = forms.row_picked(key, st.session_state[key], len(rows))
        if i is None:
            return
        here = selection_from_link(ctx, subject.trace)
        to = {name: rows[i][name] - 1 for name in ("stage", "block", "head")}
        before, after = (subject.trace.grouping(s, 0) for s in (here["stage"], to["stage"]))
        to["row"] = int((here["row"] + 0.5) * after.H / before.H)  # the same place of the photo
        to["col"] = int((here["col"] + 0.5) * after.W / before.W)
        _send_stage(subject, to)
        move_figure(ctx, to | {"locked": here["locked"]})
        st.session_state[PICKED] = True

    if st.session_state.pop(PICKED, False):
        st.rerun()  # the figure is outside the section, the only part of the page that ran
    st.dataframe(
        pd.DataFrame(rows), key=key, hide_index=True, height=318, on_select=picked,
        selection_mode="single-row",
        column_config={
            "stage": number(t("attention.stage"), width=58),
            "block": number(t("attention.block"), width=58),
            "kind": st.column_config.TextColumn(t("attention.kind"), width=58),
            "head": number(t("attention.head"), width=58),
            "distance": number(t("attention.distance"), format="%.1f px", help=t("attention.distance_help")),
            "entropy": number(t("attention.entropy"), format="%.2f bit", help=t("attention.entropy_help")),
            "position": number(t("attention.position"), format="%.1f %%", help=t("attention.position_help")),
        },
    )  # fmt: skip


def show_dependence(ctx: Context, subject: AttentionSubject) -> None:
    """What a token depends on: rollout beside the gradient, on one grid, with their rank correlation.

    Both are computed once the reader asks for them, and then for every token held: they take longer than all
    that the page shows above them.
    """
    if _needs_all(ctx, subject):
        return
    t, at = ctx.t, selection_from_link(ctx, subject.trace)
    s, b, row, col = (at[name] for name in ("stage", "block", "row", "col"))
    show_hint(t("attention.paths_look", stage=s + 1, block=b + 1, row=row, col=col))
    if not requested(t("attention.paths_run"), DEPENDENCE):
        return
    found = measures.dependence(subject.source, subject, s, b, row, col)
    top, left, bottom, right = token_box(s, row, col)
    mark = ((left + right) / 2, (top + bottom) / 2)
    fields = {**code_fields(ctx, subject), "s": s, "b": b, "row": row, "col": col}
    code = {"rollout": ROLLOUT_CODE, "gradient": GRADIENT_CODE}
    for side, name, share in zip(st.columns(2), ("rollout", "gradient"), found["areas"], strict=True):
        with side:
            st.subheader(t(f"attention.{name}"), anchor=False)
            fig = over_photo(subject.crop, found[name], ctx.theme, mark)
            chart.show_chart_with_downloads(
                ctx, fig, name, t(f"attention.{name}_alt"), code[name].format(**fields)
            )
            st.caption(t(f"attention.{name}_note", area=two_digits(100 * share)))
    st.markdown(t("attention.agreement", value=f"{found['agreement']:+.2f}"))
    if subject.shuffled:
        plain = subject_of(ctx)
        before = measures.dependence(plain.source, plain, s, b, row, col)
        same = {name: f"{spearman(found[name], before[name]):+.2f}" for name in ("rollout", "gradient")}
        st.info(t("attention.sanity_paths", **same), icon=":material/shuffle:")


def show_relevance(ctx: Context, subject: AttentionSubject) -> None:
    """What the prediction rests on: two maps, each tested by deleting and inserting the pixels it marks."""
    t = ctx.t
    if warn_without_answer(ctx) or _needs_all(ctx, subject):
        return
    trace = subject_of(ctx).trace
    target = choose_class(ctx, trace)
    show_hint(t("attention.relevance_look", name=plain(ctx.labels[target])))
    show_answer_line(ctx, trace)
    key = f"cfviz.attention.relevance.{subject.source}"
    if not requested(t("attention.relevance_run"), key, cost=t("attention.relevance_cost")):
        return
    with st.spinner(t("attention.relevance_wait")):
        maps = measures.relevance_maps(subject.source, subject, target)
        tested = measures.deletion_and_insertion(subject.source, subject, target)
    for side, name in zip(st.columns(2), ("attention", "integrated"), strict=True):
        with side:
            st.subheader(t(f"attention.by_{name}"), anchor=False)
            fig = over_photo(subject.crop, maps[name], ctx.theme)
            code = RELEVANCE_CODE.format(**code_fields(ctx, subject), target=target)
            chart.show_chart_with_downloads(ctx, fig, f"by_{name}", t(f"attention.by_{name}_alt"), code)
            st.caption(t(f"attention.by_{name}_note", missing=f"{100 * maps['missing']:.1f}"))
            good = tested["beats"][name]
            verdict = t(f"attention.{'beats' if good else 'no_better'}", n=measures.ORDERS)
            st.badge(verdict, color="green" if good else "orange", help=t("attention.beats_help"),
                     icon=f":material/{'check' if good else 'warning'}:")  # fmt: skip
    if subject.shuffled:
        own = subject_of(ctx)
        before = measures.relevance_maps(own.source, own, target)
        same = {name: f"{spearman(maps[name], before[name]):+.2f}" for name in ("attention", "integrated")}
        st.info(t("attention.sanity_relevance", **same), icon=":material/shuffle:")
    words = {
        name: t(f"attention.{name}") for name in ("deletion", "insertion", "cells", "probability", "chance")
    }
    lines = {t(f"attention.by_{name}"): line for name, line in tested["lines"].items()}
    chart.show_figure(ctx, curves(lines, tested["chance"], ctx.theme, words), "curves")
