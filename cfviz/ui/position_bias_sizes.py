"""What it does to accuracy: the measured curves, the verdict computed from them, and the command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cfviz.analysis import position_bias_sizes as measured
from cfviz.figures import position_bias_plots as plots

from . import layout
from .position_bias import Subject

if TYPE_CHECKING:
    from .page import Context

RESULTS = Path(__file__).resolve().parents[2] / "assets" / "results"
COMMAND = "python -m cfviz measure-sizes --data FOLDER --weights crossformer_nano --json sizes-own.json"
WINDOWS = ("scaled", "fixed", "adaptive")


def results(folder: Path | None = None) -> Mapping[str, Any] | None:
    """The newest measured file, or None."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted((folder or RESULTS).glob("sizes-*.json"))]
    good = [one for one in found if one.get("schema") == 2 and one.get("rows")]
    return max(good, key=lambda one: str(one["date"])) if good else None


def verdict(ctx: Context) -> str:
    """One sentence: is DPB evaluated anew better than its own table stretched, by how much, and where."""
    found = results()
    if found is None:
        return ctx.t("position_bias.verdict_missing")
    rows = found["rows"]
    apart = measured.differences(rows, ("dpb", "own"), ("dpb", "bicubic"), "scaled")
    its = measured.verdict(apart)
    if its is None:
        return ctx.t("position_bias.verdict_missing")
    sentence = ctx.t(
        f"position_bias.verdict_{its.code}", wins=_sizes(ctx, its.wins), losses=_sizes(ctx, its.losses),
        best=said(its.best), worst=said(its.worst), best_at=its.best.size,
        worst_at=its.worst.size, n=its.best.n,
    )  # fmt: skip
    broken = measured.breaks_at(apart)
    if broken is None:
        return sentence + " " + ctx.t("position_bias.breaks_nowhere")
    return (
        sentence + " " + ctx.t("position_bias.breaks", size=broken.size, G=broken.group_size, by=said(broken))
    )


def said(d: measured.Difference) -> str:
    """ "+1.20 [+0.35, +2.05]", in percentage points."""
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * x for x in (d.value, d.low, d.high))).replace("-", "−")


def _sizes(ctx: Context, sizes: tuple[int, ...]) -> str:
    return ctx.t("position_bias.comma").join(f"{size} px" for size in sizes)


@st.fragment
def section(ctx: Context, its: Subject) -> None:
    """Curves and differences, or how to measure them."""
    t, found = ctx.t, results()
    st.subheader(t("position_bias.sizes_title"), anchor=False)
    if found is None:
        layout.look(t("position_bias.sizes_missing"))
        st.code(COMMAND, language="bash")
        return
    window = st.segmented_control(
        t("position_bias.window"), WINDOWS, default="scaled", key="position_bias.sizes_window", required=True,
        format_func=lambda code: t(f"position_bias.window_{code}"),
    )  # fmt: skip
    rows = found["rows"]
    st.markdown(verdict(ctx))
    lines = []
    for model, bias in sorted({(row["model"], row["bias"]) for row in rows}):
        if model == "dpb" or bias == "own":
            way = "twin" if model == "rpb" else bias
            curve = measured.curve(rows, model, bias, str(window))
            columns = [[row[name] for row in curve] for name in ("size", "value", "low", "high")]
            if curve:
                lines.append(plots.Line(way, t(f"position_bias.figure.way_{way}"), *columns))
    words = {
        "x": t("position_bias.sizes_x"), "y": t("position_bias.sizes_y"),
        "trained": t("position_bias.trained"),
    }  # fmt: skip
    columns_ = ("model", "bias", "window", "size", "group_size", "n", "correct", "value", "low", "high")
    table = (columns_, [[row[name] for name in columns_] for row in rows])
    layout.figure(
        ctx,
        plots.curves(lines, ctx.theme, words),
        "sizes",
        code=found["command"],
        table=table,
        n=rows[0]["n"],
    )
    if its.trace.weights.sha256 not in found["weights"].values():
        st.caption(t("position_bias.sizes_other"))
