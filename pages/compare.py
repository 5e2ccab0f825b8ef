"""Two models on one photo: the same point in both, their predictions, their features, their cost."""

from __future__ import annotations

from cfviz.ui import section, start
from cfviz.ui.pages.compare import tables
from cfviz.ui.pages.compare.pair import choose_pair

ctx = start("compare")
pair = choose_pair(ctx)
tables.show_linked(ctx, pair)
section(ctx, "answers", tables.show_predictions, ctx, pair, opened=True)
section(ctx, "cost", tables.show_costs, ctx, pair)
section(ctx, "like", tables.show_similarity, ctx, pair)
