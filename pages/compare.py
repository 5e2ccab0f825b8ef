"""Two models on one photo: the same point in both, their answers, their features, their cost."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.compare import pair as compare
from cfviz.ui.pages.compare import tables as compare_show

ctx = start("compare")
pair = compare.choose(ctx)
compare_show.linked(ctx, pair)
compare_show.answers(ctx, pair)
compare_show.costs(ctx, pair)
compare_show.similarity(ctx, pair)
