"""What the bias is for: remove it, shuffle it, swap it, keep only it; and its share of the logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.analysis.attention_measures import position_share
from cfviz.figures.plots import position_bias
from cfviz.hooks import edit
from cfviz.measured import quick
from cfviz.models.probes.position_bias import CHANGES, changes
from cfviz.run import forward, prepared_as, share_cores
from cfviz.stats import softmax
from cfviz.ui.compute.background import in_background
from cfviz.ui.compute.cache import cached
from cfviz.ui.compute.models import model_code
from cfviz.ui.context import Context
from cfviz.ui.figures.position_bias import BiasOnPhoto, BiasSubject, block_name, on_photo
from cfviz.ui.session.photos import photo_code
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import choose_class, class_of_link, show_answer_line
from cfviz.ui.widgets.weights import warn_without_answer
from cfviz.words import percent, short_name, signed

WHERE = ("all", "sda", "lda", "each")
POINTS = ("q", "k", "bias")

Place = tuple[int, int]


@cached(2048)
def changed(
    source: str, how: str, where: tuple[Place, ...], _subject: BiasOnPhoto, _photo: Any
) -> np.ndarray:
    """The logits with the bias of some blocks changed, (classes,)."""
    image = prepared_as(_subject.trace, _photo).tensor
    share_cores()
    with edit(_subject.model, changes(_subject.model, how, where)):
        arrays, _ = forward(_subject.model, image)
    return arrays["logits"].astype(float)


@st.fragment
def show_ablation(ctx: Context, subject: BiasSubject) -> None:
    """Bars for the effect of each change on the predicted class, or on another that the reader chooses."""
    t = ctx.t
    if warn_without_answer(ctx):
        return
    subject = on_photo(ctx, subject)
    show_answer_line(ctx, subject.trace, "ablation")
    target = choose_class(ctx, subject.trace)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        where = st.segmented_control(
            t("position_bias.where"), WHERE, default=ctx.get("where", "all", WHERE),
            format_func=lambda code: t(f"position_bias.where_{code}"), key="position_bias.where",
            required=True,
        )  # fmt: skip
        how = "zero"
        if where == "each":
            how = st.segmented_control(
                t("position_bias.how"), CHANGES, default=ctx.get("how", "zero", CHANGES),
                key="position_bias.how", required=True,
                format_func=lambda code: t(f"position_bias.how_{code}"),
            )  # fmt: skip
    ctx.put(where=where, **({"how": how} if where == "each" else {}))
    if (
        where == "each"
        and not quick(subject.model, subject.size)
        and not st.button(t("position_bias.run"), key="position_bias.run_each")
    ):
        return
    rows = _rows(ctx, subject, where, how)
    if rows is None:
        return
    first = int(subject.trace.logits.argmax())
    before = float(subject.trace.probs[target])
    target_names = ctx.labels[target]
    names, values, notes, data = [], [], [], []
    for label, logits in rows:
        p = softmax(logits)
        now = int(logits.argmax())
        names.append(label)
        values.append(float(logits[target] - subject.trace.logits[target]))
        arrow = "" if now == first else f"<br>→ {short_name(ctx.labels[now], 18)}"
        notes.append(f"{signed(values[-1])} · {percent(float(p[target]))}{arrow}")
        most = float(np.abs(logits - subject.trace.logits).max())
        data.append((label, values[-1], most, float(p[target]), ctx.labels[now]))
    axis = t("position_bias.use_x", name=short_name(target_names, 24))
    fig = position_bias.signed_change_bars(names, values, notes, ctx.theme, {"x": axis})
    columns = ("change", "logit_change", "largest_logit_change", "probability", "first_class")
    chart.show_figure(
        ctx,
        fig,
        "use",
        code=_code(ctx, subject, where, how),
        table=(columns, data),
        name=short_name(target_names, 40),
        p=percent(before),
    )


def _rows(ctx: Context, subject: BiasOnPhoto, where: str, how: str) -> list[tuple[str, np.ndarray]] | None:
    """Each bar's name and logits; None while they are computed in the background for a large model."""
    plan: list[tuple[str, tuple[Place, ...]]]
    if where == "each":
        names = [block_name(ctx, block) for block in subject.blocks]
        plan = [(how, ((block.stage, block.block),)) for block in subject.blocks]
    else:
        chosen = tuple((b.stage, b.block) for b in subject.blocks if where in ("all", b.kind))
        names = [ctx.t(f"position_bias.how_{method}") for method in CHANGES]
        plan = [(method, chosen) for method in CHANGES]
    photo = ctx.photo

    def compute() -> list[np.ndarray]:
        return [changed(subject.source, method, places, subject, photo) for method, places in plan]

    if quick(subject.model, subject.size):
        return list(zip(names, compute(), strict=True))
    found = in_background((subject.source, tuple(plan)), compute, ctx.t("position_bias.use_wait"))
    return found and list(zip(names, found, strict=True))


