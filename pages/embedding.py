"""What each kernel of the cross-scale embedding layers puts into a token, and whether the model needs it."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.measured import quick
from cfviz.ui import start
from cfviz.ui.pages.embedding import ablation, figure, filters
from cfviz.ui.pages.embedding.subject import subject_of
from cfviz.ui.widgets.chart import look

ctx = start("embedding")
subject = subject_of(ctx)
look(ctx.t("embedding.look"))
figure.figure(ctx, subject)
at_once = bool(subject.trace.labels) and quick(subject.model)
figure.summary(ctx, subject, ablation.costs(subject) if at_once else None)
ablation.knock_out(ctx, subject)
ablation.reads(ctx, subject)
filters.filters(ctx, subject)
filters.patches(ctx, subject)
filters.patterns(ctx, subject)
filters.others(ctx, subject)
