"""What takes long is computed once the reader asks for it."""

from __future__ import annotations

import streamlit as st


def requested(label: str, flag: str, *, cost: str = "", key: str | None = None) -> bool:
    """Whether the reader has asked; until then there is a button.

    Args:
        label: What the button says.
        flag: The session's name of what was asked for; one with the photo's or the model's key in it is asked
            for anew for another.
        cost: A sentence above the button on how long it takes.
        key: The button's key.
    """
    if st.session_state.get(flag):
        return True
    if cost:
        st.caption(cost)
    st.button(
        label, icon=":material/play_arrow:", key=key,
        on_click=lambda: st.session_state.update({flag: True}),
    )  # fmt: skip
    return False
