"""How tokens find their group: members, a worked example, reach and other methods. Needs no model."""

from __future__ import annotations

import streamlit as st

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.figures.grouping import grouping_figures
from cfviz.ui.pages.grouping import begin

ctx = start("grouping")
where, bad = begin(st.query_params.to_dict())
grouping_figures(ctx.lang, start=where, bad=bool(bad))
