"""What pages are made of: the only Streamlit code beside the pages themselves."""

from cfviz.ui.context import Context
from cfviz.ui.shell.page import start

__all__ = ["Context", "start"]
