"""The first reader of a new server sees what is being waited for, not an empty page.

Every page imports this first: what follows imports PyTorch, which takes a new process some seconds.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import streamlit as st

_APP = Path(__file__).resolve().parents[1]  # `assets/` lies in it in a checkout, beside it once installed
TEXTS = next(f for f in (_APP / "assets", _APP.parent / "assets") if f.is_dir()) / "translations"


def _text() -> str:
    """The sentence in the reader's language; to ask `cfviz` for it would import all that is waited for."""
    asked = st.query_params.get("lang") or st.context.locale or ""
    lang = "zh-Hant" if asked.lower().startswith("zh") else "en"
    return json.loads((TEXTS / lang / "common.json").read_text("utf-8"))["waking"]


if "torch" not in sys.modules:
    st.markdown(f":material/hourglass_top: {_text()}")
    import cfviz.ui  # noqa: F401

    st.rerun()  # from a clean page

from cfviz.ui.compute import ahead  # noqa: E402  last: it is what is waited for above


def _ahead() -> None:
    """Compute the gallery's results, with all pages' code, which only this thread waits for."""
    from cfviz.ui import ahead as gallery

    gallery.run()


if ahead.wanted():
    threading.Thread(target=_ahead, name="cfviz ahead", daemon=True).start()
