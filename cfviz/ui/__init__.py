"""What pages are made of: the only Streamlit code beside the pages themselves."""

from cfviz.ui.shell.page import Context, start

__all__ = ["Context", "start"]