# ---------------------------------------------------------------- shares


@cached(256)
def shares(source: str, _ctx: Context, _subject: BiasOnPhoto) -> list[np.ndarray]:
    """Position's share in every block's logits on the chosen photo, (nH,) each."""
    points = [point_names.attention(s, b, name) for s, b in _subject.places for name in POINTS]
    arrays = _subject.trace.arrays
    if not all(point in arrays for point in points):
        share_cores()
        arrays, _ = forward(_subject.model, prepared_as(_subject.trace, _ctx.photo).tensor, points)
    out = []
    for s, b in _subject.places:
        q, k, bias = (arrays[point_names.attention(s, b, name)] for name in POINTS)
        content = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])  # nG, nH, N, N
        out.append(position_share(content, bias, _subject.trace.groupings[s][b]))
    return out


@st.fragment
def show_position_share(ctx: Context, subject: BiasSubject) -> None:
    """How much of the difference between keys is due to position, block by block."""
    run = "position_bias.run_share"
    if not quick(subject.model, subject.size) and not st.button(ctx.t(run), key=run):
        return
    subject = on_photo(ctx, subject)
    found = shares(subject.source, ctx, subject)
    names = [block_name(ctx, block) for block in subject.blocks]
    words = {"x": ctx.t("position_bias.share_x"), "head": ctx.t("position_bias.figure.head")}
    fig = position_bias.head_shares(found, names, [block.kind for block in subject.blocks], ctx.theme, words)
    means = [float(values.mean()) for values in found]
    top = int(np.argmax(means))
    rows = [
        (block.stage + 1, block.block + 1, h + 1, float(x))
        for block, values in zip(subject.blocks, found, strict=True)
        for h, x in enumerate(values)
    ]
    chart.show_figure(
        ctx, fig, "share", code=_SHARE.format(**_shown(ctx, subject)),
        table=(("stage", "block", "head", "share"), rows),
        block=names[top], most=percent(means[top]), mean=percent(float(np.mean(means))),
    )  # fmt: skip


# ---------------------------------------------------------------- code


def _shown(ctx: Context, subject: BiasOnPhoto) -> dict[str, Any]:
    return {
        "model": model_code(subject.model),
        "photo": photo_code(ctx.settings.photo),
        "size": ctx.settings.framing_code,
        "sides": ", ".join(map(str, subject.size)),
    }


def _code(ctx: Context, subject: BiasOnPhoto, where: str, how: str) -> str:
    """The calls behind the bars: four changes to some blocks at once, or one change to each block."""
    blocks = "[(s, b) for s, depth in enumerate(model.depths) for b in range(depth)]"
    if where in ("sda", "lda"):
        blocks = blocks[:-1] + f' if kinds[s][b].kind == "{where}"]'
    loop: dict[str, Any] = {"name": "how", "several": CHANGES, "change": "how", "chosen": "blocks"}
    if where == "each":
        loop = {"name": "block", "several": "blocks", "change": repr(how), "chosen": "[block]"}
    chosen = class_of_link(ctx)
    target = "before.argmax()" if chosen < 0 else str(chosen)
    return _CODE.format(blocks=blocks, target=target, **loop, **_shown(ctx, subject))


_CODE = """
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.probes.position_bias import changes
from cfviz.run import forward

model = {model}
image = prepare(load_image({photo}), {size}).tensor
before = forward(model, image)[0]["logits"]
kinds = model.groupings({sides})
blocks = {blocks}
for {name} in {several}:
    with cfviz.edit(model, changes(model, {change}, {chosen})):
        after = forward(model, image)[0]["logits"]
    print({name}, (after - before)[{target}])
"""
_SHARE = """
import cfviz
import numpy as np
from cfviz.analysis.attention_measures import position_share
from cfviz.data.samples import sample

names = ("q", "k", "bias")
model = {model}
watch = [f"layers.*.blocks.*.attn.{{name}}" for name in names]
trace = cfviz.inspect({photo}, model, size={size}, watch=watch)
for s, blocks in enumerate(trace.groupings):
    for b, grouping in enumerate(blocks):
        q, k, bias = (trace[f"layers.{{s}}.blocks.{{b}}.attn.{{name}}"] for name in names)
        content = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])                # nG, nH, N, N
        print(s + 1, b + 1, position_share(content, bias, grouping))           # nH
"""
