"""What heads attend to: the living figure on the chosen photo, and what can be measured in it."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.attention import view as attention

ctx = start("attention")
about = attention.choose_subject(ctx)
attention.figure(ctx, about)
attention.below(ctx, about)
attention.heads(ctx, about)
attention.paths(ctx, about)
attention.relevance(ctx, about)
