"""How tokens find their group: members, a worked example, reach and other methods. Needs no model."""

from __future__ import annotations

import streamlit as st

from cfviz.ui import start
from cfviz.ui.compute.models import form_of
from cfviz.ui.figures.grouping import show_grouping
from cfviz.ui.pages.grouping import state_from_link

ctx = start("grouping")
link = {"form": form_of(ctx.settings), **st.query_params.to_dict()}  # the sidebar's, unless the link has one
where, bad = state_from_link(link)
show_grouping(ctx.lang, start=where, bad=bool(bad))
