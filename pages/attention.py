"""What heads attend to: the living figure on the chosen photo, and what can be measured in it."""

from __future__ import annotations

import streamlit as st

from cfviz.ui import attention, start
from cfviz.ui.layout import look

ctx = start("attention")
trace = ctx.trace(*attention.WATCH)
look(ctx.t("attention.look"))
packed = attention.figure(ctx, trace)
