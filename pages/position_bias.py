"""The position bias as a surface, how it is made, and what a resized window does to bias and prediction."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.position_bias import ablation, accuracy, answer, own_photos, surfaces

ctx = start("position_bias")
its = surfaces.subject(ctx)
surfaces.figures(ctx, its, "surfaces")
surfaces.summary(ctx, its, accuracy.verdict(ctx))
surfaces.figures(ctx, its, "made")
surfaces.figures(ctx, its, "resized")
answer.section(ctx, its)
accuracy.section(ctx, its)
own_photos.section(ctx, its)
ablation.section(ctx, its)
ablation.share(ctx, its)
