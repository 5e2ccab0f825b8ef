"""Lessons that drive the figures (say, guess, check), the self-test, and the room for teachers."""

from __future__ import annotations

from cfviz.ui import start
from cfviz.ui.pages.learn.page import lede, show_lessons, turn

show_lessons(start("learn", turn, lede))
