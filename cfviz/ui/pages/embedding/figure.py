"""The parts of the cross-scale embedding page that depend on the chosen photo: the figure and the summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from cfviz.analysis.embedding import box_mean, carried_shares, normalised
from cfviz.data import answers
from cfviz.data.images import prepare
from cfviz.figures.live.embedding import MEASURES, Cel, is_large, pack, rest
from cfviz.figures.live.message import opened
from cfviz.measured import cel
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.embedding import Layer, responses
from cfviz.ui.compute.background import in_background
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import names_for_markdown
from cfviz.ui.widgets.figure import EMBEDDING, about_to_appear, committed, follow_up
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import NO_BREAK, figure_words, leading, percent, quantity, short_name, signed

from . import shown_code
from .subject import EmbeddingSubject

NAME = "embedding.figure"
START, SHOWN = "cfviz.embedding.start", "cfviz.embedding.shown"
# Regions of gallery photos that show one thing only: photo, rows and columns as fractions of the centre crop.
REGIONS = {
    "texture": ("bison", (0.72, 1.0), (0.0, 1.0)),
    "object": ("giant-panda", (0.25, 0.65), (0.45, 0.85)),
}

Cost = tuple[int, int, float, float]  # stage, kernel, changes of the top class's probability and of its logit


# ---------------------------------------------------------------- the figure


@cached(24)
def cels(source: str, _subject: EmbeddingSubject) -> tuple[Cel, ...]:
    """All four layers on the chosen photo."""
    return tuple(cel(layer, _subject.concat(layer.stage)) for layer in _subject.layers)


def selection_from_link(ctx: Context, subject: EmbeddingSubject) -> dict[str, Any]:
    """The reader's place from the link, clipped to what exists; the link counts layers from 1."""
    stage = ctx.get("cel", 1, range(1, 5)) - 1
    H, W, _ = subject.concat(stage).shape
    return {
        "cel": stage,
        "measure": ctx.get("measure", "carried", MEASURES),
        "row": ctx.get("row", int(0.4 * H), range(H)),
        "col": ctx.get("col", int(0.45 * W), range(W)),
    }


@cached(512, 64 * 2**20)
def packed_message(source: str, _subject: EmbeddingSubject, only: tuple[int, str] | None = None) -> bytes:
    """The figure's message, packed once per photo and model, for any reader and starting place.

    Args:
        source: The cache key of photo and model.
        _subject: The page's subject.
        only: The layer and the measure on show, if a large message leaves out the others.
    """
    photo = _subject.trace.crop
    assert photo is not None
    words = figure_words("embedding", "en")
    return pack(cels(source, _subject), photo=photo, strings=words, name=NAME, source=source, only=only)


def _first_shown(ctx: Context, subject: EmbeddingSubject) -> tuple[int, str]:
    """The layer and the measure that the figure shows when its photo arrives; constant from then on."""
    kept = st.session_state.get(SHOWN)
    if kept is None or kept[0] != subject.source or about_to_appear(NAME):
        here = selection_from_link(ctx, subject)
        kept = st.session_state[SHOWN] = (subject.source, (here["cel"], here["measure"]))
    return kept[1]


@cached(16, 64 * 2**20)
def packed_rest(source: str, _subject: EmbeddingSubject) -> bytes:
    """All layers, for a figure whose first message was large."""
    return rest(cels(source, _subject), name=NAME, source=source)


def send_rest(subject: EmbeddingSubject) -> None:
    """Send what the figure's first message left out, after everything else on the page."""
    if is_large(cels(subject.source, subject)):
        follow_up(packed_rest(subject.source, subject), name=NAME)


@st.fragment
def show_embedding(ctx: Context, subject: EmbeddingSubject) -> None:
    """The figure that follows the pointer; a click updates the link."""
    appears = about_to_appear(NAME)
    if appears or START not in st.session_state:
        st.session_state[START] = selection_from_link(ctx, subject)
    words = figure_words("embedding", ctx.lang)
    begin = st.session_state[START]
    only = _first_shown(ctx, subject) if is_large(cels(subject.source, subject)) else None
    data = opened(packed_message(subject.source, subject, only)).at(begin, words).data

    def commit() -> None:
        if to := committed(NAME, forms.EMBEDDING):
            ctx.put(cel=to["cel"] + 1, measure=to["measure"], row=to["row"], col=to["col"])

    EMBEDDING.show(data, name=NAME, on_commit=commit)
    if appears:
        chart.let_the_browser_paint()
    take_away(ctx, "shares", code=shown_code.shares(ctx), table=lambda: _table(subject))


