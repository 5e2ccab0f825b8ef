"""What each kernel of the cross-scale embedding layers puts into a token, and whether the model needs it."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.measured import quick
from cfviz.ui import start
from cfviz.ui.pages.embedding import ablation, figure, filters
from cfviz.ui.pages.embedding.subject import subject
from cfviz.ui.widgets.chart import look

ctx = start("embedding")
its = subject(ctx)
look(ctx.t("embedding.look"))
figure.figure(ctx, its)
figure.summary(ctx, its, ablation.costs(its) if quick(its.model) else None)
ablation.knock_out(ctx, its)
ablation.reads(ctx, its)
filters.filters(ctx, its)
filters.patches(ctx, its)
filters.patterns(ctx, its)
filters.others(ctx, its)
