"""The lab's section on what each block already knows of the photo, read by linear probes."""

from __future__ import annotations

import streamlit as st

from cfviz.framing import size_code, size_text
from cfviz.measured.blocks import figure, learned
from cfviz.models.probes.linear import LinearProbes, probes_for
from cfviz.trace import Trace
from cfviz.ui.compute import cache
from cfviz.ui.compute.models import model_code
from cfviz.ui.session import photos
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import READING
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import together

from .experiment import Experiment

FIGURE = "lab.known"
COLUMNS = ("stage", "block", "first", "probability", "accuracy", "accuracy_token")
COMMAND = """python -m cfviz probes --data photos/train --val photos/val --weights WEIGHTS \\
    --run runs/probes --out probes.safetensors"""
READ = """from cfviz.measured.blocks import explain_blocks

explain_blocks("photo.jpg", model, "probes.safetensors")   # in a notebook: this figure"""


def show_known(experiment: Experiment) -> None:
    """The figure, for a model whose probes come with cfviz; for others, how to make some."""
    ctx = experiment.ctx
    probes = probes_for(ctx.model)
    if probes is None:
        chart.show_hint(ctx.t("lab.known_none"))
        st.code(COMMAND, language="bash")
        st.code(READ, language="python")
        return
    trace = ctx.trace(*probes.points)
    data = cache.cached_with_trace(
        trace, ("known", ctx.lang, experiment.target),
        lambda: figure(trace, probes, ctx.labels, ctx.lang, experiment.target),
    )  # fmt: skip
    chart.show_hint(ctx.t("lab.known_look"))
    READING.show(data, name=FIGURE)
    own = probes.about["size"]
    elsewhere = size_code(trace.size) != size_code(own) or trace.dtype != "float32"
    other = ctx.t("lab.known_other_size", size=size_text(own)) if elsewhere else ""
    st.caption(together(ctx.t("reading.learned", **learned(probes)), other))
    take_away(ctx, "known", code=_code(experiment), table=(COLUMNS, _rows(experiment, trace, probes)))


def _rows(experiment: Experiment, trace: Trace, probes: LinearProbes) -> list[tuple[object, ...]]:
    """One row for each block: its answer, and how often its probes are right."""
    labels = experiment.ctx.labels
    rows: list[tuple[object, ...]] = []
    for one in probes.read(trace):
        best = int(one.photo.argmax())
        right = (probes.accuracy(one.stage, one.block, kind)["value"] for kind in ("photo", "token"))
        rows.append((one.stage + 1, one.block + 1, labels[best], float(one.photo[best]), *right))
    return rows


def _code(experiment: Experiment) -> str:
    s = experiment.ctx.settings
    return f"""
import cfviz
from cfviz.data.samples import sample
from cfviz.models.probes.linear import probes_for

model = {model_code(experiment.model)}
probes = probes_for(model)
trace = cfviz.inspect({photos.photo_code(s.photo)}, model, size={s.framing_code}, watch=probes.points)
for one in probes.read(trace):
    best = one.photo.argmax()                 # from the mean of the block's tokens
    right = probes.accuracy(one.stage, one.block)
    print(one.stage, one.block, trace.labels[best], one.photo[best], right["value"], one.tokens.shape)
"""
