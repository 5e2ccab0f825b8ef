"""Two models side by side: answers, what a token depends on, similarity, a table of costs."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import streamlit as st

from cfviz.analysis.receptive_field import smallest_area, summed_over_squares
from cfviz.analysis.similarity import cka_table, on_grid
from cfviz.data import answers
from cfviz.data.images import load_image, prepare
from cfviz.data.labels import labels
from cfviz.data.samples import gallery
from cfviz.figures.plots.attention_measures import over_photo
from cfviz.figures.plots.compare import likeness
from cfviz.framing import Size, size_text
from cfviz.models.crossformer import recorded
from cfviz.models.others.opening import OTHERS
from cfviz.models.others.sides import PUBLISHED, Side, benchmark, time_ratio
from cfviz.models.weights.checkpoints import model_card
from cfviz.run import class_names, shown_classes
from cfviz.stats import softmax
from cfviz.ui.compute.background import in_background
from cfviz.ui.compute.models import model_code
from cfviz.ui.context import Context
from cfviz.ui.session import queue
from cfviz.ui.session.photos import photo_code
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import show_bars, show_known
from cfviz.ui.widgets.section import section
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_classes
from cfviz.words import percent, quantity, short_name, two_digits

from .pair import Pair, selection_from_link, show_pair, title

MEASURED = 224  # input size in pixels at which our own weights are measured
CODE_POINT = """
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.others.sides import open_side

image = prepare(load_image({photo}), {framing}).tensor
for side in (
    {a}
    {b}
):
    scheme = side.schemes({height}, {width})[{s}]    # how each block of stage {stage} partitions its map
    found = side.outputs(image, [({s}, b) for b in range(len(scheme))])
    group, query = scheme[-1].group_of({row}, {col})
    attention = found.probs[{s}, len(scheme) - 1][group, :, query]    # heads, keys
    field = side.gradient(image, {s}, {row}, {col})       # H, W: how strongly each pixel changes the token
"""
CODE_REACH = """
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.others.sides import open_side

image = prepare(load_image({photo}), {framing}).tensor
side = {side}
field = side.gradient(image, {stage}, {row}, {col})  # H, W: how strongly each pixel changes the token
"""
CODE_TOP = """
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.others.sides import open_side

image = prepare(load_image({photo}), {framing}).tensor
side = {side}
logits = side.outputs(image).logits
print(logits.argsort()[::-1][:5], logits.max())
"""
CODE_COST = """
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.others.sides import benchmark, open_side, time_ratio

a = {a}
b = {b}
image = prepare(load_image({photo}), {framing}).tensor
seconds = benchmark(a, b, image)                         # per forward pass, the models taking turns
print(a.cost({height}, {width}), b.cost({height}, {width}), time_ratio(seconds))
"""
CODE_LIKE = """
from cfviz.analysis.similarity import cka_table, on_grid
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.models.others.sides import open_side
import numpy as np

def features(side):
    maps = [side.outputs(prepare(load_image(e.path), {framing}).tensor).maps for e in gallery()]
    return [np.concatenate([on_grid(m[s], {rows}, {cols}) for m in maps]) for s in range(4)]

a = {a}
b = {b}
print(cka_table(features(a), features(b)))    # linear CKA, one row per stage of the first
"""


def open_side_code(side: Side, size: Size, end: str = "") -> str:
    """The rest of a line of Python that opens one side as it is on screen."""
    kind = str(next(side.model.parameters()).dtype).removeprefix("torch.")
    dtype = "" if kind == "float32" else f', dtype="{kind}"'
    if side.other:
        return f'open_side("{side.name}", {size}{dtype}){end}'
    return model_code(side.model, f"open_side({{}}, size={size}{dtype}){end}")


def _input(ctx: Context, pair: Pair) -> dict[str, Any]:
    """The input as named in the shown code."""
    height, width = pair.shape
    return {"framing": ctx.settings.framing_code, "height": height, "width": width}


@st.fragment
def show_linked(ctx: Context, pair: Pair) -> None:
    """The figure and, below it, what the same token depends on in both models."""
    at = selection_from_link(ctx, pair)
    show_pair(ctx, pair, at)
    ctx.computed()
    a, b = (open_side_code(side, pair.size, ",") for side, _ in pair.sides)
    photo = photo_code(ctx.settings.photo)
    fields = {"a": a, "b": b, **_input(ctx, pair), "s": at["stage"], "photo": photo}
    take_away(
        ctx, "point", code=CODE_POINT.format(**fields, stage=at["stage"] + 1, row=at["row"], col=at["col"])
    )
    section(ctx, "reach", show_reach, ctx, pair, at)


def show_reach(ctx: Context, pair: Pair, at: dict[str, Any]) -> None:
    """The gradient of the token with respect to the pixels, over the photo."""
    chart.show_hint(ctx.t("compare.reach_look", stage=at["stage"] + 1, row=at["row"], col=at["col"]))
    stride = 4 * 2 ** at["stage"]
    mark = ((at["col"] + 0.5) * stride, (at["row"] + 0.5) * stride)
    for n, column in enumerate(st.columns(2, gap="large")):
        side, name = pair.sides[n][0], title(pair.sides[n][0].name)
        with column:
            with st.spinner(ctx.t("compare.reach_wait", model=name)):
                field = summed_over_squares(pair.gradient(n, at["stage"], at["row"], at["col"]), 4)
            fig = over_photo(pair.crop, field, ctx.theme, mark)
            photo = photo_code(ctx.settings.photo)
            opens = open_side_code(side, pair.size)
            code = CODE_REACH.format(side=opens, **_input(ctx, pair), photo=photo, **at)
            chart.show_chart_with_downloads(
                ctx, fig, f"reach-{n + 1}", ctx.t("compare.reach_alt", model=name), code
            )
            known = "reach_note" if side.trained else "reach_note_random"
            st.caption(ctx.t(f"compare.{known}", model=name, area=two_digits(100 * smallest_area(field))))


# ---------------------------------------------------------------- answers


def names_of(ctx: Context, side: Side) -> list[str]:
    """The classes of one side in the reader's language."""
    return labels("imagenet-1k", ctx.lang) if side.other else class_names(side.model, ctx.lang)


