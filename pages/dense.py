"""What detectors and segmenters find, and why this box or this pixel."""

from __future__ import annotations

from cfviz.ui import section, start
from cfviz.ui.pages.dense import computes, view
from cfviz.ui.widgets.picker import show_picker

ctx = start("dense")
show_picker(ctx)
subject = view.choose_subject(ctx)
view.show_figure(ctx, subject)
view.show_footer(ctx, subject)
view.show_attention(ctx, subject)
section(ctx, "computes", computes.show_computes, ctx, subject)
