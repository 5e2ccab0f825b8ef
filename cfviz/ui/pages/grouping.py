"""The grouping page: it needs no model, and its link records the state of its figures.

The parameters are map=HxW, g, i (a number or "adaptive"), form (of LDA), kind, c, q=row.col; open names
the sections that are open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from cfviz.models.variants import VARIANTS
from cfviz.options import LDA
from cfviz.ui.compute import models
from cfviz.ui.figures.grouping import LIMITS
from cfviz.ui.session.state import Settings

CHANNELS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
CHOSEN = "cfviz.grouping.chosen"  # model and size at the last run
DEFAULTS = {"map": "56x56", "g": "7", "i": "8", "form": "regions", "kind": "lda", "c": "96", "q": "20.20"}
SECTIONS = ("all", "example", "growth", "methods")  # of the page; the first figure is always open


def of_the_model(settings: Settings) -> dict[str, str]:
    """The parameters of a model's first stage at the chosen size, as far as the figures can show them."""
    mine = models.own().get(settings.model)
    if mine is not None:
        channels, G, interval = mine.feature_info[0]["num_chs"], mine.group_size[0], mine.interval
        every = interval if isinstance(interval, str) else interval[0]
    else:
        about = VARIANTS[settings.model]
        channels, G, every = about["embed_dim"], about["group_size"][0], about["interval"][0]
    height, width = (side // 4 for side in settings.sides)
    found = {"map": f"{height}x{width}", "g": str(G), "i": str(every), "c": str(channels)}
    _, bad = state_from_link(found)
    return {name: value for name, value in found.items() if name not in bad}


def query_of(settings: Settings, link: Mapping[str, str]) -> dict[str, str]:
    """The link's parameters, and the model's where there are none or where another model was chosen since."""
    mine, chosen = of_the_model(settings), (settings.model, settings.sides)
    before = st.session_state.get(CHOSEN, chosen)
    st.session_state[CHOSEN] = chosen
    if before != chosen:
        link = {name: value for name, value in link.items() if name not in (*mine, "q")}
    return {"form": models.form_of(settings), **mine, **link}


def state_from_link(query: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The figures' starting state, from a link.

    Args:
        query: The URL's parameters; parameters that are not ours are ignored.

    Returns:
        The state, with the default for each missing or invalid value, and the names of the invalid ones.
    """
    bad: list[str] = []

    def read(name: str, parse: Callable[[str], Any]) -> Any:
        try:
            value = parse(query.get(name, DEFAULTS[name]))
        except ValueError:
            value = None
        if value is None:
            bad.append(name)
            value = parse(DEFAULTS[name])
        return value

    side, group, interval = LIMITS["side"], LIMITS["group"], LIMITS["interval"]
    h, w = read("map", lambda text: _pair(text, "x", (1, 1), (side, side)))
    start = {
        "h": h,
        "w": w,
        "g": read("g", lambda text: _within(text, 1, group)),
        "i": read("i", lambda text: text if text == "adaptive" else _within(text, 1, interval)),
        "form": read("form", lambda text: text if text in LDA else None),
        "kind": read("kind", lambda text: text if text in ("sda", "lda") else None),
        "c": read("c", lambda text: int(text) if int(text) in CHANNELS else None),
    }
    row, col = min(20, h - 1), min(20, w - 1)
    if "q" in query:
        found = _pair(query["q"], ".", (0, 0), (h - 1, w - 1))
        if found is None:
            bad.append("q")
        row, col = found or (row, col)
    stated = query.get("open", "").split(".")
    opened = ".".join(one for one in dict.fromkeys(stated) if one.removeprefix("-") in SECTIONS)
    return start | {"row": row, "col": col, "open": opened}, bad


def _within(text: str, low: int, high: int) -> int | None:
    n = int(text) if re.fullmatch(r"\d{1,4}", text) else -1
    return n if low <= n <= high else None


def _pair(text: str, mark: str, low: tuple[int, int], high: tuple[int, int]) -> tuple[int, int] | None:
    parts = text.split(mark)
    if len(parts) != 2:
        return None
    a, b = (_within(part, lo, hi) for part, lo, hi in zip(parts, low, high, strict=True))
    return None if a is None or b is None else (a, b)