def show_predictions(ctx: Context, pair: Pair) -> None:
    """Whether both models answer alike, then the likeliest classes of each; random weights have no answer."""
    stage = ctx.get("stage", 1, range(1, 5)) - 1
    found = {}  # side -> its classes and their probabilities
    for n, (side, _) in enumerate(pair.sides):
        if side.trained is not None and (classes := names_of(ctx, side)):
            found[n] = classes, softmax(pair.outputs(n, stage).logits)
    if len(found) == 2:
        a, b = (classes[int(probs.argmax())] for classes, probs in found.values())
        key = "same" if a == b else "differ"
        chart.show_hint(ctx.t(f"compare.answers_{key}", a=short_name(a), b=short_name(b)))
    rows: list[tuple[Any, ...]] = []
    named = {**_input(ctx, pair), "photo": photo_code(ctx.settings.photo)}
    for n, column in enumerate(st.columns(2, gap="large")):
        side, name = pair.sides[n][0], title(pair.sides[n][0].name)
        with column:
            st.markdown(f"**{plain(name)}**")
            if side.trained is None:
                st.caption(ctx.t("answer.random"))
                continue
            if n not in found:
                warn_without_classes(ctx, side.model)
                continue
            classes, probs = found[n]
            order = np.argsort(-probs)[:5]
            first = int(order[0])
            shown = shown_classes(pair.photo, recorded(side.model), len(classes))
            line = answers.sentence(ctx.t, classes, first, float(probs[first]), shown)
            show_known(ctx, line, classes, f"{n + 1}")
            top = [classes[i] for i in order], probs[order].tolist()
            key = show_bars(ctx, *top, f"top-{n + 1}", ctx.t("compare.top_alt", model=name))
            code = CODE_TOP.format(side=open_side_code(side, pair.size), **named)
            take_away(ctx, f"top-{n + 1}", code=code, live=key)
            st.caption(ctx.t("compare.classes", trained=side.trained_in(ctx.t)))
            rows += [(name, label, float(p)) for label, p in zip(classes, probs, strict=True)]
    if rows:
        code = "".join(
            CODE_TOP.format(side=open_side_code(side, pair.size), **named) for side, _ in pair.sides
        )
        take_away(ctx, "answers", code=code, table=(("model", "class", "probability"), rows))


# ---------------------------------------------------------------- similarity


def _features(pair: Pair, n: int, mode: str) -> list[np.ndarray]:
    """The four stages' tokens on the gallery, averaged to the last stage's grid, (photos * cells, C)."""
    side, (rows, cols) = pair.sides[n][0], _cells(pair)
    maps = []
    for entry in gallery():
        maps.append(side.outputs(prepare(load_image(entry.path), pair.size, mode).tensor).maps)
        queue.yield_turn()
    return [np.concatenate([on_grid(one[s], rows, cols) for one in maps]) for s in range(4)]


def _cells(pair: Pair) -> tuple[int, int]:
    """Height and width of the last stage's map, in tokens."""
    return pair.shape[0] // 32, pair.shape[1] // 32


def show_similarity(ctx: Context, pair: Pair) -> None:
    """Linear CKA of every stage of one model with every stage of the other."""
    if pair.a.trained is None or pair.b.trained is None:
        chart.show_hint(ctx.t("compare.like_random"))
        return
    mode = ctx.settings.mode
    values = in_background(
        ("likeness", pair.keys), lambda: cka_table(_features(pair, 0, mode), _features(pair, 1, mode)),
        ctx.t("compare.like_wait", n=len(gallery())),
    )  # fmt: skip
    if values is None:
        return
    a, b = (title(side.name) for side, _ in pair.sides)
    opens = dict(zip("ab", (open_side_code(side, pair.size) for side, _ in pair.sides), strict=True))
    rows, cols = _cells(pair)
    words = {"a": f"{a}", "b": f"{b}", "stage": ctx.t("compare.stage")}
    chart.show_figure(
        ctx, likeness(values, words, ctx.theme), "like",
        code=CODE_LIKE.format(**opens, framing=ctx.settings.elsewhere.framing_code, rows=rows, cols=cols),
        table=(("stage", *(f"{pair.b.name} {s}" for s in range(1, 5))),
               [(f"{pair.a.name} {s + 1}", *row) for s, row in enumerate(values.tolist())]),
        a=a, b=b, first=f"{values[0, 0]:.2f}", last=f"{values[3, 3]:.2f}", n=len(gallery()) * rows * cols,
    )  # fmt: skip


