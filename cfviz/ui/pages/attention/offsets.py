"""Does each head do what its position bias says: mean attention over offsets, on the gallery's photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.analysis.by_offset import ByOffset
from cfviz.analysis.position_bias import surface
from cfviz.data.decode import Photo
from cfviz.data.images import load_image
from cfviz.data.samples import gallery
from cfviz.figures.plots.attention_measures import head_dots, offset_maps
from cfviz.models.crossformer import CrossFormer
from cfviz.ui.compute import cache, keys, models
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session.state import Settings
from cfviz.ui.widgets import chart
from cfviz.words import about, decimal

from .gallery import OverGallery

POINTS = tuple(point_names.attention(point=point) for point in ("probs", "bias"))
COLUMNS = ("stage", "block", "kind", "head", "agreement")

CODE = """
import cfviz
from cfviz.analysis.by_offset import ByOffset
from cfviz.data.samples import gallery

model = {model}
stage, block = {stage}, {block}  # from 0
points = [f"layers.{{stage}}.blocks.{{block}}.attn.{{name}}" for name in ("probs", "bias")]
found = None
for entry in gallery():
    trace = cfviz.inspect(entry.path, model, size={size}, watch=points)
    g, (probs, bias) = trace.grouping(stage, block), (trace[point] for point in points)
    found = found or ByOffset(len(bias), g.Gh, g.Gw)
    found.add(probs, bias, g)
print(found.agreement)  # correlation for each head
mean, alone = found.mean[{head}], found.alone[{head}]  # 2Gh-1, 2Gw-1: by offset, query minus key
"""

Sums = dict[tuple[int, int], ByOffset]  # stage and block
Head = tuple[int, int, int]  # stage, block and head, from 0
sums_of_gallery: OverGallery[Sums] = OverGallery("offsets")


def show_offsets(ctx: Context) -> None:
    """The agreement of every head, and one head's mean attention beside its bias."""
    model, t = ctx.model, ctx.t
    if model.position_bias == "none":
        st.info(t("attention.offsets_none"), icon=":material/info:")
        return
    if not ctx.keeps_attention:
        st.info(t("attention.offsets_large"), icon=":material/memory:")
        return
    found = _gallery_sums(ctx)
    if found is None:
        return
    by_block = {at: one.agreement.tolist() for at, one in found.items()}
    agreement = {(s, b, h): r for (s, b), each in by_block.items() for h, r in enumerate(each)}
    heads = list(agreement)
    known = known_heads(agreement)
    if not known:
        st.info(t("attention.offsets_flat"), icon=":material/info:")
        return
    least, *_, most = known if len(known) > 1 else 2 * known
    fields: dict[str, Any] = {
        "n": len(gallery()), "most": _name(ctx, most), "p": decimal(agreement[most]),
        "least": _name(ctx, least), "q": decimal(agreement[least]),
        "mean": decimal(float(np.mean([agreement[at] for at in known]))),
    }  # fmt: skip
    groupings = model.groupings(*ctx.settings.sides)
    kinds = {(s, b): groupings[s][b].kind for s, b in found}
    names = [f"{s + 1}.{b + 1}" for s, b in found]
    words = {
        "axis": t("attention.axis_block"), "value": t("attention.offsets_axis"),
        "head": t("attention.head"), "block": t("attention.block"),
    }  # fmt: skip
    at = _head_from_link(ctx, heads, least)
    code = CODE.format(
        model=models.model_code(model), stage=at[0], block=at[1], head=at[2],
        size=ctx.settings.elsewhere.framing_code,
    )  # fmt: skip
    dots = list(by_block.values())
    chart.show_figure(
        ctx, head_dots(names, list(kinds.values()), dots, ctx.theme, words, digits=2), "offsets", code=code,
        table=(COLUMNS, [(s + 1, b + 1, kinds[s, b], h + 1, agreement[s, b, h]) for s, b, h in heads]),
        **fields,
    )  # fmt: skip
    _show_head(ctx, found, heads, at, agreement)


