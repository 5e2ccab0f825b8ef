"""What each kernel of the cross-scale embedding layers puts into a token, and whether the model needs it."""

from __future__ import annotations

from functools import partial

from cfviz.measured import quick
from cfviz.ui import section, start
from cfviz.ui.pages.embedding import ablation, figure, filters
from cfviz.ui.pages.embedding.subject import subject_of
from cfviz.ui.widgets.chart import show_hint

ctx = start("embedding")
subject = subject_of(ctx)
show_hint(ctx.t("embedding.look"))
figure.show_embedding(ctx, subject)
trace = subject.trace
at_once = bool(trace.labels) and trace.weights.predicts and quick(subject.model, trace.size)
figure.show_summary(ctx, subject, partial(ablation.costs, subject) if at_once else None)
section(ctx, "knock", ablation.show_ablation, ctx, subject, params=("way", "class"))
section(ctx, "reads", ablation.show_reads, ctx, subject)
section(ctx, "filters", filters.show_filters, ctx, subject)
section(ctx, "patches", filters.show_patches, ctx, subject)
section(ctx, "patterns", filters.show_patterns, ctx, subject)
section(ctx, "others", filters.show_other_embeddings, ctx, subject)
figure.send_rest(subject)