def _table(subject: EmbeddingSubject) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """One row per kernel: means over the photo."""
    columns = ("cel", "kernel", "channels", "share_of_channels", "macs", "norm", "carried", "caused")
    rows = []
    for part in cels(subject.source, subject):
        for i, k in enumerate(part.kernels):
            means = [float(getattr(part, name)[i].mean()) for name in MEASURES]
            share = part.channels[i] / sum(part.channels)
            rows.append((part.stage + 1, k, part.channels[i], share, part.macs[i], *means))
    return columns, rows


# ---------------------------------------------------------------- the summary


@cached(6)
def shares_in_regions(
    weights: str, _model: CrossFormer, _layer: Layer, size: int = 224
) -> dict[str, np.ndarray]:
    """The mean share that each kernel of the first layer carries in the known regions: name -> (K,)."""
    images = [prepare(photos.photo(id), size).tensor for id, _, _ in REGIONS.values()]
    seen = responses(_model, images, stages=(0,))
    tokens = np.concatenate([seen[point] for point in _layer.points], -1)  # n, H, W, C
    shares = carried_shares(normalised(tokens, _layer.gain, _layer.eps), _layer.channels)
    boxes = [(rows, cols) for _, rows, cols in REGIONS.values()]
    return {
        name: box_mean(shares[:, n], *box) for n, (name, box) in enumerate(zip(REGIONS, boxes, strict=True))
    }


def show_summary(ctx: Context, subject: EmbeddingSubject, costs: Callable[[], list[Cost]] | None) -> None:
    """The page's findings in numbers.

    Args:
        ctx: The page.
        subject: The page's subject.
        costs: Computes the cost of every knock-out, ten forwards, while the page is there already; None if
            they are measured on request, further down.
    """
    layer, shares = subject.layers[0], shares_in_regions(subject.weights, subject.model, subject.layers[0])
    part = np.asarray(layer.channels) / sum(layer.channels)
    lines = []
    for name, values in shares.items():
        top, most = int(values.argmax()), int((values / part).argmax())
        lines.append(
            ctx.t(
                f"embedding.short_{name}",
                k=layer.kernels[top],
                share=percent(values[top], 0),
                part=percent(part[top], 0),
                most=layer.kernels[most],
                times=f"{values[most] / part[most]:.2f}",
                all=ctx.t("common.comma").join(
                    f"{quantity(k, 'px')} {percent(v, 0)}" for k, v in zip(layer.kernels, values, strict=True)
                ),
            )
        )
    told = _answer(ctx, subject) if subject.trace.labels and subject.trace.weights.predicts else {}
    if costs is None and told:
        lines.append(ctx.t("embedding.short_later", **told))
    st.subheader(ctx.t("embedding.short_title"), anchor=False)
    st.markdown("\n".join(f"- {line}" for line in lines))
    if costs is not None:
        with st.container(key="em-costs"):
            text = ctx.t("embedding.short_wait", **told)
            found = in_background(("embedding.costs", subject.source), costs, text)
            if found is not None:
                st.markdown(f"- {ablation_line(ctx, subject, found)}")


def _answer(ctx: Context, subject: EmbeddingSubject) -> dict[str, str]:
    """The fields of a sentence that states the model's answer, and why it cannot be or is not right."""
    first, _, p = subject.trace.top(1)[0]
    known = answers.aside(ctx.t, names_for_markdown(ctx, subject.trace), first, subject.trace.shown)
    return {"name": plain(short_name(ctx.labels[first], 40)), "p": percent(p), "known": leading(known)}


def ablation_line(ctx: Context, subject: EmbeddingSubject, costs: list[Cost]) -> str:
    """One sentence on what knocking out each kernel costs on this photo."""
    listed = ctx.t("common.semicolon").join(
        ctx.t(
            "embedding.short_layer",
            cel=layer.stage + 1,
            list=ctx.t("common.comma").join(
                f"{k}×{k}{NO_BREAK}{percentage_points(p)}" for s, k, p, _ in costs if s == layer.stage
            ),
        )
        for layer in subject.layers
    )
    worst = min(costs, key=lambda c: c[2])
    return ctx.t(
        "embedding.short_knock",
        **_answer(ctx, subject),
        list=listed,
        k=worst[1],
        cel=worst[0] + 1,
        points=percentage_points(worst[2]),
    )


def percentage_points(x: float) -> str:
    """Format a change of probability in percentage points: "−12.3", "+0.4", "0.0"."""
    return signed(100 * x, 1)
