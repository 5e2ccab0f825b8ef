"""Curves on the reader's own photos, measured in the background and drawn over the shipped ones."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz import jobs
from cfviz.framing import size_code
from cfviz.options import BIAS_METHODS, RECTANGLES, SIZES
from cfviz.ui.context import Context
from cfviz.ui.figures.position_bias import BASELINE, BiasSubject
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.jobs import folder_choice, panel, refused, skipped

from .accuracy import SHOWN, WINDOWS, Results, opened, sentences, shipped, show_curves, size_name

KIND, RESULT = "sizes", "sizes.json"
CHOSEN = ("own", "bicubic", "clamp", "none")  # initial methods: those the verdict needs
Rows = list[dict[str, Any]]


@st.fragment
def show_own_photos(ctx: Context, subject: BiasSubject) -> None:
    """What to measure, the button, and the jobs."""
    chart.show_hint(ctx.t("position_bias.job_look"))
    panel(
        ctx, KIND, _command(ctx, subject), RESULT, ctx.t("position_bias.job_start"),
        show=lambda job: _show(ctx, job), growing=True,
    )  # fmt: skip


def _command(ctx: Context, subject: BiasSubject) -> list[str] | None:
    """The command for the reader's choices; None, with a sentence why, if they do not make one."""
    t = ctx.t
    refused = _refused(ctx)
    if refused:
        st.info(refused, icon=":material/info:")
        return None
    folder = folder_choice(ctx, KIND)
    if folder is None:
        return None
    possible = [
        method
        for method in BIAS_METHODS
        if subject.model.position_bias == "dpb" or method not in ("rescaled", "bicubic")
    ]
    sizes = st.pills(
        t("position_bias.sizes_x"), [*SIZES, *RECTANGLES], selection_mode="multi", default=list(SIZES),
        key="position_bias.job_sizes", format_func=size_name,
    )  # fmt: skip
    ways = st.pills(
        t("position_bias.job_ways"), possible, selection_mode="multi", key="position_bias.job_ways",
        default=[method for method in CHOSEN if method in possible],
        format_func=lambda code: t(f"position_bias.figure.way_{code}"),
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        windows = st.pills(
            t("position_bias.window"), WINDOWS, selection_mode="multi", default=["scaled"],
            key="position_bias.job_windows", format_func=lambda code: t(f"position_bias.window_{code}"),
        )  # fmt: skip
        limit = st.number_input(
            t("position_bias.job_limit"), 1, 1000, 20, key="position_bias.job_limit", width=180
        )
        baseline = subject.baseline is not None and st.toggle(
            t("position_bias.job_twin"), True, key="position_bias.job_twin"
        )
    if not (sizes and ways and windows):
        st.caption(t("position_bias.job_nothing"))
        return None
    command = ["sizes", "--data", str(folder), "--weights", ctx.settings.model]
    command += ["--twin", BASELINE] if baseline else []
    command += ["--sizes", ",".join(size_code(size) for size in (*SIZES, *RECTANGLES) if size in sizes)]
    command += ["--windows", ",".join(w for w in WINDOWS if w in windows)]
    command += ["--ways", ",".join(method for method in BIAS_METHODS if method in ways)]
    command += ["--limit", str(limit), "--json", f"{jobs.PLACE}/{RESULT}"]
    return command if ctx.settings.device != "cpu" else [*command, "--cpu"]


def _refused(ctx: Context) -> str:
    """Why the chosen model cannot be measured in the background; empty if it can."""
    if not (why := refused(ctx)) and len(set(ctx.model.group_size)) > 1:
        return ctx.t("position_bias.job_groups")
    return why


def _shipped(found: Results) -> Results | None:
    """The shipped curves, if they belong to a model measured here too."""
    mine = set(found.get("weights", {}).values())
    alike = [one for one in shipped() if mine & set(one.get("weights", {}).values())]
    return max(alike, key=lambda one: len(one["rows"]), default=None)


def _show(ctx: Context, job: jobs.Job) -> None:
    """One job's curves so far, its sentences, and the shipped curves behind them."""
    found = opened(job.result)
    if found is None:
        return
    t, rows = ctx.t, found["rows"]
    words = job.command
    data = words[words.index("--data") + 1] if "--data" in words[:-1] else ""
    folder = data.rstrip("/").split("/")[-2:]
    st.caption(t("position_bias.job_about", folder="/".join(folder), n=found["photos"], rows=len(rows)))
    for line in skipped(ctx, found):
        st.caption(line)
    latest = next((one.id for one in jobs.listed(KIND) if one.result.exists()), None)
    if not st.toggle(t("position_bias.job_curves"), job.id == latest, key=f"position_bias.job_on.{job.id}"):
        return
    there = [w for w in WINDOWS if any(row["window"] == w for row in rows)]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        window = there[0]
        if len(there) > 1:
            window = st.segmented_control(
                t("position_bias.window"), there, default=there[0], required=True,
                key=f"position_bias.job_window.{job.id}",
                format_func=lambda code: t(f"position_bias.window_{code}"),
            )  # fmt: skip
        shown = st.segmented_control(
            t("position_bias.sizes_show"), SHOWN, default=SHOWN[0], required=True,
            key=f"position_bias.job_shown.{job.id}",
            format_func=lambda code: t(f"position_bias.sizes_{code}"),
        )  # fmt: skip
    lines = sentences(ctx, found, window) if job.state == "done" else []
    if lines:
        st.markdown("\n".join(f"- {line}" for line in lines))
    name = "own" if shown == "accuracy" else "own_less"
    show_curves(ctx, found, window, shown, name, key=f"-{job.id}", beside=_shipped(found))
