"""The home page: the whole of CrossFormer in one living figure."""

from __future__ import annotations

import streamlit as st

from cfviz.ui import start

ctx = start("home")
trace = ctx.trace()
st.write(trace.top(3))