def _show_head(
    ctx: Context, found: Sums, heads: Sequence[Head], at: Head, agreement: Mapping[Head, float]
) -> None:  # fmt: skip
    """The choice of a head, and three surfaces over offsets: mean attention, the bias alone, the bias."""
    t, key = ctx.t, "attention.offset"
    st.session_state[key] = heads.index(at)

    def choose() -> None:
        ctx.put(offset=".".join(str(n + 1) for n in heads[st.session_state[key]]))

    st.selectbox(
        t("attention.offsets_head"), range(len(heads)), key=key, width=320, on_change=choose,
        format_func=lambda i: about(_name(ctx, heads[i]), correlation(agreement[heads[i]])),
    )  # fmt: skip
    s, b, h = at
    sums, bias = found[s, b], _bias(ctx.model, ctx.settings, s, b)
    maps = [sums.mean[h], sums.alone[h], bias[h]]
    titles = [t(f"attention.offsets_{name}") for name in ("mean", "alone", "bias")]
    fig = offset_maps(maps, titles, (False, False, True), ctx.theme, t("attention.offsets_hover"))
    rows = [
        (down, right, *(float(one[i, j]) for one in maps), int(sums.pairs[i, j]))
        for i, down in enumerate(range(len(maps[0]) // 2, -(len(maps[0]) // 2) - 1, -1))
        for j, right in enumerate(range(maps[0].shape[1] // 2, -(maps[0].shape[1] // 2) - 1, -1))
    ]
    columns = ("key_below", "key_right", "mean_attention", "bias_alone", "bias", "pairs")
    chart.show_figure(
        ctx, fig, "offset", table=(columns, rows), head=_name(ctx, at), r=correlation(agreement[at])
    )


def known_heads(agreement: Mapping[Head, float]) -> list[Head]:
    """The heads whose correlation is defined, the least correlated first."""
    return sorted((at for at, r in agreement.items() if np.isfinite(r)), key=lambda at: agreement[at])


def correlation(r: float) -> str:
    """A correlation, or a dash where one of the two surfaces is flat, so that it has none."""
    return decimal(r) if np.isfinite(r) else "–"


def _name(ctx: Context, at: Head) -> str:
    s, b, h = at
    return ctx.t("attention.offsets_name", stage=s + 1, block=b + 1, head=h + 1)


def _head_from_link(ctx: Context, heads: Sequence[Head], usual: Head) -> Head:
    """The head that the link names as stage.block.head, from 1; the usual one if there is no such head."""
    wanted = ctx.get("offset", "", lambda _: True)
    return next((at for at in heads if ".".join(str(n + 1) for n in at) == wanted), usual)


def _bias(model: CrossFormer, settings: Settings, stage: int, block: int) -> np.ndarray:
    """A block's position bias over offsets, (nH, 2Gh-1, 2Gw-1), at the chosen size."""
    point = point_names.attention(stage, block, "bias")
    trace = cache.trace(settings.elsewhere, load_image(gallery()[0].path), POINTS, net=model)
    return surface(trace[point], trace.grouping(stage, block).Gw)


@cached(4)
def _together(key: str, _parts: dict[str, Sums]) -> Sums:
    """The sums over all photos."""
    first, *others = _parts.values()
    whole = {at: one.copy() for at, one in first.items()}
    for part in others:
        for at, one in part.items():
            whole[at].join(one)
    return whole


def _gallery_sums(ctx: Context) -> Sums | None:
    """Every block's sums over the gallery's photos; None and a progress bar until they are there."""
    s, net = ctx.settings.elsewhere, ctx.model

    def measure(photo: Photo) -> Sums:
        return sums_of(cache.trace(s, photo, POINTS, net=net))

    parts = sums_of_gallery(ctx, measure, asked=ctx.get("offset", "", bool))
    return None if parts is None else _together(keys.joined(keys.weights(s, net), keys.framing(s)), parts)


def sums_of(trace: Any) -> Sums:
    """One photo's sums of every block."""
    found: Sums = {}
    for s, blocks in enumerate(trace.groupings):
        for b, g in enumerate(blocks):
            probs, bias = (trace[point_names.attention(s, b, name)] for name in ("probs", "bias"))
            found[s, b] = ByOffset(len(bias), g.Gh, g.Gw)
            found[s, b].add(probs, bias, g)
    return found
