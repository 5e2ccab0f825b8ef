"""The lab's results: before and after, the ranking of all parts, one photo's activations in another."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz.analysis.embedding import relative_change
from cfviz.analysis.lab import by_magnitude, moved_towards
from cfviz.figures import uris
from cfviz.figures.plots.embedding import heat
from cfviz.figures.plots.lab import LIMIT, change_bars, differences, same_colours
from cfviz.measured import part_name, quick
from cfviz.models.interventions.language import part_address, to_url
from cfviz.stats import softmax
from cfviz.ui.compute import cache
from cfviz.ui.context import Context
from cfviz.ui.session import photos, state
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import choose_class, show_bars
from cfviz.ui.widgets.photos import photo_title
from cfviz.ui.widgets.section import section
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_answer
from cfviz.words import percent, quantity, scientific, short_name, signed

from . import shown_code
from .amplitude import show_amplitude
from .brush import show_brush
from .computes import show_computes
from .experiment import (
    BOARD,
    MEASURES,
    Experiment,
    Ranking,
    experiment_from_link,
    measure_ranking,
    measured_ranking,
    show_board,
)
from .heads import received, show_heads
from .known import show_known
from .parts import show_parts
from .verdict import show_verdict

WANTED = "cfviz.lab.wanted"


@st.fragment
def show_lab(ctx: Context) -> None:
    """The result and the board on one screen; below them, in sections, everything else that changes."""
    if warn_without_answer(ctx):
        section(ctx, "amplitude", show_amplitude, ctx)  # sizes and shapes need no answer
        return
    experiment = experiment_from_link(ctx)
    with st.container(key="lab-top", gap="small"):  # within it, the result stays in sight
        show_verdict(experiment)
        show_board(experiment)
    _controls(experiment)
    take_away(ctx, "board", code=shown_code.changed(experiment), live=BOARD)
    waiting = st.container(key="lab-wait")
    section(ctx, "parts", show_parts, experiment, params=("minus",))
    section(ctx, "known", show_known, experiment)
    section(ctx, "amplitude", show_amplitude, ctx)
    section(ctx, "answers", show_answers, experiment)
    section(ctx, "stages", show_stages, experiment, params=("at", "heads"))
    section(ctx, "brush", show_brush, experiment, params=("brush",))
    section(ctx, "computes", show_computes, experiment)
    if experiment.how == "replace":
        section(ctx, "patch", show_patching, experiment, opened=True)
    with waiting:
        ranking = measured_ranking(experiment)
        comes = _exact(ctx, ranking) if ranking is not None else _measured(experiment)
    if comes:
        section(ctx, "ranks", show_ranks, experiment, ranking)


def _exact(ctx: Context, ranking: Ranking) -> bool:
    """Show how exact the numbers are, in place of the progress bar."""
    st.badge(
        ctx.t("lab.exact", error=scientific(ranking.error)), icon=":material/verified:", color="gray",
        help=ctx.t("lab.exact_help", n=len(ranking.parts), s=f"{ranking.seconds:.1f}"),
    )  # fmt: skip
    return True


def _measured(experiment: Experiment) -> bool:
    """Measure every part in the background, on request if that takes long; return whether it is under way.

    The page is redrawn with the colours once the result is ready.
    """
    ctx = experiment.ctx
    wanted = (experiment.key, ctx.settings.photo)
    if not quick(experiment.model, experiment.ctx.settings.sides) and st.session_state.get(WANTED) != wanted:
        st.button(
            ctx.t("lab.measure"), icon=":material/play_arrow:", key="lab.measure",
            on_click=lambda: st.session_state.update({WANTED: wanted}),
            help=ctx.t("lab.measure_help", model=ctx.settings.model),
        )  # fmt: skip
        return False
    if measure_ranking(experiment, ctx.t("lab.measuring")) is not None:
        state.redraw()
    return True


def _controls(experiment: Experiment) -> None:
    """The choice of what colours and ranking show, and of the other photo, if one is needed, in a row."""
    with st.container(key="lab-controls", horizontal=True, vertical_alignment="bottom", gap="medium"):
        _choices(experiment)
        if experiment.active:
            st.page_link(
                "pages/study.py", label=experiment.ctx.t("lab.study"), icon=":material/stacks:",
                query_params=experiment.ctx.settings.query() | {"parts": to_url(experiment.active)},
                help=experiment.ctx.t("lab.study_help"), width="content",
            )  # fmt: skip


def _choices(experiment: Experiment) -> None:
    ctx = experiment.ctx
    choose_class(ctx, experiment.before)
    st.session_state["lab.by"] = experiment.by
    st.segmented_control(
        ctx.t("lab.by"), MEASURES, format_func=lambda by: ctx.t(f"lab.by_{by}"), key="lab.by", required=True,
        on_change=lambda: ctx.put(by=st.session_state["lab.by"]),
    )  # fmt: skip
    if experiment.how != "replace" and not any(
        one.how == "replace" and one.value is None for one in experiment.do
    ):
        return
    ids = [id for id in photos.ids() if id != ctx.settings.photo]
    st.session_state["lab.other"] = experiment.other
    st.selectbox(
        ctx.t("lab.other"),
        ids,
        format_func=lambda id: photo_title(ctx.t, id),
        key="lab.other",
        width=320,
        on_change=lambda: ctx.put(other=st.session_state["lab.other"]),
    )


# ---------------------------------------------------------------- before and after


def show_answers(experiment: Experiment) -> None:
    """All probabilities and logits, before and after."""
    show_predictions(experiment)
    show_logits(experiment)


def show_predictions(experiment: Experiment) -> None:
    """The likeliest classes before and after, side by side, with the code for everything."""
    ctx = experiment.ctx
    sides = ((experiment.before, "before"), (experiment.after, "after"))
    for column, (trace, name) in zip(st.columns(2, gap="large"), sides, strict=True):
        with column:
            st.markdown(f"**{ctx.t(f'lab.{name}')}**")
            top = trace.top(5)
            named = [ctx.labels[i] for i, _, _ in top], [p for _, _, p in top]
            key = show_bars(ctx, *named, name, ctx.t(f"lab.{name}_alt"))
            take_away(ctx, name, code=shown_code.changed(experiment), live=key)
    before, after = experiment.before, experiment.after
    rows = zip(ctx.labels, before.probs, after.probs, before.logits, after.logits, strict=True)
    columns = ("class", "probability_before", "probability_after", "logit_before", "logit_after")
    take_away(ctx, "answers", code=shown_code.changed(experiment), table=(columns, list(rows)))


def show_logits(experiment: Experiment) -> None:
    """The change of each logit; if there are many classes, of those that change most."""
    ctx = experiment.ctx
    moved = experiment.after.logits.astype(float) - experiment.before.logits
    order = by_magnitude(moved)[:LIMIT]
    order = order[np.argsort(-moved[order], kind="stable")]
    first = experiment.before.top(1)[0][0]
    names = [short_name(ctx.labels[i]) for i in order]
    names = [f"<b>{name}</b>" if i == first else name for i, name in zip(order, names, strict=True)]
    chart.show_figure(
        ctx,
        change_bars(names, moved[order].tolist(), ctx.theme, ctx.t("lab.axis_logit")),
        "logits",
        code=shown_code.changed(experiment),
        table=(("class", "change"), list(zip(ctx.labels, moved.tolist(), strict=True))),
        n=len(order),
        label=short_name(ctx.labels[first]),
    )


def show_stages(experiment: Experiment) -> None:
    """Each stage's map and attention before and after, and the difference; then every head of a block."""
    ctx = experiment.ctx
    st.session_state["lab.at"] = experiment.at
    st.segmented_control(
        ctx.t("lab.at"),
        ("first", "last"),
        format_func=lambda at: ctx.t(f"lab.at_{at}"),
        key="lab.at",
        required=True,
        on_change=lambda: ctx.put(at=st.session_state["lab.at"]),
    )
    found = cache.cached_with_trace(
        experiment.after, ("lab stages", experiment.watch, ctx.theme.name), lambda: _stages(experiment)
    )
    pictures, captions, notes, tops = found
    chart.show_hint(
        ctx.t("lab.stages_look", change=f"{tops[0]:.2f}", top=f"{tops[1]:.2f}", diff=f"{tops[2]:.2f}")
    )
    cells = []
    for n, (uri, caption) in enumerate(zip(pictures, captions, strict=True)):
        if n % 6 == 0:
            cells.append(f"<h4>{escape(ctx.t('lab.figure.stage').replace('{n}', str(n // 6 + 1)))}</h4>")
        name = ctx.t(f"lab.map_{caption[0]}")
        words = f"{name} {caption[1]}".strip()
        text = escape(words)
        cells.append(f'<figure><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    st.html(f'<div class="cf-lab">{"".join(cells)}</div>')
    columns = ("stage", "row", "column", "features_change", "attention_before", "attention_after")
    take_away(
        ctx, "stages", code=shown_code.stages(experiment), table=lambda: (columns, _rows(experiment)),
        sheet=lambda: ([uris.opened(uri) for uri in pictures], notes, 6),
    )  # fmt: skip
    show_heads(experiment)


def _maps(experiment: Experiment) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """For every stage, how far its tokens moved and the attention they receive before and after, (H, W)."""
    features, attention = (
        experiment.watch[: len(experiment.model.depths)],
        experiment.watch[len(experiment.model.depths) :],
    )
    moved = [relative_change(experiment.after[p], experiment.before[p]) for p in features]
    return moved, [[received(trace, p) for p in attention] for trace in (experiment.before, experiment.after)]


def _rows(experiment: Experiment) -> list[tuple[Any, ...]]:
    moved, given = _maps(experiment)
    return [
        (s + 1, r, c, float(m[r, c]), float(a[r, c]), float(b[r, c]))
        for s, (m, a, b) in enumerate(zip(moved, *given, strict=True))
        for r, c in np.ndindex(m.shape)
    ]


def _stages(experiment: Experiment) -> tuple[list[str], list[tuple[str, str]], list[str], tuple[float, ...]]:
    """Pictures of all stages (six each), their captions, their notes and the limits of the colour scales."""
    moved, given = _maps(experiment)
    (changes, top), (heats, most) = heat(moved), heat([*given[0], *given[1]])
    signs, end = differences([b - a for a, b in zip(*given, strict=True)], experiment.ctx.theme)
    pictures, captions, notes = [], [], []
    n = len(moved)
    for s, point in enumerate(experiment.watch[:n]):
        pair = same_colours(experiment.before[point], experiment.after[point])
        pictures += [*pair, changes[s], heats[s], heats[n + s], signs[s]]
        means = ("", "", f"{moved[s].mean():.2f}", "", "", f"{np.abs(given[1][s] - given[0][s]).mean():.2f}")
        kinds = ("features_before", "features_after", "change", "att_before", "att_after", "difference")
        captions += list(zip(kinds, means, strict=True))
        notes += [
            f"{s + 1} {kind.replace('_', ' ')} {m}".strip() for kind, m in zip(kinds, means, strict=True)
        ]
    shown = [uris.data_uri(Image.fromarray(picture)) for picture in pictures]
    return shown, captions, notes, (top, most, end)


# ---------------------------------------------------------------- every part, and the other photo's


def show_ranks(experiment: Experiment, ranking: Ranking | None) -> None:
    """The parts that matter most, or the word that they are being measured."""
    ctx = experiment.ctx
    if ranking is None:
        st.markdown(f":material/hourglass_top: {ctx.t('lab.measuring')}")
        return
    values = ranking.shown(experiment.by, experiment.before.logits, experiment.target)
    order = by_magnitude(values)[:LIMIT]
    names = [part_name(ranking.parts[i], ctx.lang) for i in order]
    axis, unit, column = "lab.axis_first", "", "logit"
    if ranking.share:
        axis, unit, column = "lab.axis_share", "%", "share"
    elif experiment.by == "probability":
        axis, unit, column = "lab.axis_points", ctx.t("lab.points"), "points"
    first = experiment.before.top(1)[0][0]
    fields = {
        "label": short_name(ctx.labels[experiment.target]),
        "how": ctx.t(f"lab.figure.how_{experiment.how}"),
        "best": names[0],
        "n": len(ranking.parts),
        "seconds": f"{ranking.seconds:.1f}",
        "turned": int((ranking.winners != first).sum()),
        "shown": len(order),
    }
    chances = softmax(ranking.logits)[:, experiment.target]
    rows = [
        (part_address(one), to_url((one,)), float(v), float(p), ctx.labels[int(w)])
        for one, v, p, w in zip(ranking.parts, values, chances, ranking.winners, strict=True)
    ]
    chart.show_figure(
        ctx,
        change_bars(names, values[order].tolist(), ctx.theme, ctx.t(axis, **fields), unit),
        "ranks",
        code=shown_code.effects(experiment),
        table=(("part", "intervention", column, "probability", "first"), rows),
        **fields,
    )


def show_patching(experiment: Experiment) -> None:
    """How far the answer moved towards the other photo's, then both photos and all three answers."""
    ctx, other = experiment.ctx, experiment.other_trace()
    a, b = (plain(short_name(ctx.labels[trace.top(1)[0][0]])) for trace in (experiment.before, other))
    if experiment.same:
        chart.show_hint(ctx.t("lab.patch_same", label=a))
    else:
        logits = experiment.before.logits, other.logits
        share = float(moved_towards(experiment.after.logits[None], *logits)[0])
        chart.show_hint(ctx.t("lab.patch_look", share=quantity(signed(100 * share, 0), "%"), a=a, b=b))
    cells = []
    for trace, name in ((experiment.before, "photo_a"), (other, "photo_b"), (experiment.after, "photo_ab")):
        (i, _, p) = trace.top(1)[0]
        picture = uris.thumbnail(trace.crop, 240) if trace.crop and name != "photo_ab" else ""
        image = f'<img src="{picture}" alt="">' if picture else ""
        text = f"{escape(short_name(ctx.labels[i]))} <b>{percent(p)}</b>"
        cells.append(
            f'<figure class="cf-card">{image}<figcaption><b>{escape(ctx.t(f"lab.{name}"))}</b>'
            f"<span>{text}</span></figcaption></figure>"
        )
    columns = "grid-template-columns:repeat(3,minmax(0,14rem))"
    st.html(f'<div class="cf-cards" style="{columns};align-items:end">{"".join(cells)}</div>')
