"""Every head of one block before and after a change: where it attends, and the difference."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz import point_names
from cfviz.analysis.lab import attention_received
from cfviz.figures import uris
from cfviz.figures.plots.embedding import heat
from cfviz.figures.plots.lab import differences
from cfviz.geometry import Grouping
from cfviz.trace import Trace
from cfviz.ui.compute import cache
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.takeaway import take_away

from . import shown_code
from .experiment import Experiment

COLUMNS = ("head", "row", "column", "attention_before", "attention_after")


def show_heads(experiment: Experiment) -> None:
    """A choice of stage, and three pictures for each head of the block compared in that stage."""
    ctx, count = experiment.ctx, len(experiment.model.depths)
    stage = ctx.get("heads", 1, range(1, count + 1))
    st.session_state["lab.heads"] = stage
    st.segmented_control(
        ctx.t("lab.heads"), range(1, count + 1), key="lab.heads", required=True,
        on_change=lambda: ctx.put(heads=st.session_state["lab.heads"]),
    )  # fmt: skip
    point = experiment.watch[count + stage - 1]
    found = cache.cached_with_trace(
        experiment.after, ("lab heads", point, ctx.theme.name), lambda: _heads(experiment, point)
    )
    pictures, moved, top, end = found
    most = int(np.argmax(moved))
    key = "heads_look" if moved[most] > 0 else "heads_same"
    chart.show_hint(
        ctx.t(f"lab.{key}", head=most + 1, moved=f"{moved[most]:.2f}", top=f"{top:.2f}", diff=f"{end:.2f}")
    )
    cells, names = [], []
    for n, uri in enumerate(pictures):
        head, kind = divmod(n, 3)
        name = ctx.t(
            f"lab.{('head_before', 'head_after', 'head_difference')[kind]}",
            n=head + 1,
            moved=f"{moved[head]:.2f}",
        )
        names.append(name)
        text = escape(name)
        cells.append(f'<figure><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    st.html(f'<div class="cf-lab">{"".join(cells)}</div>')
    take_away(
        ctx, "heads", code=shown_code.heads(experiment, point),
        table=lambda: (COLUMNS, _rows(experiment, point)),
        sheet=lambda: ([uris.opened(uri) for uri in pictures], names, 6),
    )  # fmt: skip


def grouping_at(trace: Trace, point: str) -> Grouping:
    """How the block that contains a point partitions its map into groups."""
    stage, block, _ = point_names.parse(point)
    assert block is not None  # attention exists only in blocks
    return trace.grouping(stage, block)


def received(trace: Trace, point: str) -> np.ndarray:
    """The attention every token receives in one block, averaged over heads, (H, W)."""
    return attention_received(trace[point], grouping_at(trace, point))


def _by_head(experiment: Experiment, point: str) -> list[list[np.ndarray]]:
    """The attention every token receives from each head, before and after, (H, W) each."""
    return [
        [attention_received(t[point][:, h : h + 1], grouping_at(t, point)) for h in range(t[point].shape[1])]
        for t in (experiment.before, experiment.after)
    ]


def _rows(experiment: Experiment, point: str) -> list[tuple[Any, ...]]:
    before, after = _by_head(experiment, point)
    return [
        (h + 1, r, c, float(x[r, c]), float(y[r, c]))
        for h, (x, y) in enumerate(zip(before, after, strict=True))
        for r, c in np.ndindex(x.shape)
    ]


def _heads(experiment: Experiment, point: str) -> tuple[list[str], np.ndarray, float, float]:
    """Pictures (three per head), how much each head changed, and the limits of the colour scales."""
    before, after = _by_head(experiment, point)
    apart = [y - x for x, y in zip(before, after, strict=True)]
    heats, top = heat([*before, *after])
    signs, end = differences(apart, experiment.ctx.theme)
    n = len(before)
    pictures = [p for h in range(n) for p in (heats[h], heats[n + h], signs[h])]
    moved = np.array([float(np.abs(one).mean()) for one in apart])
    return [uris.data_uri(Image.fromarray(picture)) for picture in pictures], moved, top, end
