"""What heads attend to: the living figure on the chosen photo, and what can be measured in it."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.attention import view

ctx = start("attention")
about = view.choose_subject(ctx)
view.figure(ctx, about)
view.below(ctx, about)
view.heads(ctx, about)
view.paths(ctx, about)
view.relevance(ctx, about)
