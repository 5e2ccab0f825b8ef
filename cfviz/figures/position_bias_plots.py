"""Static figures of the page on position bias: accuracy against size, changes of the logit, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from cfviz.figures.bars import signed_bars
from cfviz.figures.theme import Theme

# Okabe and Ito's colours but the two that stand for SDA and LDA; every way keeps its colour on every figure.
WAYS = {
    "own": "#009E73",
    "rescaled": "#56B4E9",
    "bicubic": "#CC79A7",
    "clamp": "#E69F00",
    "cut": "#A98600",
    "none": "#7F7F7F",
    "twin": "#8A7BD1",
}
DASHES = {
    "own": "solid",
    "rescaled": "dot",
    "bicubic": "solid",
    "clamp": "dash",
    "cut": "dot",
    "none": "dash",
}


@dataclass(frozen=True)
class Line:
    """One curve: a way of making the bias, its name, and a point a size.

    Attributes:
        way: Decides the colour.
        name: As the legend says it.
        sizes: Input sides in pixels.
        values: Shares, or differences of shares.
        low: Lower ends of their 95 % intervals.
        high: Upper ends.
    """

    way: str
    name: str
    sizes: Sequence[int]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def curves(
    lines: Sequence[Line], theme: Theme, words: Mapping[str, str], trained: int = 224, signed: bool = False
) -> go.Figure:
    """Curves over input sizes with their intervals; the trained size is marked.

    Args:
        lines: At least one.
        theme: Colours.
        words: `x`, `y` and `trained`.
        trained: Side the model was trained at, in pixels.
        signed: Whether the values are differences, with a line at 0.
    """
    fig = go.Figure()
    shift = 3.0
    for i, line in enumerate(lines):
        at = np.asarray(line.sizes, float) + shift * (i - (len(lines) - 1) / 2)  # side by side, not overlaid
        values, low, high = (100 * np.asarray(x, float) for x in (line.values, line.low, line.high))
        fig.add_scatter(
            x=at, y=values, name=line.name, mode="lines+markers",
            line={"color": WAYS[line.way], "width": 2.25, "dash": DASHES.get(line.way, "solid")},
            marker={"size": 7},
            error_y={"type": "data", "symmetric": False, "array": high - values, "arrayminus": values - low,
                     "thickness": 1.25, "width": 3},
            customdata=np.stack([line.sizes, low, high], -1),
            hovertemplate="%{customdata[0]} px: %{y:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}]",
        )  # fmt: skip
    fig.add_vline(x=trained, line={"color": theme.muted, "width": 1, "dash": "dot"})
    fig.add_annotation(
        x=trained, y=1, yref="paper", text=words["trained"], showarrow=False, xanchor="left", xshift=5,
        yanchor="top", font={"color": theme.muted, "size": 12},
    )  # fmt: skip
    if signed:
        fig.add_hline(y=0, line={"color": theme.ink, "width": 1.25})
    sizes = sorted({size for line in lines for size in line.sizes})
    fig.update_layout(
        **theme.layout(
            height=420,
            xaxis={
                "title": {"text": words["x"]}, "tickvals": sizes, "showgrid": False, "fixedrange": True,
                "range": [min(sizes) - 14, max(sizes) + 14],
            },
            yaxis={"title": {"text": words["y"]}, "fixedrange": True, "zeroline": False},
            legend={"y": 1.02, "yanchor": "bottom"},
            margin={"l": 8, "r": 16, "t": 40, "b": 8},
        )
    )  # fmt: skip
    return fig


def bars(
    names: Sequence[str],
    values: Sequence[float],
    notes: Sequence[str],
    theme: Theme,
    words: Mapping[str, str],
) -> go.Figure:
    """Signed bars with a note at the end of each line.

    Args:
        names: One a bar, from the top.
        values: Their lengths.
        notes: What stands on the right of each.
        theme: Colours.
        words: `x`, the axis.
    """
    colours = [theme.faint if abs(v) < 1e-9 else "#1a7736" if v > 0 else "#9970ab" for v in values]
    height = 38 * len(names) + 66
    return signed_bars(names, values, colours, notes, theme, words["x"], height=height, room=150)


def shares(
    rows: Sequence[np.ndarray],
    names: Sequence[str],
    kinds: Sequence[str],
    theme: Theme,
    words: Mapping[str, str],
) -> go.Figure:
    """One dot a head, one row a block: how much of the logits' variance is position.

    Args:
        rows: Shares of each block's heads, (nH,).
        names: Of the blocks.
        kinds: "sda" or "lda" of each.
        theme: Colours.
        words: `x` and `head`.
    """
    fig = go.Figure()
    for values, name, kind in zip(rows, names, kinds, strict=True):
        fig.add_scatter(
            x=values, y=[name] * len(values), mode="markers", showlegend=False,
            marker={"color": theme.kind(kind), "size": 11, "opacity": 0.65,
                    "line": {"color": theme.paper, "width": 1}},
            customdata=np.arange(1, len(values) + 1),
            hovertemplate=f"{name}, {words['head']} %{{customdata}}: %{{x:.1%}}<extra></extra>",
        )  # fmt: skip
        fig.add_scatter(
            x=[float(np.mean(values))], y=[name], mode="markers", showlegend=False, hoverinfo="skip",
            marker={"symbol": "line-ns", "size": 18, "line": {"color": theme.ink, "width": 2.5}},
        )  # fmt: skip
    flat = np.concatenate([np.asarray(row) for row in rows])
    fig.update_layout(
        **theme.layout(
            height=40 * len(names) + 66,
            xaxis={
                "title": {"text": words["x"]}, "tickformat": ".0%", "fixedrange": True,
                "range": [min(-0.01, 1.05 * float(flat.min())), max(0.1, 1.08 * float(flat.max()))],
            },
            yaxis={
                "autorange": "reversed", "fixedrange": True, "showgrid": False,
                "tickfont": {"color": theme.ink, "size": 13}, "ticklabelstandoff": 8,
            },
            margin={"l": 8, "r": 16, "t": 8, "b": 8},
        )
    )  # fmt: skip
    return fig
