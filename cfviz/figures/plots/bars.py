"""Signed bars with a note after each."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from cfviz.figures.theme import Theme
from cfviz.words import signed


def signed_bars(
    names: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    notes: Sequence[str],
    theme: Theme,
    axis: str,
    *,
    height: int,
    room: int,
) -> go.Figure:
    """One bar per line, to the left or right of zero.

    Args:
        names: One per bar, from the top.
        values: Lengths of the bars.
        colours: Colours of the bars.
        notes: Text on the right of each bar.
        theme: Colours of everything else.
        axis: Title of the axis.
        height: Of the figure in pixels.
        room: Width for the notes in pixels.
    """
    fig = go.Figure(
        go.Bar(
            x=list(values), y=list(names), orientation="h", width=0.62,
            marker={"color": list(colours), "cornerradius": 3},
            customdata=[signed(v, 3) for v in values], hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )  # fmt: skip
    for name, note in zip(names, notes, strict=True):
        fig.add_annotation(
            x=1, y=name, xref="paper", xanchor="left", xshift=8, text=note, showarrow=False, align="left",
            font={"color": theme.ink, "size": 13},
        )  # fmt: skip
    low, high = min(0.0, *values), max(0.0, *values)
    beyond = 0.04 * max(high - low, 1e-6)
    theme.lay_out(
        fig,
        height=height,
        showlegend=False,
        margin={"l": 8, "r": room, "t": 8, "b": 8},
        xaxis={
            "title": {"text": axis}, "range": [low - beyond, high + beyond], "fixedrange": True,
            "zerolinecolor": theme.muted, "nticks": 6,
        },
        yaxis={
            "autorange": "reversed", "fixedrange": True, "showgrid": False,
            "tickfont": {"color": theme.ink, "size": 13}, "ticklabelstandoff": 8,
        },
    )  # fmt: skip
    return fig
