"""Many photos: what each part of the model is worth, with intervals, and studies of one's own."""

from __future__ import annotations

from cfviz.ui import start
from cfviz.ui.pages import study

ctx = start("study")
if (found := study.choose_study(ctx)) is not None:
    rows, about, file = found
    names = study.titles(ctx, rows)
    study.show_findings(ctx, rows, names, about)
    study.show_explorer(ctx, rows, names, file)
    study.show_head_scatter(ctx, rows, names, file)
study.show_start(ctx)
