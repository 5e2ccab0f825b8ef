"""How tokens find their group: members, a worked example, reach and other methods. Needs no model."""

from __future__ import annotations

import streamlit as st

from cfviz.figures.live.grouping import state_from_link
from cfviz.ui import start
from cfviz.ui.figures.grouping import show_grouping
from cfviz.ui.pages.grouping import query_of

ctx = start("grouping")
where, bad = state_from_link(query_of(ctx.settings, st.query_params.to_dict()))
show_grouping(ctx.lang, start=where, bad=bool(bad))
