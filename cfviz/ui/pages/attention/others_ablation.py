"""Below the figure of a model of timm: parts of it switched off, and what becomes of its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from cfviz.analysis.lab import answer_changes, by_magnitude
from cfviz.figures.plots.lab import LIMIT, change_bars
from cfviz.measured.others import part_name
from cfviz.models.others.ablation import Part, effects, from_url, parts
from cfviz.models.others.reading import layers_of
from cfviz.run import class_names, prepared_for
from cfviz.stats import softmax
from cfviz.ui.compute import cache
from cfviz.ui.compute.background import in_background
from cfviz.ui.context import Context
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import show_bars
from cfviz.ui.widgets.request import requested
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import percent, short_name, signed

from .others_measures import OtherSubject, code_fields

RANKS = "cfviz.attention.others.ranks"
SHOWN = 3  # classes before and after
OFF_CODE = """
import cfviz
from cfviz.data.samples import sample
from cfviz.measured.others import part_name
from cfviz.models.others.ablation import from_url, switched_off
from cfviz.models.others.opening import {opener}
from cfviz.models.others.reading import layers_of

model = {opened}
before = cfviz.inspect({photo}, model, {framing}, watch="logits")
with switched_off(model, from_url("{off}"), layers_of(model, *before.size)):  # counted from 1, as in links
    after = cfviz.inspect({photo}, model, {framing}, watch="logits")
print(before.top(3), after.top(3))
"""
RANKS_CODE = """
import numpy as np

from cfviz.analysis.lab import answer_changes
from cfviz.data.images import load_image
from cfviz.data.samples import sample
from cfviz.measured.others import part_name
from cfviz.models.others.ablation import effects, parts
from cfviz.models.others.opening import {opener}
from cfviz.models.others.reading import layers_of
from cfviz.run import prepared_for
from cfviz.stats import softmax

model = {opened}
x = prepared_for(model, load_image({photo}), {framing_code}).tensor
layers = layers_of(model, *x.shape[-2:])
every = parts(layers)  # heads, position biases, shifts
plain, *changed = effects(model, x, [(), *((one,) for one in every)], layers)
_, probs, _ = answer_changes(np.stack(changed), plain)
points = 100 * (probs - softmax(plain).max())
for n in np.argsort(-abs(points))[:10]:
    print(every[n].to_url(), f"{{points[n]:+.1f}}", "points")
