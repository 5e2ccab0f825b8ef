"""The position bias as a surface, how it is made, and what a resized window does to bias and prediction."""

from __future__ import annotations

from cfviz.ui import start
from cfviz.ui.figures.position_bias import subject_of
from cfviz.ui.pages.position_bias import ablation, accuracy, answer, own_photos, surfaces

ctx = start("position_bias")
subject = subject_of(ctx)
surfaces.show_figure(ctx, subject, "surfaces")
surfaces.show_summary(ctx, subject, accuracy.verdict(ctx))
surfaces.show_figure(ctx, subject, "made")
surfaces.show_figure(ctx, subject, "resized")
answer.show_answers(ctx, subject)
accuracy.show_accuracy(ctx, subject)
own_photos.show_own_photos(ctx, subject)
ablation.show_ablation(ctx, subject)
ablation.show_position_share(ctx, subject)
