"""The data of the grouping figures: words, colours and a starting state, and the link that records the state.

After that, nothing these figures do reaches the server. A browser test checks their copy of the geometry
(`cfviz/web/grouping/geo.js`) against `cfviz.geometry`.

The link's parameters are map=HxW, g, i (a number or "adaptive"), form (of LDA), kind, c, q=row.col; stage,
for the map of that stage of the chosen model where no map is named; open names the sections that are open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cfviz.figures import theme
from cfviz.framing import LARGEST
from cfviz.options import LDA

LIMITS = {"side": LARGEST // 4, "group": 32, "interval": 32}  # the first stage of the largest input fits
CHANNELS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
DEFAULTS = {"map": "56x56", "g": "7", "i": "8", "form": "regions", "kind": "lda", "c": "96", "q": "20.20"}
SECTIONS = ("all", "example", "growth", "methods")  # of the page; the first figure is always open


def pack(
    start: Mapping[str, Any],
    *,
    strings: Mapping[str, str],
    bad: bool = False,
    lesson: str = "",
    stages: Sequence[Mapping[str, Any]] = (),
    of: str = "",
    covers: str = "",
) -> dict[str, Any]:
    """Return what the figures need, as plain values.

    Args:
        start: The starting state, from `state_from_link`.
        strings: The figures' words.
        bad: Whether the link held an invalid value, which the figures then mention in one quiet line.
        lesson: If given, the first figure is shown alone, which then follows `start` and leaves the link
            alone: "ask" hides the counts and costs, "told" shows them.
        stages: The stages of a model that the reader can choose, from `stages_on_offer`.
        of: The model and the size that they belong to, to be read.
        covers: A sentence on how many blocks of that model it takes to cover the photo.
    """
    data = {
        "start": dict(start),
        "bad": bad,
        "limits": LIMITS,
        "palette": {"light": theme.LIGHT.css(), "dark": theme.DARK.css()},
        "strings": dict(strings),
        "stages": [dict(stage) for stage in stages],
        "of": of,
        "covers": covers,
    }
    return data | {"lesson": lesson} if lesson else data


def query_of_stage(size: tuple[int, int], group: int, interval: int | str, channels: int) -> dict[str, str]:
    """The link's parameters for a stage of a model; none if the figures cannot show all of them.

    Args:
        size: Height and width of the map in tokens.
        group: G.
        interval: I, or "adaptive".
        channels: C.
    """
    found = {"map": f"{size[0]}x{size[1]}", "g": str(group), "i": str(interval), "c": str(channels)}
    _, bad = state_from_link(found)
    return {} if bad else found


def stages_on_offer(queries: Mapping[int, Mapping[str, str]], depths: Sequence[int]) -> list[dict[str, Any]]:
    """The stages that the reader can choose, as `pack` takes them.

    Args:
        queries: Number of a stage, from 1 -> its parameters in a link, `form` among them.
        depths: Blocks in each stage.
    """
    names = ("h", "w", "g", "i", "c", "form")
    states = {number: state_from_link(query)[0] for number, query in queries.items()}
    return [
        {"number": number, "blocks": depths[number - 1], **{name: state[name] for name in names}}
        for number, state in states.items()
    ]


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
        "c": read("c", lambda text: int(text) if text in map(str, CHANNELS) else None),
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
    n = int(text) if re.fullmatch("[0-9]{1,4}", text) else -1
    return n if low <= n <= high else None


def _pair(text: str, mark: str, low: tuple[int, int], high: tuple[int, int]) -> tuple[int, int] | None:
    parts = text.split(mark)
    if len(parts) != 2:
        return None
    a, b = (_within(part, lo, hi) for part, lo, hi in zip(parts, low, high, strict=True))
    return None if a is None or b is None else (a, b)
