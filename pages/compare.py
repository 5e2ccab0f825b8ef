"""Two models on one photo: the same point in both, their predictions, their features, their cost."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.compare import tables
from cfviz.ui.pages.compare.pair import choose

ctx = start("compare")
pair = choose(ctx)
tables.linked(ctx, pair)
tables.answers(ctx, pair)
tables.costs(ctx, pair)
tables.similarity(ctx, pair)
