"""Who a reader is across sessions: the browser, or somebody at the server's own machine."""

from __future__ import annotations

import hashlib
import secrets

import streamlit as st
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string
from streamlit.web.server.starlette.starlette_server_config import XSRF_COOKIE_NAME

from .gate import FORWARDED

_TOKEN = "cfviz.reader"
HERE = ("", "localhost", "127.0.0.1", "::1")


def browser() -> str:
    """A word that only this browser leads to, from the cookie that Streamlit gives it (against forgeries).

    It outlives a reload, and is the same in all tabs. Without a cookie it is the session's.
    """
    cookie = st.context.cookies.get(XSRF_COOKIE_NAME)
    token = decode_xsrf_token_string(cookie)[0] if cookie else None
    if token is None:
        token = st.session_state.setdefault(_TOKEN, secrets.token_bytes(16))
    return hashlib.sha256(b"cfviz reader" + token).hexdigest()[:32]


def at_the_machine() -> bool:
    """Whether the reader sits at the machine that runs the app, as far as its connection tells."""
    headers = st.context.headers
    host = headers.get("Host", "").rpartition(":")
    name = (host[0] if host[2].isdigit() else "".join(host)).strip("[]")
    forwarded = any(name in headers for name in FORWARDED)
    return st.context.ip_address is None and name in HERE and not forwarded
