"""What each kernel of the cross-scale embedding layers puts into a token, and whether the model needs it."""

from __future__ import annotations

from cfviz.measured import quick
from cfviz.ui import start
from cfviz.ui.pages.embedding import ablation, figure, filters
from cfviz.ui.pages.embedding.subject import subject_of
from cfviz.ui.widgets.chart import show_hint

ctx = start("embedding")
subject = subject_of(ctx)
show_hint(ctx.t("embedding.look"))
figure.show_embedding(ctx, subject)
trace = subject.trace
at_once = bool(trace.labels) and trace.weights.predicts and quick(subject.model, trace.size)
figure.show_summary(ctx, subject, ablation.costs(subject) if at_once else None)
ablation.show_ablation(ctx, subject)
ablation.show_reads(ctx, subject)
filters.show_filters(ctx, subject)
filters.show_patches(ctx, subject)
filters.show_patterns(ctx, subject)
filters.show_other_embeddings(ctx, subject)