# ---------------------------------------------------------------- the table


def published(name: str) -> tuple[float, float] | None:
    """ImageNet-1K top-1 (%) and GFLOPs as published by the authors; None if unpublished."""
    return (OTHERS[name].top1, OTHERS[name].gflops) if name in OTHERS else PUBLISHED.get(name)


def measured(side: Side) -> dict[str, Any] | None:
    """The bundled weights' measured results, from their card."""
    if side.other or side.model.provenance.source != "bundled":
        return None
    return model_card(side.name).get("val")


def calibration_error(ctx: Context, side: Side) -> str:
    """The calibration error of the bundled weights' probabilities, and at the fitted temperature."""
    if side.other or side.model.provenance.source != "bundled":
        return "–"
    found = model_card(side.name).get("calibration")
    if not found:
        return "–"
    plainly, fitted = (percent(error) for error in found["ece"])
    words = {"error": plainly, "fitted": fitted, "temperature": f"{found['temperature']:.2f}"}
    return ctx.t("compare.calibration", n=f"{found['tested_on']:,}", **words)


def show_costs(ctx: Context, pair: Pair) -> None:
    """Accuracy, parameters, multiply-adds and time, side by side."""
    t = ctx.t
    names = [title(side.name) for side, _ in pair.sides]
    times: tuple[list[float], list[float]] = in_background(
        ("times", pair.keys), lambda: benchmark(pair.a, pair.b, pair.image), t("compare.cost_wait")
    ) or (
        [],
        [],
    )
    if times[0]:
        ratio = time_ratio(times)
        found = (("ratio", ratio.median), ("low", ratio.low), ("high", ratio.high))
        fields = {name: two_digits(value) for name, value in found}
        key = "cost_look" if ratio.clear else "cost_noise"
        chart.show_hint(t(f"compare.{key}", a=names[0], b=names[1], n=len(times[0]), **fields))
    columns = [_facts(ctx, side, pair.shape, mine) for (side, _), mine in zip(pair.sides, times, strict=True)]
    cards = [card for side, _ in pair.sides if (card := measured(side))]
    at = cards[0]["size"] if cards else MEASURED
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = "".join(
        f"<tr><th>{escape(t(f'compare.row_{key}', size=size_text(pair.size), measured=at))}</th>"
        + "".join(f"<td>{escape(column[key])}</td>" for column in columns)
        + "</tr>"
        for key in columns[0]
    )
    st.html(f'<div class="cf-sides"><table><thead><tr><td></td>{head}</tr></thead>{lines}</table></div>')
    st.caption(t("compare.cost_note", n=len(times[0]) or "…"))
    rows = [(key, *(column[key] for column in columns)) for key in columns[0]]
    a, b = (open_side_code(side, pair.size) for side, _ in pair.sides)
    code = CODE_COST.format(a=a, b=b, **_input(ctx, pair), photo=photo_code(ctx.settings.photo))
    take_away(ctx, "cost", code=code, table=(("", *names), rows))


def _facts(ctx: Context, side: Side, size: tuple[int, int], times: list[float]) -> dict[str, str]:
    """One model's column, as text."""
    t, cost, known, card = ctx.t, side.cost(*size), published(side.name), measured(side)
    stages = side.schemes(*size)
    kinds = dict.fromkeys(t(f"compare.kind_{scheme.name}") for blocks in stages for scheme in blocks)
    here = (
        "–"
        if card is None
        else t("compare.measured", top1=percent(card["top1"]["value"]), n=f"{card['photos']:,}")
    )
    return {
        "published": "–" if known is None else percent(known[0] / 100),
        "measured": here,
        "calibration": calibration_error(ctx, side),
        "params": f"{cost.params / 1e6:.2f} M",
        "macs": f"{cost.macs / 1e9:.2f} G",
        "claimed": "–" if known is None else f"{known[1]:.1f} G",
        "time": _times(times),
        "blocks": " + ".join(str(len(blocks)) for blocks in stages),
        "kinds": ", ".join(kinds),
        "weights": t("compare.untrained") if side.trained is None else side.trained_in(t),
    }


def _times(times: list[float]) -> str:
    """The median of some times and the middle half of them, in milliseconds."""
    if not times:
        return "…"
    low, middle, high = (1000 * np.percentile(times, share) for share in (25, 50, 75))
    return f"{quantity(f'{middle:.0f}', 'ms')} ({low:.0f}–{high:.0f})"