"""


def show_switched_off(ctx: Context, subject: OtherSubject, here: dict[str, Any]) -> None:
    """A choice of parts, the answer before and after, and on request a ranking of all parts."""
    trace, t = subject.trace, ctx.t
    if not trace.labels:
        return
    st.subheader(t("attention.others_off_title"), anchor=False)
    if not trace.weights.predicts:
        st.caption(t("attention.others_off_random"))
        return
    model = subject.model()
    every = parts(layers_of(model, *trace.size))
    whole = [Part(kind) for kind in ("shift", "bias") if any(one.kind == kind for one in every)]
    off = _choose(ctx, [*whole, *every])
    names = class_names(model, ctx.lang, trace.weights)
    first, _, p = trace.top(1)[0]
    label = plain(short_name(names[first]))
    if off:
        after = _logits(subject.source, "_".join(off), subject, ctx.photo, ctx.settings)
        _answers(ctx, subject, here, off, after, names)
    else:
        st.markdown(t("attention.others_off_nothing", label=label, p=percent(p)))
    if requested(t("attention.others_off_run", n=len(every)), RANKS):
        _ranking(ctx, subject, here, every, names)


def _choose(ctx: Context, there: list[Part]) -> list[str]:
    """The parts that are switched off, as words of a link."""
    words, key = {one.to_url(): one for one in there}, "w.attention.timm_off"
    kept = ctx.get("t_off", "", lambda text: len(text) <= 2000)
    st.session_state[key] = list(dict.fromkeys(word for word in kept.split("_") if word in words))
    return st.multiselect(
        ctx.t("attention.others_off"), list(words), key=key, placeholder=ctx.t("attention.others_off_choose"),
        format_func=lambda word: part_name(words[word], ctx.lang), help=ctx.t("attention.others_off_help"),
        on_change=lambda: ctx.put(t_off="_".join(st.session_state[key])),
    )  # fmt: skip


def _answers(
    ctx: Context, subject: OtherSubject, here: dict[str, Any], off: list[str], after: np.ndarray,
    names: list[str],
) -> None:  # fmt: skip
    """What the model answers with all of its parts, and what without some of them."""
    t, before = ctx.t, subject.trace.logits
    first, now = int(before.argmax()), int(after.argmax())
    was, is_ = softmax(before), softmax(after)
    said = {
        "label": plain(short_name(names[first])), "p": percent(was[first]), "q": percent(is_[first]),
        "logit": signed(float(after[first] - before[first]), 2),
    }  # fmt: skip
    if now == first:
        chart.show_hint(t("lab.same_answer", **said))
    else:
        then = {"now": plain(short_name(names[now])), "r": percent(is_[now])}
        chart.show_hint(t("lab.other_answer", **said, **then))
    sides = (("before", was), ("after", is_))
    for column, (name, probs) in zip(st.columns(2, gap="large"), sides, strict=True):
        with column:
            st.markdown(f"**{t(f'lab.{name}')}**")
            top = np.argsort(-probs, kind="stable")[:SHOWN]
            shown = [names[i] for i in top], [float(probs[i]) for i in top]
            show_bars(ctx, *shown, f"others_{name}", t(f"lab.{name}_alt"))
    columns = ("class", "probability_before", "probability_after", "logit_before", "logit_after")
    code = OFF_CODE.format(**code_fields(ctx, subject, here), off="_".join(off))
    rows = list(zip(names, was.tolist(), is_.tolist(), before.tolist(), after.tolist(), strict=True))
    take_away(ctx, "others_off", code=code, table=(columns, rows))


@cache.cached(64)
def _logits(source: str, off: str, _subject: OtherSubject, _photo: Any, _settings: Any) -> np.ndarray:
    return _effects(_subject, _photo, _settings, [from_url(off)])[0]


def _effects(subject: OtherSubject, photo: Any, s: Any, changes: list[tuple[Part, ...]]) -> np.ndarray:
    """The logits of the page's photo without some parts, (len(changes), classes)."""
    model = subject.model()
    x = prepared_for(model, photo, s.size, s.mode, s.centre).tensor
    return effects(model, x, changes, layers_of(model, *s.sides))


def _ranking(
    ctx: Context, subject: OtherSubject, here: dict[str, Any], every: list[Part], names: list[str]
) -> None:
    """The parts that matter most, once each has been switched off alone."""
    photo, settings, t = ctx.photo, ctx.settings, ctx.t
    model = subject.model()  # here: the thread that measures has no session to look it up in
    alone = OtherSubject(subject.title, subject.opened, subject.trace, lambda: model, subject.source)
    after = in_background(
        ("others.ranks", subject.source),
        lambda: _effects(alone, photo, settings, [(one,) for one in every]),
        t("attention.others_off_running", n=len(every)),
    )
    if after is None:
        return
    before = subject.trace.logits
    first, was = int(before.argmax()), float(softmax(before).max())
    moved, probs, winners = answer_changes(after, before)
    points = 100 * (probs - was)
    order = by_magnitude(points)[:LIMIT]
    titles = [part_name(every[i], ctx.lang) for i in order]
    fields = {
        "n": len(every), "best": titles[0], "turned": int((winners != first).sum()),
        "label": short_name(names[first]), "shown": len(order),
    }  # fmt: skip
    rows = [
        (one.to_url(), float(d), float(m), float(p), names[w])
        for one, d, m, p, w in zip(every, points, moved, probs, winners, strict=True)
    ]
    chart.show_figure(
        ctx,
        change_bars(
            titles, points[order].tolist(), ctx.theme, t("lab.axis_points", **fields), t("lab.points")
        ),
        "others_ranks",
        code=RANKS_CODE.format(**code_fields(ctx, subject, here)),
        table=(("part", "points", "logit", "probability", "first"), rows),
        **fields,
    )
