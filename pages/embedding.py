"""What each kernel of the cross-scale embedding layers puts into a token, and whether the model needs it."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.embedding import (
    ablation as embedding_use,
)
from cfviz.ui.pages.embedding import (
    figure as embedding,
)
from cfviz.ui.pages.embedding import (
    filters as embedding_look,
)
from cfviz.ui.pages.embedding.subject import subject
from cfviz.ui.widgets.chart import look

ctx = start("embedding")
its = subject(ctx)
look(ctx.t("embedding.look"))
embedding.figure(ctx, its)
embedding.summary(ctx, its, embedding_use.costs(its) if embedding_use.quick(its) else None)
embedding_use.knock_out(ctx, its)
embedding_use.reads(ctx, its)
embedding_look.filters(ctx, its)
embedding_look.patches(ctx, its)
embedding_look.patterns(ctx, its)
embedding_look.others(ctx, its)
