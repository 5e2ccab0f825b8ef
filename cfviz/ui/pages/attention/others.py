"""A section of the attention page: the same figure for other vision transformers, as timm has them.

It has a place of its own in the link: `timm`, and the stage, block, head and token with a `t_` before their
names. Nothing is computed before a model is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from cfviz.figures.live import attention, attention_schemes
from cfviz.framing import as_size, size_text
from cfviz.geometry.schemes import Scheme
from cfviz.models.others.opening import OFFERED, fetch_weights, open_other, weights_here
from cfviz.models.others.own import OwnWeights
from cfviz.models.others.reading import attention_weights, layers_of
from cfviz.run import about_answer, class_names, inspect, placed
from cfviz.trace import Trace
from cfviz.ui.compute import cache, keys
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos
from cfviz.ui.session.plain import explain, plain
from cfviz.ui.session.state import OWN, Settings
from cfviz.ui.widgets import weights
from cfviz.ui.widgets.chart import show_hint
from cfviz.ui.widgets.figure import about_to_appear, committed, living_figure
from cfviz.ui.widgets.report import show_other_report
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import scientific, together

from . import others_ablation, others_measures, others_own
from .view import ALONE

NAME = "attention.others"
MOST = 40_000_000  # attention weights of all blocks: 320 MB with the logits behind them
SENT = "cfviz.attention.others.sent"  # what was sent last: the model on the photo, its first place
CODE = """
import cfviz
from cfviz.data.samples import sample
from cfviz.models.others.opening import {opener}

model = {opened}      # or any model of timm: timm.create_model(...).eval()
trace = cfviz.inspect({photo}, model, {framing})
seen = trace.attention(stage={stage}, block={block}, row={row}, col={col})  # counted from 0
attention = seen.heads[{head}]            # rows, columns: what the figure shows
seen.padding, seen.extra, seen.masked     # what padding and class tokens get; what the mask hides
"""


@dataclass(frozen=True)
class Chosen:
    """The model that the reader has chosen.

    Attributes:
        name: timm's name, or the id of the reader's own weights.
        title: What it is called.
        file: Stands for its weights; empty for random ones.
        own: The reader's own weights, if it has them.
    """

    name: str
    title: str
    file: str
    own: OwnWeights | None = None

    def code(self, size: Any) -> dict[str, str]:
        """The function that opens it in Python, and its call."""
        if self.own is None:
            return {"opener": "open_other", "opened": f'open_other("{self.name}", {size})'}
        return {
            "opener": "open_own",
            "opened": f'open_own("your-file.safetensors", "{self.own.name}", {size})',
        }


def show(ctx: Context) -> None:
    """The choice of a model, its figure on the page's photo, and how to read it."""
    chosen = _choose(ctx)
    if chosen is None:
        return
    try:
        trace = _traced(ctx, chosen)
    except ValueError as error:
        st.error(explain(ctx.t, error), icon=":material/error:")
        return
    if trace is None:
        size = size_text(ctx.settings.size)
        st.error(ctx.t("attention.others_large", model=chosen.title, size=size), icon=":material/memory:")
        return
    if not chosen.file:
        st.warning(ctx.t("attention.others_random", model=chosen.title), icon=":material/casino:")
    _figure(ctx, chosen, trace)
    if not chosen.file:
        label = ctx.t("attention.others_get", model=chosen.title)
        weights.fetch(ctx, chosen.name, label, lambda job: fetch_weights(chosen.name))
    st.markdown(ctx.t("attention.others_guide"))


def _choose(ctx: Context) -> Chosen | None:
    """The model of the link, or none; beside the choice, a place for the reader's own weights."""
    names = [*OFFERED, *others_own.own()]
    chosen = ctx.get("timm", "", lambda one: one in names or one.startswith(OWN))
    st.session_state["w.attention.timm"] = chosen if chosen in names else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            ctx.t("attention.others_model"), names, index=None, key="w.attention.timm", width=420,
            placeholder=ctx.t("attention.others_choose"), format_func=lambda one: _marked(ctx, one),
            on_change=lambda: ctx.put(timm=st.session_state["w.attention.timm"] or ""),
        )  # fmt: skip
        others_own.upload(ctx)
    if chosen and chosen not in names:
        st.info(ctx.t("attention.others_own_gone"), icon=":material/link_off:")
    return _named(chosen) if chosen in names else None


def _named(name: str) -> Chosen:
    own = others_own.own().get(name)
    if own is None:
        return Chosen(name, OFFERED[name], str(weights_here(name) or ""))
    said = own.provenance  # a trace names the file and the classes, and is shared by readers
    file = keys.joined(own.name, said.sha256, said.source, said.classes)
    return Chosen(name, others_own.title(own), file, own)


def _marked(ctx: Context, name: str) -> str:
    own = others_own.own().get(name)
    if own is not None:
        return f"{others_own.title(own)} · {own.name} · {ctx.t('common.weights_are_own')}"
    kind = "random" if weights_here(name) is None else "trained"
    return f"{OFFERED[name]} · timm · {ctx.t(f'attention.others_{kind}_mark')}"


# ---------------------------------------------------------------- computing


def _traced(ctx: Context, chosen: Chosen) -> Trace | None:
    """The model's attention on the page's photo; None if there is too much of it to keep."""
    s, photo = ctx.settings, ctx.photo
    model = _model(chosen, s)
    layers = layers_of(model, *s.sides)
    if attention_weights(layer for stage in layers for layer in stage) > MOST:
        return None
    return cache.trace_cache().get(_source(ctx, chosen), lambda: _inspected(photo, model, s))


