"""What the model sees in a photo, and how sure it is."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.predict import answer, own_photos, sizes
from cfviz.ui.widgets.picker import picker
from cfviz.ui.widgets.report import button

ctx = start("predict")
picker(ctx)
answer(ctx, ctx.trace())
button(ctx)
own_photos(ctx)
sizes(ctx)
