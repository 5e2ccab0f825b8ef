"""Whether the model uses each kernel: live knock-outs, and the weights that read the kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz.analysis.embedding import prediction_changes, read_shares, relative_change
from cfviz.data.images import prepare
from cfviz.data.samples import gallery
from cfviz.figures import uris
from cfviz.figures.plots.embedding import ablation_bars, heat, read_bars
from cfviz.measured import quick
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.embedding import knock_outs, responses
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import choose_class, class_of_link, show_answer_line
from cfviz.ui.widgets.photos import photo_title
from cfviz.ui.widgets.request import requested
from cfviz.ui.widgets.takeaway import Table, take_away
from cfviz.ui.widgets.weights import warn_without_answer
from cfviz.words import percent, short_name

from . import shown_code
from .figure import Cost, ablation_line
from .subject import EmbeddingSubject, outputs

METHODS = ("zero", "mean", "photo")
SIZE = 224  # input size of the gallery's photos here, in pixels


@cached(4)
def gallery_responses(weights: str, stages: tuple[int, ...], _model: CrossFormer) -> dict[str, np.ndarray]:
    """The outputs of some layers' kernels on the whole gallery: point -> (16, H, W, D_i)."""
    images = [prepare(photos.photo(entry.id), SIZE).tensor for entry in gallery()]
    return responses(_model, images, stages)


def kernels(subject: EmbeddingSubject) -> list[tuple[int, int, str]]:
    """All kernels of all layers: (stage, number, point)."""
    return [(layer.stage, i, point) for layer in subject.layers for i, point in enumerate(layer.points)]


@cached(128)
def ablated(source: str, method: str, other: str, _subject: EmbeddingSubject) -> dict[str, np.ndarray]:
    """One forward per kernel with its output replaced: the logits, and how far each stage's tokens moved.

    Args:
        source: The subject's cache key.
        method: One of `METHODS`.
        other: Id of the photo whose activations replace the kernel's, if `method` is "photo".

    Returns:
        `logits` (kernels, classes) and, for every stage's last point, the relative change (kernels, H, W).
    """
    subject = _subject
    filling: Mapping[str, Any] = {}
    if method == "mean":
        seen = gallery_responses(subject.weights, tuple(range(4)), subject.model)
        filling = {point: x.mean((0, 1, 2)) for point, x in seen.items()}
    elif method == "photo":
        mode = str(subject.trace.settings["mode"])
        image = prepare(photos.photo(other), subject.trace.size, mode).tensor
        filling = {p: x[0] for p, x in responses(subject.model, [image]).items()}
    changes = [{point: filling.get(point, 0.0)} for _, _, point in kernels(subject)]
    found = knock_outs(subject.model, subject.image, changes, outputs(subject.model))
    moved = {
        point: np.stack([relative_change(one, subject.trace[point]) for one in found[point]])
        for point in outputs(subject.model)
    }
    return {"logits": found["logits"], **moved}


def costs(subject: EmbeddingSubject) -> list[Cost]:
    """The cost of setting each kernel to zero."""
    found = prediction_changes(ablated(subject.source, "zero", "", subject)["logits"], subject.trace.logits)
    rows = zip(kernels(subject), found["probability"], found["logit"], strict=True)
    return [(s, subject.layers[s].kernels[i], float(p), float(logit)) for (s, i, _), p, logit in rows]


@st.fragment
def show_ablation(ctx: Context, subject: EmbeddingSubject) -> None:
    """The cost of each knock-out, and where later stages change; on request if that takes long."""
    if warn_without_answer(ctx):
        return
    show_answer_line(ctx, subject.trace)
    if not quick(subject.model, subject.trace.size) and not requested(
        ctx.t("embedding.knock_run"),
        f"cfviz.embedding.knock.{subject.source}",
        cost=ctx.t("embedding.knock_cost", model=ctx.settings.model),
        key="embedding.knock_run",
    ):
        return
    # full height from the start, so that nothing moves when the numbers arrive
    with st.container(key=None if quick(subject.model, subject.trace.size) else "em-knock"):
        _knocked(ctx, subject)