def _inspected(photo: Any, model: Any, s: Settings) -> Trace:
    return inspect(photo, model, s.size, mode=s.mode, centre=s.centre)


def _model(chosen: Chosen, s: Settings) -> Any:
    return _opened(chosen.name, s.sides, s.device, s.dtype, chosen.file, chosen.own)


@cache.cached(2)
def _opened(
    name: str, sides: tuple[int, int], device: str, dtype: str, file: str, _own: OwnWeights | None
) -> Any:
    size = as_size(*sides)
    model = open_other(name, size, weights_here(name) if file else None) if _own is None else _own.build(size)
    return placed(model, device, dtype)


def _source(ctx: Context, chosen: Chosen) -> str:
    s, photo = ctx.settings, ctx.photo
    return keys.joined(
        "timm", chosen.name, chosen.file, s.dtype, s.device, photo.sha256, photo.name, keys.framing(s)
    )


# ---------------------------------------------------------------- the figure


def place(ctx: Context, schemes: tuple[tuple[Scheme, ...], ...], heads: list[int]) -> dict[str, Any]:
    """The reader's place from the link, all from 0, clipped to what exists; the link counts as people do.

    Args:
        ctx: The page.
        schemes: Of every block of every stage.
        heads: Heads of each stage.
    """
    stage = ctx.get("t_stage", 1, range(1, len(schemes) + 1)) - 1
    second = min(2, len(schemes[stage]))  # the shifted, the global or the grid block
    block = ctx.get("t_block", second, range(1, len(schemes[stage]) + 1)) - 1
    scheme = schemes[stage][block]
    return {
        "stage": stage,
        "block": block,
        "head": min(ctx.get("t_head", 1, lambda n: n >= 1), heads[stage]) - 1,
        "row": min(ctx.get("t_row", int(0.45 * scheme.H), lambda n: n >= 0), scheme.H - 1),
        "col": min(ctx.get("t_col", int(0.55 * scheme.W), lambda n: n >= 0), scheme.W - 1),
        "locked": ctx.get("t_held", 0, (0, 1)) == 1,
    }


def _figure(ctx: Context, chosen: Chosen, trace: Trace) -> None:
    source, units = _source(ctx, chosen), attention_schemes.units(trace)
    heads = [next(u.heads for u in units if u.stage == s) for s in range(len(trace.schemes))]
    here = place(ctx, trace.schemes, heads)
    if about_to_appear(NAME) or st.session_state.get(SENT, ("",))[0] != source:
        st.session_state[SENT] = (source, here)
    _, start = st.session_state[SENT]

    def commit() -> None:
        to = committed(NAME, forms.ATTENTION)
        if to is None:
            return
        counted = {f"t_{part}": to[part] + 1 for part in ("stage", "block", "head")}
        ctx.put(**counted, t_row=to["row"], t_col=to["col"], t_held=int(bool(to.get("locked"))))
        if to.get("need"):  # clipped to what exists
            st.session_state[SENT] = (source, place(ctx, trace.schemes, heads))

    show_hint(ctx.t("attention.others_look"))
    try:
        packed = _packed(ctx, source, trace, start)
    except ValueError as error:
        st.error(explain(ctx.t, error), icon=":material/error:")
        return
    living_figure(packed.at(start).data, name=NAME, on_commit=commit)
    off = float(str(trace.settings["error"]))
    told = ctx.t("attention.fidelity", error=scientific(off)) if off else ctx.t("attention.others_exact")
    st.badge(told, icon=":material/verified:", color="gray", help=ctx.t("attention.others_fidelity_help"))
    _answer(ctx, chosen, trace)
    opened = chosen.code(ctx.settings.size)
    code = CODE.format(
        framing=f"size={ctx.settings.framing_code}",
        photo=photos.photo_code(ctx.settings.photo),
        **opened,
        **here,
    )
    take_away(ctx, "others", code=code)
    s = ctx.settings
    if trace.labels:
        given = "your-file.safetensors" if chosen.own else (None if chosen.file else "none")
        at = (here["stage"], here["block"], here["row"], here["col"])
        show_other_report(ctx, trace, _model(chosen, s), given, at)
    subject = others_measures.OtherSubject(chosen.title, opened, trace, lambda: _model(chosen, s), source)
    others_measures.show_heads(ctx, subject, here)
    others_measures.show_dependence(ctx, subject, here)
    others_ablation.show_switched_off(ctx, subject, here)


def _answer(ctx: Context, chosen: Chosen, trace: Trace) -> None:
    """Where learned weights come from, and what the model answers."""
    if not trace.weights.predicts:
        return
    model = _model(chosen, ctx.settings)
    names = class_names(model, ctx.lang, trace.weights)
    said = about_answer(trace, names, ctx.t)
    st.caption(together(plain(said), trace.weights.sentence(ctx.t, plain)))


def _packed(ctx: Context, source: str, trace: Trace, start: dict[str, Any]) -> attention.Packed:
    """The block at a place and those nearest to it, as far as they fit into a message."""
    at = {name: start[name] for name in ("stage", "block")}
    lang = ctx.lang

    def make() -> attention.Packed:
        return attention.pack_trace(trace, lang, start=at, alone=ALONE, name=NAME, source=source)

    return cache.cached_with_trace(trace, ("others", *at.values(), lang), make)
