"""The lab's section on where the answer comes from: the logit as a sum of what the parts wrote."""

from __future__ import annotations

import streamlit as st

from cfviz.measured.logit import figure, label
from cfviz.models.interventions.language import check, from_url, part_address, to_url
from cfviz.models.probes.logit_parts import LogitParts, logit_parts
from cfviz.ui.compute import cache
from cfviz.ui.compute.models import model_code
from cfviz.ui.session import forms, photos, state
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import PARTS, committed
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import scientific, short_name

from .experiment import Experiment, measured_ranking

FIGURE = "lab.parts"
ADDED = "cfviz.lab.added"
NONE = -1  # no class is compared
COLUMNS = ("kind", "stage", "block", "index", "value")


def show_parts(experiment: Experiment) -> None:
    """The figure of the unchanged model's logit; a part goes to the list of changes with one click."""
    if st.session_state.pop(ADDED, False):
        state.redraw()  # the board and the result are outside this section
    ctx = experiment.ctx
    minus = _choose_other(experiment)
    try:
        found = _found(experiment, minus)
    except ValueError:
        key = "parts_refused" if experiment.before.dtype == "float32" else "parts_dtype"
        st.info(ctx.t(f"lab.{key}", dtype=experiment.before.dtype), icon=":material/info:")
        return
    name = label(found, ctx.labels)
    chart.show_hint(ctx.t("lab.parts_look", label=plain(name)))

    def commit() -> None:
        if (to := committed(FIGURE, forms.PARTS)) is None:
            return
        try:
            do = [*experiment.do, *from_url(f"{to['place']}-zero")]
            check(ctx.model, do, ctx.settings.sides)
        except ValueError:
            return  # a place that this model does not have: not from our figure
        ctx.put(do=to_url(dict.fromkeys(do)))
        st.session_state[ADDED] = True

    assert experiment.before.crop is not None  # `inspect` always keeps it
    data = figure(found, experiment.before.crop, ctx.labels, ctx.lang, _totals(experiment, minus), lab=True)
    PARTS.show(data, name=FIGURE, on_commit=commit)
    st.badge(
        ctx.t("lab.parts_exact", rest=scientific(abs(found.rest))), icon=":material/verified:", color="gray",
        help=ctx.t("lab.parts_exact_help"),
    )  # fmt: skip
    rows = [(p.kind, *(None if n is None else n + 1 for n in (p.stage, p.block, p.index)), p.value)
            for p in found.parts]  # fmt: skip
    take_away(ctx, "parts", code=_code(experiment, minus), table=(COLUMNS, rows))


def _choose_other(experiment: Experiment) -> int | None:
    """The class whose logit is subtracted, if the reader chose one."""
    ctx, names = experiment.ctx, experiment.ctx.labels
    st.session_state["lab.minus"] = ctx.get("minus", NONE, range(NONE, len(names)))
    st.selectbox(
        ctx.t("lab.parts_minus"), range(NONE, len(names)), key="lab.minus", width=320,
        format_func=lambda i: ctx.t("lab.parts_minus_none") if i < 0 else short_name(names[i]),
        on_change=lambda: ctx.put(minus=st.session_state["lab.minus"]),
    )  # fmt: skip
    chosen: int = st.session_state["lab.minus"]
    return None if chosen in (NONE, experiment.target) else chosen


def _found(experiment: Experiment, minus: int | None) -> LogitParts:
    """The parts, computed once for this photo, model and class."""

    def make() -> LogitParts:
        return logit_parts(experiment.model, experiment.image, experiment.target, minus)

    found: LogitParts = cache.cached_with_trace(
        experiment.ctx.trace(), ("logit parts", experiment.target, minus), make
    )
    return found


def _totals(experiment: Experiment, minus: int | None) -> dict[str, float]:
    """What the same logit changes by without each part, as far as the lab has measured it."""
    ranking = measured_ranking(experiment)
    if ranking is None or experiment.how != "zero":
        return {}
    moved = ranking.logits.astype(float) - experiment.before.logits
    of = moved[:, experiment.target] - (0 if minus is None else moved[:, minus])
    return dict(zip(map(part_address, ranking.parts), of.tolist(), strict=True))


def _code(experiment: Experiment, minus: int | None) -> str:
    s = experiment.ctx.settings
    less = "" if minus is None else f", minus={minus}"
    return f"""
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.probes.logit_parts import logit_parts

model = {model_code(experiment.model)}
x = prepare(load_image({photos.photo_code(s.photo)}), {s.framing_code}).tensor
found = logit_parts(model, x, target={experiment.target}{less})
print(found.logit, sum(part.value for part in found.parts))   # equal, up to rounding
for part in sorted(found.parts, key=lambda part: -abs(part.value))[:10]:
    print(part.kind, part.stage, part.block, part.index, part.value, part.map.shape)
"""
