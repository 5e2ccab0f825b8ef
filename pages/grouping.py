"""How tokens find their group: members, a worked example, reach and other methods. Needs no model."""

from __future__ import annotations

import streamlit as st

from cfviz.framing import size_text
from cfviz.measured import coverage
from cfviz.ui import start
from cfviz.ui.compute import models
from cfviz.ui.figures.grouping import show_grouping
from cfviz.ui.pages.grouping import blocks_of_the_model, opening
from cfviz.ui.session.state import write_link
from cfviz.words import quantity

ctx = start("grouping")
opens = opening(ctx.settings, st.query_params.to_dict())
write_link(ctx.settings, "grouping")
show_grouping(
    ctx.lang,
    start=opens.start,
    bad=bool(opens.bad),
    stages=opens.stages,
    of=f"{models.title(ctx.settings.model)}, {quantity(size_text(ctx.settings.size), 'px')}",
    covers=coverage(blocks_of_the_model(ctx.settings), ctx.t),
)
