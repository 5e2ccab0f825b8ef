"""The lab's figures: the board of parts as plain data, bars of changes, pictures of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import PERCENT, Theme
from cfviz.geometry import CEL_KERNELS, Grouping
from cfviz.words import about, quantity, signed

from .architecture import feature_colours

LIMIT = 20  # bars in one figure


def stages(
    groupings: Sequence[Sequence[Grouping]],
    channels: Sequence[int],
    heads: Sequence[int],
    group_size: Sequence[int],
) -> list[dict[str, Any]]:
    """What the board shows of each stage, as plain numbers and strings.

    Args:
        groupings: How each block of each stage cuts its map.
        channels: C of each stage.
        heads: Heads of each stage.
        group_size: G of each stage, as the model has it.
    """
    return [
        {
            "H": blocks[0].H,
            "W": blocks[0].W,
            "C": channels[s],
            "heads": heads[s],
            "G": group_size[s],
            "I": max((g.I for g in blocks if g.kind == "lda"), default=1),
            "long": any(g.kind == "lda" for g in blocks),
            "kernels": list(CEL_KERNELS[s]),
            "blocks": [
                {"kind": g.kind, "padded": g.padded, "whole": min(g.H, g.W) <= group_size[s]} for g in blocks
            ],
        }
        for s, blocks in enumerate(groupings)
    ]


def board(
    parts: Sequence[str], values: np.ndarray, probs: Sequence[str], winners: Sequence[str]
) -> dict[str, Any]:
    """The effects of all parts, in the form that the board takes.

    Args:
        parts: The parts as links name them: "3.2.h5".
        values: What the colours show, (n,).
        probs: Probability of the predicted class afterwards, as text.
        winners: The class predicted afterwards if it is another one, else "".

    Returns:
        `effects`, and `top`, the value at the ends of the scale.
    """
    effects = {
        part: [round(float(v), 4), p, w] for part, v, p, w in zip(parts, values, probs, winners, strict=True)
    }
    return {"effects": effects, "top": float(np.abs(values).max(initial=0.0)) or 1.0}


def colours(theme: Theme) -> tuple[str, str]:
    """Colours below and above zero: the ends of the diverging scale, as far as they read as colours."""
    return theme.signs[1], theme.signs[-2]


@cached_figure
def change_bars(
    names: Sequence[str], values: Sequence[float], theme: Theme, axis: str, unit: str = ""
) -> go.Figure:
    """Changes as bars on both sides of zero, each with its number.

    Args:
        names: One per bar, from the top.
        values: The changes.
        theme: Colours.
        axis: Title of the axis.
        unit: "%" for shares, "" for plain numbers, another text for numbers of that unit.
    """
    low, high = colours(theme)
    scale, digits = {"%": (100, 0), "": (1, 2)}.get(unit, (1, 1))
    drawn = [scale * v for v in values]
    # On a phone there is room for a number and no more; the title of the axis and the reading name the unit.
    numbers = [signed(v, digits) for v in drawn]
    texts = [quantity(number, unit) for number in numbers] if unit == "%" else numbers
    reach = 1.5 * max((abs(v) for v in drawn), default=1.0) or 1.0
    rows = list(range(len(names)))
    fig = go.Figure(
        go.Bar(
            x=drawn,
            y=rows,
            orientation="h",
            width=0.66,
            marker={"color": [low if v < 0 else high for v in values], "cornerradius": 3},
            text=texts,
            textposition="outside",
            textfont={"color": theme.ink},
            cliponaxis=False,
            customdata=[
                about(name, quantity(number, unit) if unit else str(number))
                for name, number in zip(names, numbers, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    theme.lay_out(
        fig,
        height=27 * len(rows) + 90,
        showlegend=False,
        margin={"l": 8, "r": 16, "t": 4, "b": 4},
        xaxis={
            "range": [-reach, reach],
            "title": {"text": axis},
            **(PERCENT if unit == "%" else {"tickformat": ".2~f"}),
            "zeroline": True,
            "zerolinecolor": theme.muted,
            "fixedrange": True,
        },
        yaxis={
            "tickvals": rows,
            "ticktext": list(names),
            "range": [len(rows) - 0.4, -0.6],
            "tickfont": {"color": theme.ink, "size": 13},
            "ticklabelstandoff": 8,
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
    )
    return fig


def same_colours(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of features as pictures in the same colours: what looks similar in both is similar.

    Args:
        before: (H, W, C).
        after: (H, W, C).

    Returns:
        Two pictures uint8 (H, W, 3), from the principal components of both maps together.
    """
    both = feature_colours(np.concatenate([before, after]))
    return both[: len(before)], both[len(before) :]


def differences(maps: Sequence[np.ndarray], theme: Theme) -> tuple[list[np.ndarray], float]:
    """Signed maps as pictures on one scale, symmetric about zero.

    Args:
        maps: (H, W) each.
        theme: Colours.

    Returns:
        Pictures uint8 (H, W, 3), and the value at the ends of the scale.
    """
    top = max((float(np.abs(m).max()) for m in maps), default=0.0) or 1.0
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in theme.signs], float)
    at = np.linspace(-1, 1, len(stops))
    pictures = [np.stack([np.interp(m / top, at, stops[:, c]) for c in range(3)], -1) for m in maps]
    return [np.rint(p).astype(np.uint8) for p in pictures], top


def head_name(text: Mapping[str, str], part: str, stage: int, block: int | None, index: int | None) -> str:
    """A part's name in the reader's language, short enough for an axis: "3.2 head 5".

    Args:
        text: `part_head`, `part_kernel`, ..., with {n} in place of the number.
        part: One of `cfviz.models.interventions.language.PARTS`.
        stage: From 0.
        block: From 0; None for kernels.
        index: Number of a head from 0, or side of a kernel.
    """
    place = f"{stage + 1}" if block is None else f"{stage + 1}.{block + 1}"
    number = "" if index is None else index if part == "kernel" else index + 1
    return f"{place} {text[f'part_{part}'].replace('{n}', str(number))}".strip()
