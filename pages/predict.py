"""What the model sees in a photo, and how sure it is."""

from __future__ import annotations

from cfviz.ui import start
from cfviz.ui.pages.predict import show_own_photos, show_prediction, show_sizes
from cfviz.ui.widgets.picker import show_picker
from cfviz.ui.widgets.report import show_report_button

ctx = start("predict")
show_picker(ctx)
show_prediction(ctx, ctx.trace())
show_report_button(ctx)
show_own_photos(ctx)
show_sizes(ctx)
