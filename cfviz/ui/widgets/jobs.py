"""Background jobs on a page: start, watch, cancel and resume them, and see their results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from cfviz import jobs
from cfviz.data import left_out
from cfviz.models.crossformer import recorded
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import reader, state
from cfviz.ui.session.plain import plain

SHOWN = 6  # jobs of a kind
LONGEST = 100  # letters of a skipped file's name, or of the reason
EVERY = 1.0  # seconds between checks on a running job
SCAN = 60.0  # seconds for which a scan of the photo folders stays valid
ICONS = {
    "waiting": "schedule",
    "running": "hourglass_top",
    "done": "check_circle",
    "failed": "error",
    "cancelled": "cancel",
    "interrupted": "pause_circle",
}


def folder_choice(ctx: Context, name: str, flat: bool = False) -> Path | None:
    """Let the reader choose a folder of photos; None, with a sentence why, if there is none to choose.

    Args:
        ctx: The page.
        name: A name unique on the page.
        flat: Whether folders without subfolders are on offer, too.
    """
    roots = tuple(jobs.roots())
    found = _folders(roots, flat)
    if not found:
        st.info(ctx.t("jobs.no_folders", variable=jobs.FOLDERS), icon=":material/folder_off:")
        return None
    root = {path: os.path.commonpath([r for r in roots if path.is_relative_to(r)][:1]) for path in found}

    def title(path: Path) -> str:
        inside = path.relative_to(root[path]).as_posix()
        top = Path(root[path]).name
        return top if inside == "." else f"{top}/{inside}"

    label = ctx.t("jobs.folder_flat" if flat else "jobs.folder")
    chosen = st.selectbox(label, found, format_func=title, key=f"jobs.folder.{name}")
    try:
        return _allowed(chosen, roots)
    except ValueError as error:
        st.error(ctx.t("jobs.folder_refused", reason=plain(error)), icon=":material/folder_off:")
        return None


def skipped(ctx: Context, about: Mapping[str, Any]) -> list[str]:
    """The sentence on the files a result leaves out, naming the first few; empty if all were used."""
    files = about.get("files", {}).get("skipped", {})
    said = left_out.sentence(files, ctx.lang, write=partial(plain, limit=LONGEST))
    return [said] if said else []


@st.cache_data(ttl=SCAN, max_entries=8, show_spinner=False)
def _folders(roots: tuple[Path, ...], flat: bool) -> list[Path]:
    """The folders on offer; scanned only now and then, because a disk may hold very many."""
    return jobs.folders(flat)


@st.cache_data(ttl=SCAN, max_entries=64, show_spinner=False)
def _allowed(folder: Path, roots: tuple[Path, ...]) -> Path:
    """Check a folder and all in it, only now and then; the command checks again before it reads a photo."""
    return jobs.allowed(folder)


def refused(ctx: Context) -> str:
    """Why the chosen model cannot be measured in the background; empty if it can."""
    if ctx.settings.model in models.own():
        return ctx.t("jobs.own")
    if recorded(ctx.model).trained is None:
        return ctx.t("jobs.random")
    return ""


def panel(
    ctx: Context,
    kind: str,
    command: Sequence[str] | None,
    result: str,
    label: str | None = None,
    show: Callable[[jobs.Job], None] | None = None,
    growing: bool = False,
    files: Mapping[str, str | bytes] | None = None,
    brief: Sequence[str] = (),
    private: bool = False,
) -> None:
    """A button that starts a job, and the list of all jobs of its kind.

    Args:
        ctx: The page.
        kind: As for `cfviz.jobs.start`.
        command: The command to start; None while a choice is still missing.
        result: The file the command writes, inside the job's folder.
        label: The button's label.
        show: Draws a job's results below its line; called by the fragment.
        growing: Whether to draw partial results too, at every check.
        files: As for `cfviz.jobs.start`.
        brief: As for `cfviz.jobs.start`.
        private: Whether to list only what this reader may change, since the results show photos.
    """
    st.button(
        label or ctx.t("jobs.start"),
        icon=":material/play_arrow:",
        type="primary",
        key=f"jobs.start.{kind}",
        disabled=command is None,
        on_click=_begin,
        args=(kind, tuple(command or ()), result, files, brief),
    )
    if refused := st.session_state.pop(f"jobs.refused.{kind}", None):
        st.error(ctx.t("jobs.refused", reason=plain(refused)), icon=":material/error:")
    found = listed(kind, private)[:SHOWN]
    if found:
        st.caption(ctx.t("jobs.private" if private else "jobs.shared", kept=jobs.KEPT))
    running = any(job.state in jobs.ALIVE for job in found)
    st.fragment(_list, run_every=EVERY if running else None)(ctx, kind, running, show, growing, private)


def listed(kind: str, private: bool = False) -> list[jobs.Job]:
    """All jobs of a kind, the latest first; if they are private, those that this reader may change."""
    return [job for job in jobs.listed(kind) if not private or _may_change(job)]


def _begin(
    kind: str,
    command: Sequence[str],
    result: str,
    files: Mapping[str, str | bytes] | None,
    brief: Sequence[str],
) -> None:
    try:
        jobs.start(kind, command, result, files, reader.browser(), brief)
    except (ValueError, OSError) as error:
        st.session_state[f"jobs.refused.{kind}"] = str(error)


def _list(
    ctx: Context,
    kind: str,
    watched: bool,
    show: Callable[[jobs.Job], None] | None,
    growing: bool,
    private: bool,
) -> None:
    """The latest jobs; when the last one stops, the whole page is redrawn, without polling."""
    found = listed(kind, private)[:SHOWN]
    if watched and not any(job.state in jobs.ALIVE for job in found):
        state.redraw()
    for job in found:
        with st.container(border=True, key=f"jobs-{kind}-{job.id}"):
            _line(ctx, job)
            if show is not None and (job.state == "done" or (growing and job.result.exists())):
                show(job)


def _line(ctx: Context, job: jobs.Job) -> None:
    """One job: its state and progress, and the buttons to act on it."""
    text, can = st.columns([4, 1], vertical_alignment="center")
    with text:
        said = f":material/{ICONS[job.state]}: **{ctx.t(f'jobs.state_{job.state}')}**"
        if job.state == "running" and job.total:
            said += " · " + ctx.t("jobs.progress", done=job.done, total=job.total)
            if job.left is not None:
                said += " · " + ctx.t("jobs.left", time=clock(job.left))
        elif job.state not in ("waiting", "interrupted"):
            said += " · " + ctx.t("jobs.took", time=clock(job.seconds))
        st.markdown(said)
        if job.state == "running":
            st.progress(min(1.0, job.done / job.total) if job.total else 0.0)
        if job.message:
            st.text(job.message[:200])
    if not _may_change(job):
        return
    with can:
        if job.state in jobs.ALIVE:
            st.button(
                ctx.t("jobs.cancel"), icon=":material/stop:", key=f"jobs.cancel.{job.kind}.{job.id}",
                on_click=_cancel, args=(job,), width="stretch",
            )  # fmt: skip
        elif job.resumable and st.button(
            ctx.t("jobs.resume"), icon=":material/resume:", key=f"jobs.resume.{job.kind}.{job.id}",
            on_click=_resume, args=(job,), width="stretch",
        ):  # fmt: skip
            st.rerun()  # the whole page, whose fragment then starts polling again


def _may_change(job: jobs.Job) -> bool:
    """Whether the reader may cancel or resume a job: whoever started it may, and whoever runs the server."""
    return job.owner == reader.browser() or reader.at_the_machine()


def _resume(job: jobs.Job) -> None:
    try:
        jobs.resume(job, reader.browser())
    except (ValueError, OSError) as error:
        st.session_state[f"jobs.refused.{job.kind}"] = str(error)


def clock(seconds: float) -> str:
    """59 -> 0:59, 3700 -> 1:01:40."""
    whole = int(seconds + 0.5)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cancel(job: jobs.Job) -> None:
    """Cancel a job from its button, without waiting: the panel shows the outcome."""
    jobs.cancel(job)
