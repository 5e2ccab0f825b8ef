"""The position bias as a surface, how it is made, and what a resized window does to bias and prediction."""

from __future__ import annotations

from cfviz.ui import section, start
from cfviz.ui.figures.position_bias import subject_of
from cfviz.ui.pages.position_bias import ablation, accuracy, answer, learning, own_photos, surfaces
from cfviz.ui.widgets.section import opens

ctx = start("position_bias")
subject = subject_of(ctx)
ctx.computed()  # the first figure needs no prediction
plain = accuracy.plain(ctx)
verdict = [] if plain else accuracy.verdict(ctx)  # with intervals, it stands beside the curves
surfaces.show_figure(ctx, subject, "surfaces", first=not opens(ctx, "answer", answer.PARAMS))
surfaces.show_summary(ctx, subject, plain, verdict)
section(ctx, "made", surfaces.show_figure, ctx, subject, "made")
section(ctx, "resized", surfaces.show_figure, ctx, subject, "resized", params=("Gh", "Gw", "less", "large"))
section(ctx, "learning", learning.show_learning, ctx)
section(ctx, "answer", answer.show_answers, ctx, subject, params=answer.PARAMS)
section(ctx, "sizes", accuracy.show_accuracy, ctx, subject, verdict, params=accuracy.PARAMS)
section(ctx, "job", own_photos.show_own_photos, ctx, subject)
section(ctx, "use", ablation.show_ablation, ctx, subject, params=("where", "how", "class"))
section(ctx, "share", ablation.show_position_share, ctx, subject)
