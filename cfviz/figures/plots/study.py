"""Figures of a study: what each change costs, with its interval, and how that relates to what heads do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import plotly.graph_objects as go

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import PERCENT, Theme
from cfviz.words import decimal, quantity, signed


@cached_figure
def forest(rows: Sequence[tuple[str, float, float, float]], axis: str, theme: Theme, unit: str) -> go.Figure:
    """Values with their 95 % intervals, one per line.

    Args:
        rows: Name, value, low, high; the last two are NaN if there is no interval.
        axis: Title of the axis.
        theme: Colours.
        unit: "%" if values are shares, shown in per cent; another text if they are differences of shares,
            shown in hundredths with that unit; empty for other numbers.
    """
    if unit:
        rows = [(name, 100 * value, 100 * low, 100 * high) for name, value, low, high in rows]
    names, value, low, high = (list(column) for column in zip(*rows, strict=True))
    sure = [a > 0 or b < 0 for a, b in zip(low, high, strict=True)]
    write = {"%": lambda x: decimal(x, 1), "": lambda x: f"{x:.3g}"}.get(unit, lambda x: signed(x, 1))
    told = [  # a single photo has no interval
        write(v) if isnan(a) else f"{write(v)} [{write(a)}, {write(b)}]"
        for v, a, b in zip(value, low, high, strict=True)
    ]
    fig = go.Figure(
        go.Scatter(
            x=value,
            y=names,
            mode="markers",
            marker={"size": 9, "color": [theme.ink if s else theme.muted for s in sure]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [b - v for b, v in zip(high, value, strict=True)],
                "arrayminus": [v - a for a, v in zip(low, value, strict=True)],
                "color": theme.muted,
                "thickness": 1.5,
                "width": 0,
            },
            customdata=[quantity(text, unit) if unit else text for text in told],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )
    theme.lay_out(
        fig,
        height=24 * len(rows) + 80,
        xaxis={
            **(PERCENT if unit == "%" else {}), "tickformat": "~f" if unit else None, "tickangle": 0,
            "nticks": 6, "fixedrange": True, "zerolinecolor": theme.muted,
        },
        annotations=[  # the title of the axis, from the right edge: names leave little room on a phone
            {"text": axis, "x": 1, "y": 0, "xref": "paper", "yref": "paper", "xanchor": "right",
             "yanchor": "top", "yshift": -24, "showarrow": False, "font": {"color": theme.muted, "size": 13}}
        ],
        yaxis={
            "autorange": "reversed", "fixedrange": True, "showgrid": False, "type": "category",
            "tickfont": {"color": theme.ink, "size": 12}, "ticklabelstandoff": 6, "dtick": 1,
        },
        margin={"l": 8, "r": 16, "t": 8, "b": 48},
    )  # fmt: skip
    return fig


@cached_figure
def scatter(
    rows: Sequence[Mapping[str, Any]], axes: tuple[str, str], names: Sequence[str], theme: Theme, unit: str
) -> go.Figure:
    """One point per head: a measure of the head against the cost of changing it; one symbol per stage.

    Args:
        rows: `name`, `stage` (from 0), `x`, `y` (a difference of shares, shown in hundredths).
        axes: Titles of the axes.
        names: Names of the stages.
        theme: Colours.
        unit: The unit of `y`: "points" in the reader's language.
    """
    symbols, shades = ("circle", "diamond", "square", "triangle-up"), theme.sequential[1::3]
    fig = go.Figure()
    for s, name in enumerate(names):
        mine = [row for row in rows if row["stage"] == s]
        if mine:
            fig.add_scatter(
                x=[row["x"] for row in mine],
                y=[100 * row["y"] for row in mine],
                text=[row["name"] for row in mine],
                customdata=[f"{row['x']:.3g}, {quantity(signed(100 * row['y'], 1), unit)}" for row in mine],
                name=name,
                mode="markers",
                marker={
                    "size": 10,
                    "symbol": symbols[s % 4],
                    "color": shades[s % len(shades)][1],
                    "line": {"color": theme.ink, "width": 0.6},
                },
                hovertemplate="%{text}: %{customdata}<extra></extra>",
            )
    theme.lay_out(
        fig,
        height=420,
        xaxis={"title": {"text": axes[0]}, "fixedrange": True},
        yaxis={"title": {"text": axes[1]}, "tickformat": "~f", "fixedrange": True},
        margin={"l": 8, "r": 16, "t": 36, "b": 8},
    )
    return fig
