"""The home page: the whole of CrossFormer in one living figure."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.home import show_model

show_model(start("home"))
