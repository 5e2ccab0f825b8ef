"""The Streamlit side of cfviz: the pages and the parts they are built from."""

from cfviz.ui.context import Context
from cfviz.ui.shell.page import start
from cfviz.ui.widgets.section import section

__all__ = ["Context", "section", "start"]
