"""What another window does to the answer: the chosen photo, every way of making the bias, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from cfviz.analysis import position_bias as measure
from cfviz.data.images import prepare
from cfviz.figures.position_bias_maps import on_map, picture
from cfviz.figures.predictions import percent, short
from cfviz.hooks import edit
from cfviz.models.bias_ways import WAYS, edits, regrouped
from cfviz.run import forward

from . import layout, photos, state
from .embedding_use import cards
from .position_bias import Subject, block_name

if TYPE_CHECKING:
    from .page import Context

WINDOWS = ("scaled", "fixed", "adaptive")
SIDES = range(2, 29)


@dataclass(frozen=True)
class Answer:
    """One way's answer.

    Attributes:
        logits: (classes,).
        probs: Attention of the watched block, (nG, nH, N, N).
        seconds: Of the forward.
    """

    logits: np.ndarray
    probs: np.ndarray
    seconds: float

    @property
    def chances(self) -> np.ndarray:
        """Softmax of the logits, (classes,)."""
        raised = np.exp(self.logits - self.logits.max())
        return raised / raised.sum()


def ways_of(its: Subject) -> list[str]:
    """What can be done: everything with a DPB, with a learned table what its offsets allow."""
    ways = [way for way in WAYS if its.model.position_bias == "dpb" or way not in ("rescaled", "bicubic")]
    return ways if its.twin is None else [*ways[:-1], "twin", ways[-1]]


@st.cache_resource(show_spinner=False, max_entries=8)
def answers(
    source: str,
    size: int,
    G: tuple[int, ...],
    interval: Any,
    stage: int,
    block: int,
    _its: Subject,
    _photo: Any,
) -> tuple[dict[str, Answer], list[list[Any]], Any]:
    """Every way's answer on the photo at another size and window.

    Returns:
        Way -> answer; how every block cuts its map; the pixels the model saw.
    """
    seen, point = prepare(_photo, size), f"layers.{stage}.blocks.{block}.attn.probs"
    out = {}
    with regrouped(_its.model, G, interval):
        groups = _its.model.groupings(size, size)
    for way in ways_of(_its):
        net = _its.twin if way == "twin" else _its.model
        changes = edits(net, "own" if way == "twin" else way, _its.model.group_size)
        with regrouped(net, G, interval), edit(net, changes):
            arrays, seconds = forward(net, seen.tensor, (point,))
        out[way] = Answer(arrays["logits"].astype(float), arrays[point], seconds)
    return out, groups, seen.crop


# ---------------------------------------------------------------- the section


@st.fragment
def section(ctx: Context, its: Subject) -> None:
    """Controls, the answers side by side, and what the window costs."""
    t = ctx.t
    st.subheader(t("position_bias.answer_title"), anchor=False)
    layout.look(t("position_bias.answer_look"))
    size, G, interval = _window(ctx, its)
    number, head, down, across = _watched(ctx, its)
    stage, block = its.places[number]
    found, groups, crop = answers(its.source, size, G, interval, stage, block, its, ctx.photo)
    cut = groups[stage][block]
    row, col = (min(n - 1, int(share * n / 100)) for share, n in ((down, cut.H), (across, cut.W)))
    maps = {
        way: on_map(a.probs[:, min(head, a.probs.shape[1] - 1)], cut, row, col) for way, a in found.items()
    }
    top = max(float(np.nanmax(values)) for values in maps.values())
    pictures = [photos.data_uri(picture(crop, values, row, col, top, ctx.theme)) for values in maps.values()]
    cards(pictures, [_caption(ctx, way, a, found["own"]) for way, a in found.items()], columns=4)
    fields = {
        "block": block_name(ctx, its.blocks[number]),
        "h": head + 1,
        "top": percent(top),
        "row": row,
        "col": col,
    }
    st.caption(t("position_bias.answer_maps", **fields))
    _said(ctx, found, {g.G for stage_ in groups for g in stage_}, its)
    layout.take_away(
        ctx,
        "answer",
        code=_CODE.format(model=ctx.settings.model, size=size, G=max(G)),
        table=_table(ctx, found),
    )
    _costs(ctx, its, groups, size)


def _window(ctx: Context, its: Subject) -> tuple[int, tuple[int, ...], Any]:
    """Input size, G a stage, interval."""
    t, trained = ctx.t, its.model.group_size
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        size = st.selectbox(
            t("position_bias.answer_size"), state.SIZES, state.SIZES.index(ctx.get("at", 256, state.SIZES)),
            format_func=lambda n: f"{n} × {n} px", key="position_bias.at", width=160,
        )  # fmt: skip
        window = st.segmented_control(
            t("position_bias.window"), WINDOWS, default=ctx.get("window", "scaled", WINDOWS),
            format_func=lambda code: t(f"position_bias.window_{code}"), key="position_bias.window",
            required=True,
        )  # fmt: skip
        scaled = tuple(max(2, round(g * size / 224)) for g in trained)
        own = st.toggle(t("position_bias.own_g"), key="position_bias.own_g")
        if own:
            G = st.slider(t("position_bias.g"), 2, 28, scaled[0], key="position_bias.g", width=220)
    ctx.put(at=size, window=window)
    interval = "adaptive" if window == "adaptive" else its.model.interval
    if own:
        return size, (int(G),) * len(trained), interval
    return size, scaled if window == "scaled" else tuple(trained), interval


def _watched(ctx: Context, its: Subject) -> tuple[int, int, int, int]:
    """Block (its number), head, and the query's place in percent of the photo."""
    t = ctx.t
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        numbers = range(len(its.blocks))
        number = st.selectbox(
            t("position_bias.figure.block"), numbers, min(2, len(numbers) - 1),
            format_func=lambda i: block_name(ctx, its.blocks[i]), key="position_bias.watch_block", width=220,
        )  # fmt: skip
        heads = range(len(its.blocks[number].table))
        head = st.selectbox(
            t("position_bias.figure.head"), heads, format_func=lambda h: f"{h + 1}",
            key=f"position_bias.watch_head.{len(heads)}", width=90,
        )  # fmt: skip
        down = st.slider(
            t("position_bias.query_down"), 0, 99, 45, key="position_bias.down", width=180, format="%d %%"
        )
        across = st.slider(
            t("position_bias.query_across"), 0, 99, 50, key="position_bias.across", width=180, format="%d %%"
        )
    return number, head, down, across


