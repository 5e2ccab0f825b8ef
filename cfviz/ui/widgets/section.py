"""The sections of a page: a heading that says what is inside, closed until the reader opens it.

section(ctx, "made", surfaces.show_figure, ctx, subject, "made")

The label is the translations `<page>.made_title` and `<page>.made_inside`. The link names what is open:
`?open=made.answer`, and `?open=all` for every section; `-made` for one that is closed although the page, or
a choice in the link that belongs to it, would open it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from cfviz.ui.context import Context

LINK = "open"  # the parameter of the link
ALL = "all"


@st.fragment
def section(
    ctx: Context,
    name: str,
    draw: Callable[..., object],
    *args: Any,
    params: Sequence[str] = (),
    opened: bool = False,
) -> None:
    """A section of the page; what is in a closed one is neither computed nor sent.

    Opening or closing it runs nothing else of the page again.

    Args:
        ctx: The page.
        name: The section's name in links and translations, unique on the page.
        draw: Draws what is inside; called with `args`, and only while the section is open.
        *args: The arguments of `draw`.
        params: Parameters of the link that concern this section alone: a link with one of them opens it.
        opened: Whether the section is open unless the reader or the link closes it.
    """
    key = _key(ctx, name)
    usual = opened or _asked(ctx, params)
    st.session_state[key] = is_open(ctx, name, usual)
    label = f"**{ctx.t(f'{ctx.name}.{name}_title')}** {ctx.t(f'{ctx.name}.{name}_inside')}"
    box = st.expander(label, key=key, on_change=partial(_turned, ctx, name, key, usual))
    if box.open:
        with box:
            draw(*args)


def opens(ctx: Context, name: str, params: Sequence[str] = ()) -> bool:
    """Whether a section of this run, with these `params`, is open; known before it is drawn."""
    return is_open(ctx, name, _asked(ctx, params))


def is_open(ctx: Context, name: str, usual: bool = False) -> bool:
    """Whether a section is open: as the reader or the link says, otherwise as usual."""
    stated = _stated(ctx)
    return name in stated or (f"-{name}" not in stated and (usual or ALL in stated))


def shown(ctx: Context, name: str) -> bool:
    """Whether a section is open on the reader's screen."""
    return bool(st.session_state.get(_key(ctx, name)))


def _key(ctx: Context, name: str) -> str:
    return f"section.{ctx.name}.{name}"


def _turned(ctx: Context, name: str, key: str, usual: bool) -> None:
    """Record in the link that the reader has opened or closed a section."""
    others = [one for one in _stated(ctx) if one not in (name, f"-{name}")]
    wanted = bool(st.session_state[key])
    by_itself = usual or ALL in others
    if wanted != by_itself:
        others.append(name if wanted else f"-{name}")
    ctx.put(**{LINK: ".".join(others)})


def _stated(ctx: Context) -> list[str]:
    return [one for one in ctx.get(LINK, "", _anything).split(".") if one]


def _asked(ctx: Context, params: Sequence[str]) -> bool:
    return any(ctx.get(param, "", _anything) for param in params)


def _anything(_: str) -> bool:
    return True
