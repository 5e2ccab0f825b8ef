"""Many photos: what each part of the model is worth, with intervals, and studies of one's own."""

from __future__ import annotations

from cfviz.ui import section, start
from cfviz.ui.pages.study import findings as study
from cfviz.ui.pages.study.survey import show_survey

ctx = start("study")
found = study.choose_study(ctx)
if found is not None:
    rows, about, file = found
    names = study.titles(ctx, rows)
    study.show_findings(ctx, rows, names, about)
section(ctx, "start", study.show_start, ctx, params=("parts",), opened=found is None or study.runs())
section(ctx, "survey", show_survey, ctx, params=("survey", "surveyed", "photos"))
if found is not None:
    section(ctx, "explore", study.show_explorer, ctx, rows, names, file, opened=True)
    section(ctx, "against", study.show_head_scatter, ctx, rows, names, file)