def _caption(ctx: Context, way: str, answer: Answer, own: Answer) -> str:
    chances = answer.chances
    lines = [f"<b>{ctx.t(f'position_bias.figure.way_{way}')}</b>"]
    for k in np.argsort(-answer.logits, kind="stable")[:5]:
        name = short(ctx.labels[int(k)].split(",")[0], 20)
        change = "" if answer is own else f" ({_signed(answer.logits[k] - own.logits[k])})"
        lines.append(
            f"<span>{name} {percent(float(chances[k]))} <small>{answer.logits[k]:.2f}{change}</small></span>"
        )
    return "".join(lines)


def _said(ctx: Context, found: dict[str, Answer], sides: set[int], its: Subject) -> None:
    """How far the ways are apart, in one sentence."""
    own = found["own"]
    apart = {
        way: float(np.abs(a.logits - own.logits).max())
        for way, a in found.items()
        if way not in ("own", "twin")
    }
    most = max(apart, key=lambda way: apart[way])
    same = [way for way in apart if way != "none" and apart[way] < 1e-3]
    key = "same" if len(same) == len(apart) - 1 else "apart"
    agree = all(a.logits.argmax() == own.logits.argmax() for a in found.values())
    text = ctx.t(
        f"position_bias.answer_{key}",
        most=ctx.t(f"position_bias.figure.way_{most}"),
        by=f"{apart[most]:.2f}",
        none=f"{apart['none']:.2f}",
        sides=ctx.t("position_bias.comma").join(str(g) for g in sorted(sides)),
        trained=max(its.model.group_size),
        ms=f"{1000 * float(np.median([a.seconds for a in found.values()])):.0f}",
    )
    st.markdown(text + " " + ctx.t("position_bias.answer_agree" if agree else "position_bias.answer_differ"))


def _table(ctx: Context, found: dict[str, Answer]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    rows = [
        (way, ctx.labels[k], float(a.logits[k]), float(a.chances[k]))
        for way, a in found.items()
        for k in range(len(a.logits))
    ]
    return ("way", "class", "logit", "probability"), rows


def _signed(x: float) -> str:
    return f"{x:+.2f}".replace("-", "−")


# ---------------------------------------------------------------- cost and padding


def _costs(ctx: Context, its: Subject, groups: list[list[Any]], size: int) -> None:
    """What every stage's window costs, and how much of it is padding."""
    t = ctx.t
    layout.look(t("position_bias.cost_look"))
    head = [
        t(f"position_bias.cost_{name}")
        for name in ("stage", "map", "kind", "padded", "waste", "pairs", "macs")
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|--:|---|--:|--:|--:|--:|"]
    worst, total, plain = (0.0, ""), 0, 0
    for s, stage in enumerate(groups):
        channels = its.model.embed_dim * 2**s
        for g in stage:
            total += measure.load(g, channels).macs
        for g in dict.fromkeys(stage):
            found = measure.load(g, channels)
            kind = f"{g.kind.upper()}, G {g.G}" + (f", I {g.I}" if g.kind == "lda" else "")
            padded = f"{found.padded[0]} × {found.padded[1]}"
            lines.append(
                f"| {s + 1} | {g.H} × {g.W} | {kind} | {padded} | {100 * found.waste:.0f} % "
                f"| {found.pairs / 1e6:.2f} M | {found.macs / 1e6:.1f} M |"
            )
            text = t(
                "position_bias.cost_worst", s=s + 1, kind=g.kind.upper(), side=g.H, padded=found.padded[0]
            )
            worst = max(worst, (found.waste, text), key=lambda one: one[0])  # of equals the first stage
    for s, stage in enumerate(its.model.groupings(224, 224)):
        plain += sum(measure.load(g, its.model.embed_dim * 2**s).macs for g in stage)
    st.markdown("\n".join(lines))
    said = t("position_bias.cost_total", size=size, macs=f"{total / 1e6:.0f}", times=f"{total / plain:.2f}")
    st.markdown(f"{worst[1]} {said}" if worst[0] > 0 else f"{t('position_bias.cost_none')} {said}")


_CODE = """
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.bias_ways import edits, regrouped
from cfviz.run import forward

model = cfviz.create_model("{model}")
image = prepare(load_image(sample("berlin-cathedral").path), {size}).tensor
logits = {{}}
for way in ("own", "clamp", "cut", "none"):               # and "rescaled", "bicubic" for a DPB
    changes = edits(model, way, model.group_size)
    with regrouped(model, {G}, model.interval), cfviz.edit(model, changes):
        logits[way] = forward(model, image)[0]["logits"]
"""
