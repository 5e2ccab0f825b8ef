"""The position bias as a surface, how it is made, and what a resized window does to bias and prediction."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.figures.position_bias import subject_of
from cfviz.ui.pages.position_bias import ablation, accuracy, answer, own_photos, surfaces

ctx = start("position_bias")
subject = subject_of(ctx)
surfaces.figures(ctx, subject, "surfaces")
surfaces.summary(ctx, subject, accuracy.verdict(ctx))
surfaces.figures(ctx, subject, "made")
surfaces.figures(ctx, subject, "resized")
answer.section(ctx, subject)
accuracy.section(ctx, subject)
own_photos.section(ctx, subject)
ablation.section(ctx, subject)
ablation.share(ctx, subject)
