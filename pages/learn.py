"""Five short lessons that drive the figures: a step says one thing, asks for a guess, shows what is so."""

from __future__ import annotations

from cfviz.ui import start
from cfviz.ui.pages.learn.page import show_lessons

show_lessons(start("learn"))
