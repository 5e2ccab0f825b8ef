"""What the model sees in a photo, and how sure it is."""

from __future__ import annotations

import streamlit as st

from cfviz.ui import start

ctx = start("predict")
trace = ctx.trace()
st.image(trace.crop, alt=ctx.settings.photo)
