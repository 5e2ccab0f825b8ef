"""The surveys of folders that a reader may see, for the pages that show them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cfviz import jobs
from cfviz.framing import as_pair
from cfviz.measured.survey import Survey, open_survey
from cfviz.ui.context import Context

from .jobs import listed

KIND, RESULT = "survey", "survey.safetensors"


def of_folders(ctx: Context) -> dict[str, Survey]:
    """The finished surveys of folders with the chosen weights at the chosen size, by their job's id."""
    found: dict[str, Survey] = {}
    s = ctx.settings
    for job in listed(KIND, private=True):
        if job.state != "done" or (one := opened(job)) is None:
            continue
        here = (s.mode, list(as_pair(s.size)))
        if (one.about["mode"], one.about["size"]) == here and one.is_of(ctx.model):
            found[job.id] = one
    return found


def opened(job: jobs.Job) -> Survey | None:
    """A job's survey; None if its file was removed or is damaged."""
    try:
        return _opened(job.result, job.result.stat().st_mtime)
    except (OSError, ValueError):
        return None


def folder_of(job_id: str) -> str:
    """The last part of the folder's path that a job looks into."""
    job = next((one for one in jobs.listed(KIND) if one.id == job_id), None)
    return Path(job.command[1]).name if job is not None and len(job.command) > 1 else job_id


@st.cache_resource(max_entries=4, show_spinner=False)
def _opened(path: Path, changed: float) -> Survey:
    return open_survey(path)
