"""The pieces of the prediction page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
import streamlit as st

from cfviz.figures import uris
from cfviz.figures.plots.predictions import size_lines
from cfviz.framing import Size, as_pair, as_size, shape_of_photo, size_code, size_text
from cfviz.trace import Trace
from cfviz.ui.compute import cache, models
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.session.plain import plain
from cfviz.ui.session.state import Settings
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import answer_help, answer_line, answer_worth, show_bars, show_known
from cfviz.ui.widgets.framing import show_crop, shown
from cfviz.ui.widgets.photos import add_photos, photo_credit, photo_title
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_answer, weights_line
from cfviz.words import percent, quantity, together

COMPARED = (160, 192, 224, 288, 384)  # squares; rectangles follow
STRIP = (192, 640)
TRAINED = 224
CLASSES = 5
LARGE, SEEN = 360, 240  # the whole photo at most, and the pixels that the model sees: CSS pixels


def show_prediction(ctx: Context, trace: Trace) -> None:
    """The crop the model saw, with the likeliest classes beside it."""
    with st.container(key="cf-predict"):
        _show_prediction(ctx, trace)


def _show_prediction(ctx: Context, trace: Trace) -> None:
    left, right = st.columns([5, 7], gap="large")
    with left:
        title, seen = photo_title(ctx.t, ctx.settings.photo), shown(ctx)
        show_crop(ctx, "crop.page", LARGE)
        move = ctx.t("framing.move") if seen.mode == "crop" and any(seen.movable) else ""
        st.caption(together(seen.sentence(ctx.t), move))
    with right:
        if not warn_without_answer(ctx):
            _show_answer(ctx, trace)
    if not ctx.settings.present:  # a presenter sees the pixels beside the answer, and no crop
        left, right = st.columns([5, 7], gap="large")  # below the answer, on a phone, too
    with left:
        st.image(
            _crop(trace),
            width="stretch" if ctx.settings.present else SEEN,
            alt=ctx.t("predict.crop_alt", photo=title),
        )
        pixels = ctx.t("predict.seen", size=size_text(trace.size))
        st.caption(f"{pixels}  \n{photo_credit(ctx.t, ctx.settings.photo)}{notes(ctx)}")
    with right:
        st.caption(together(facts(ctx, trace), weights_line(ctx)))


def _show_answer(ctx: Context, trace: Trace) -> None:
    """The likeliest classes, below one sentence on whether one of them can be right."""
    names = ctx.labels
    top = [(names[index], p) for index, _, p in trace.top(CLASSES)]
    fields = {"best": top[0][0], "p": percent(top[0][1]), "n": f"{len(names):,}"}
    look = "predict.top_look_none" if trace.shown == () else "predict.top_look"
    chart.show_hint(ctx.t(look, **{**fields, "best": plain(top[0][0])}))
    likeliest = [name for name, _ in top], [p for _, p in top]
    key = show_bars(ctx, *likeliest, "top", ctx.t("predict.top_alt", **fields))
    told = trace.shown == ()  # by the sentence above, but for what such an answer's probability is worth
    line = answer_worth(ctx, trace) if told else answer_line(ctx, trace)
    show_known(ctx, line, names, help=answer_help(ctx, trace))
    st.page_link(
        "pages/lab.py", label=ctx.t("predict.comes_from"), icon=":material/call_merge:", width="content",
        query_params=ctx.settings.query() | {"open": "parts"}, help=ctx.t("predict.comes_from_help"),
    )  # fmt: skip
    rows = [(names[i], p) for i, _, p in trace.top(len(names))]
    take_away(ctx, "top", code=_code(ctx), table=(("class", "probability"), rows), live=key)


def facts(ctx: Context, trace: Trace) -> str:
    """One line on the time it took, the device and the input."""
    return ctx.t(
        "predict.facts",
        ms=f"{1000 * trace.seconds:.0f}",
        device=trace.device.upper(),
        dtype=trace.dtype,
        size=size_text(trace.size),
    )


def notes(ctx: Context) -> str:
    """The changes made to the photo before the prediction, one line each."""
    return "".join(f"  \n{ctx.t(f'images.note_{code}')}" for code in ctx.photo.notes)


def compared_sizes(photo: tuple[int, int], chosen: Size) -> list[Size]:
    """The sizes to compare: squares, a photo's own shape, a strip, and the chosen size; rectangles last.

    Args:
        photo: Width and height of the photo.
        chosen: The app's input size.
    """
    own = as_size(*shape_of_photo(photo, TRAINED))
    sizes = dict.fromkeys([*COMPARED, own, STRIP, as_size(*as_pair(chosen))])
    return sorted(sizes, key=lambda size: (0, size) if isinstance(size, int) else (1, *size))


def _named(size: Size) -> str:
    """ "224 px", or "192 × 640 px"."""
    return quantity(size if isinstance(size, int) else size_text(size), "px")


@st.fragment
def show_sizes(ctx: Context) -> None:
    """The same photo at several input sizes, computed on request."""
    st.subheader(ctx.t("predict.sizes_title"), anchor=False)
    if warn_without_answer(ctx):
        return
    wanted = "cfviz.sizes"
    here = (ctx.settings.photo, ctx.settings.model, ctx.settings.dtype)
    sizes = compared_sizes(ctx.photo.size, ctx.settings.size)
    if st.session_state.get(wanted) != here:
        chart.show_hint(ctx.t("predict.sizes_why"))
        label = ctx.t("predict.sizes_run", n=len(sizes))
        remember = partial(st.session_state.__setitem__, wanted, here)
        st.button(label, icon=":material/photo_size_select_large:", key="sizes.run", on_click=remember)
        return
    progress = st.empty()
    done: list[Trace] = []
    for size in sizes:
        progress.progress(len(done) / len(sizes), ctx.t("predict.sizes_progress", size=_named(size)))
        done.append(ctx.trace(size=size))
    progress.empty()
    _compare(ctx, sizes, done)


def _compare(ctx: Context, sizes: list[Size], done: list[Trace]) -> None:
    """The classes likely at any size: a line over squares, points for rectangles; a card for each size."""
    at = sizes.index(TRAINED)
    found = {index for trace in done for index, _, _ in trace.top(2)} | {i for i, _, _ in done[at].top(3)}
    order = sorted(found, key=lambda index: -float(done[at].probs[index]))[:6]
    probs = np.array([[trace.probs[index] for index in order] for trace in done])
    names = [ctx.labels[index] for index in order]
    rows = [(size_code(size), *row) for size, row in zip(sizes, probs.tolist(), strict=True)]
    words = {word: ctx.t(f"predict.sizes_{word}") for word in ("size", "probability", "outside")}
    same = len({trace.top(1)[0][0] for trace in done}) == 1
    chart.show_figure(
        ctx,
        size_lines(sizes, names, probs, TRAINED, ctx.theme, words),
        "sizes",
        code=_code_sizes(ctx, sizes),
        table=(("size", *names), rows),
        verdict=ctx.t("predict.sizes_same" if same else "predict.sizes_differ"),
    )
    st.html(f'<div class="cf-cards">{"".join(_card(ctx, trace) for trace in done)}</div>')


def _card(ctx: Context, trace: Trace) -> str:
    """One size: the crop, the answer, the time, the padding."""
    index, _, p = trace.top(1)[0]
    size = as_size(*trace.size)
    tokens = trace.groupings[0][0]
    padded = any(grouping.padded for stage in trace.groupings for grouping in stage)
    picture = cache.cached_with_trace(trace, "card", lambda: uris.thumbnail(_crop(trace), 240, square=False))
    seconds = quantity(f"{1000 * trace.seconds:.0f}", "ms")
    extra = f"<br>{escape(ctx.t('predict.card_padded'))}" if padded else ""
    mark = " cf-card-trained" if size == TRAINED else ""
    return (
        f'<figure class="cf-card{mark}"><img src="{picture}" alt="">'
        f"<figcaption><b>{_named(size)}</b><span>{escape(ctx.labels[index])} <b>{percent(p)}</b></span>"
        f"<small>{size_text((tokens.H, tokens.W))} token · {seconds}{extra}</small>"
        "</figcaption></figure>"
    )


def _crop(trace: Trace) -> Any:
    assert trace.crop is not None  # `inspect` always keeps it
    return trace.crop


def show_own_photos(ctx: Context) -> None:
    """Photos by upload, drag and drop or camera; the predictions for several share one table."""
    st.subheader(ctx.t("predict.own_title"), anchor=False)
    add_photos(ctx, "page")
    mine = photos.own()
    if len(mine) < 2 or warn_without_answer(ctx):
        return
    progress = st.empty()
    rows: list[tuple[Any, ...]] = []
    for n, (id, file) in enumerate(mine.items()):
        progress.progress(n / len(mine), ctx.t("predict.own_progress", name=plain(file.name, 80)))
        photo = photos.photo(id)
        trace = cache.trace(_settings_for(ctx, id), photo)
        picture = cache.cached_with_trace(trace, "row", partial(uris.thumbnail, photo.image, 96))
        rows.append((picture, photo_title(ctx.t, id), *_two(ctx.labels, trace)))
    progress.empty()
    columns = ("photo", "name", "first", "p_first", "second", "p_second")
    st.dataframe(
        [dict(zip(columns, row, strict=True)) for row in rows],
        hide_index=True,
        row_height=56,
        column_config=_columns(ctx),
    )
    take_away(ctx, "photos", table=(columns[1:], [row[1:] for row in rows]))


def _settings_for(ctx: Context, id: str) -> Settings:
    return ctx.settings if id == ctx.settings.photo else ctx.settings.elsewhere


def _two(labels: Sequence[str], trace: Trace) -> tuple[Any, ...]:
    """The two likeliest classes and their probabilities in per cent; no second if there is only one class."""
    found = [(labels[index], 100 * p) for index, _, p in trace.top(2)]
    return tuple(value for one in [*found, (None, None)][:2] for value in one)


def _columns(ctx: Context) -> dict[str, Any]:
    """The column settings for the table of own photos."""
    t, make = ctx.t, st.column_config
    return {
        "photo": make.ImageColumn(t("common.photo"), width="small"),
        "name": make.TextColumn(t("predict.col_name")),
        "first": make.TextColumn(t("predict.col_first")),
        "p_first": make.ProgressColumn(t("predict.col_p"), format="%.1f %%", min_value=0, max_value=100),
        "second": make.TextColumn(t("predict.col_second")),
        "p_second": make.NumberColumn(t("predict.col_p"), format="%.1f %%"),
    }


def _code(ctx: Context) -> str:
    s = ctx.settings
    return f"""
import cfviz
from cfviz.data.samples import sample

model = {models.model_code(ctx.model)}
trace = cfviz.inspect({photos.photo_code(ctx.settings.photo)}, model, size={s.framing_code})
for index, name, probability in trace.top(5):
    print(f"{{name:30}} {{probability:.1%}}")
trace.crop.show()  # the pixels that the model saw
"""


def _code_sizes(ctx: Context, sizes: Sequence[Size]) -> str:
    fitted = ctx.settings.fitting_code
    return f"""
import cfviz
from cfviz.data.samples import sample

model = {models.model_code(ctx.model)}
for size in {sizes}:
    trace = cfviz.inspect({photos.photo_code(ctx.settings.photo)}, model, size=size{fitted})
    print(size, trace.top(3), [(stage[0].H, stage[0].W) for stage in trace.groupings])
"""
