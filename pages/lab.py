"""Change a part of the model and see what it was for: interventions on one photo, before and after."""

from __future__ import annotations

from cfviz.ui import start
from cfviz.ui.pages.lab.results import show_lab
from cfviz.ui.widgets.chart import show_hint

ctx = start("lab")
show_hint(ctx.t("lab.look"))
show_lab(ctx)