def _knocked(ctx: Context, subject: EmbeddingSubject) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = choose_class(ctx, subject.trace)
        method = st.segmented_control(
            ctx.t("embedding.way"),
            METHODS,
            default=ctx.get("way", "zero", METHODS),
            format_func=lambda code: ctx.t(f"embedding.way_{code}"),
            key="embedding.way",
        )
        others = [entry.id for entry in gallery() if entry.id != ctx.settings.photo]
        other = ""
        if method == "photo":
            other = st.selectbox(
                ctx.t("embedding.other"),
                others,
                format_func=lambda id: photo_title(ctx.t, id),
                key="embedding.other",
                width=280,
            )
        wait = st.container(key="em-wait", width="content")
    method = method or "zero"
    with wait, st.spinner(ctx.t("embedding.knock_wait")):
        after = ablated(subject.source, method, other, subject)
        if not quick(subject.model, subject.trace.size):
            everything = costs(subject)
    if not quick(subject.model, subject.trace.size):
        st.markdown(ablation_line(ctx, subject, everything))
    found = prediction_changes(after["logits"], subject.trace.logits, target)
    first = subject.trace.top(1)[0]
    names = [kernel_name(ctx, subject, s, i) for s, i, _ in kernels(subject)]
    now = ["" if w == first[0] else short_name(ctx.labels[int(w)], 17) for w in found["winner"]]
    rows = [
        (name, subject.layers[s].kernels[i], float(logit), float(p), winner)
        for name, (s, i, _), logit, p, winner in zip(
            names, kernels(subject), found["logit"], found["probability"], now, strict=True
        )
    ]
    label = short_name(ctx.labels[target], 40)
    axis = ctx.t("embedding.axis_logit", name=short_name(ctx.labels[target], 24))
    texts = {"logit": axis, "points": ctx.t("embedding.points")}
    chart.show_figure(
        ctx,
        ablation_bars(rows, ctx.theme, texts),
        "knock",
        code=shown_code.knock(
            ctx, method, other, [point for _, _, point in kernels(subject)], class_of_link(ctx)
        ),
        table=(
            ("kernel", "logit", "probability", "first_class", "kl_bits"),
            [(n, lo, p, w, float(k)) for (n, _, lo, p, w), k in zip(rows, found["kl"], strict=True)],
        ),
        label=label,
        p=percent(float(subject.trace.probs[target])),
    )
    which = st.selectbox(
        ctx.t("embedding.which"), range(len(names)), format_func=lambda i: names[i],
        key="embedding.which", width=320,
    )  # fmt: skip
    maps = [after[point][which] for point in outputs(subject.model)]
    code = shown_code.later(ctx, method, other, kernels(subject)[which][2], outputs(subject.model))
    _maps(ctx, maps, names[which], code)


def _maps(ctx: Context, maps: list[np.ndarray], name: str, code: str) -> None:
    pictures, top = heat(maps)
    chart.show_hint(ctx.t("embedding.later_look", kernel=name, top=f"{top:.2f}"))
    shown = [Image.fromarray(picture) for picture in pictures]
    captions = [ctx.t("embedding.stage", n=s + 1, mean=f"{m.mean():.2f}") for s, m in enumerate(maps)]
    show_cards([uris.data_uri(picture) for picture in shown], captions)
    notes = [f"stage {s + 1}: {m.mean():.2f} (scale 0 to {top:.2f})" for s, m in enumerate(maps)]

    def table() -> Table:
        rows = [(s + 1, r, c, float(m[r, c])) for s, m in enumerate(maps) for r, c in np.ndindex(m.shape)]
        return ("stage", "row", "column", "change"), rows

    take_away(ctx, "later", code=code, table=table, sheet=lambda: (shown, notes, 4))


def show_cards(images: Sequence[str], captions: Sequence[str], columns: int = 4) -> None:
    """Pictures side by side, two per row on a phone, with sharp pixels.

    Args:
        images: The pictures as data URIs.
        captions: One piece of HTML per picture.
        columns: Pictures per row where there is room.
    """
    parts = "".join(
        f'<figure class="cf-card"><img src="{image}" alt="{re.sub("<[^>]+>", " ", text)}" '
        f'style="image-rendering:pixelated"><figcaption>{text}</figcaption></figure>'
        for image, text in zip(images, captions, strict=True)
    )
    grid = f"repeat(auto-fit, minmax(max(8.5rem, calc(100% / {columns} - 1rem)), 1fr))"
    st.html(f'<div class="cf-cards" style="grid-template-columns:{grid};align-items:end">{parts}</div>')


def kernel_name(ctx: Context, subject: EmbeddingSubject, stage: int, i: int) -> str:
    """A kernel's name, e.g. "CEL 1 · 16×16"."""
    return ctx.t("embedding.kernel_of", cel=stage + 1, k=subject.layers[stage].kernels[i])


@st.fragment
def show_reads(ctx: Context, subject: EmbeddingSubject) -> None:
    """How much of the next query, key and value weights reads each kernel's channels."""
    stage = st.segmented_control(
        ctx.t("embedding.layer"), range(4), default=0, format_func=lambda s: f"CEL {s + 1}",
        key="embedding.reads",
    )  # fmt: skip
    layer = subject.layers[stage or 0]
    shares, names, rows = [], [], []
    for b, (weight, gain) in enumerate(zip(layer.qkv, layer.norm1, strict=True)):
        part = read_shares(weight, gain, layer.channels)
        for n, letter in enumerate(("query", "key", "value")):
            shares.append(part[n])
            names.append(ctx.t("embedding.read_row", block=b + 1, part=ctx.t(f"embedding.{letter}")))
            rows.append((layer.stage + 1, b + 1, letter, *map(float, part[n])))
        if b == 1:
            break  # beyond this, channels no longer belong to a single kernel
    even = [n / sum(layer.channels) for n in layer.channels]
    titles = [ctx.t("embedding.kernel_short", k=k) for k in layer.kernels]
    chart.show_figure(
        ctx,
        read_bars(np.stack(shares), names, titles, even, layer.kernels, ctx.theme),
        "reads",
        code=shown_code.reads(ctx, layer.stage),
        table=(("cel", "block", "part", *map(str, layer.kernels)), rows),
    )
