"""Static figures of position bias: accuracy against input size, changes of the logit, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import PERCENT, Theme
from cfviz.words import decimal, quantity
from cfviz.words import signed as with_sign

from .bars import signed_bars

# Okabe and Ito's colours without the two of SDA and LDA; every method keeps its colour in every figure
COLOURS = {
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
    "twin": "solid",
}


@dataclass(frozen=True)
class Line:
    """One curve: a method of making the bias, its name, and one point per input size.

    Attributes:
        method: Decides the colour and the dashes.
        name: Name in the legend.
        sizes: Sides of the input in pixels.
        values: Shares, or differences of shares.
        low: Lower ends of the 95 % intervals.
        high: Upper ends.
        behind: Whether the curve is for comparison only: thin, without intervals, not in the legend.
    """

    method: str
    name: str
    sizes: Sequence[int]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    behind: bool = False


@cached_figure
def size_curves(
    lines: Sequence[Line],
    theme: Theme,
    words: Mapping[str, str],
    trained: int = 224,
    signed: bool = False,
    height: int = 440,
) -> go.Figure:
    """Curves over input sizes, with intervals; the trained size is marked.

    A line is broken where it skips a size at which another one was measured: what it would show there was not
    measured.

    Args:
        lines: At least one.
        theme: Colours.
        words: `x`, `y` and `trained`.
        trained: Side that the model was trained at, in pixels.
        signed: Whether the values are differences, with a line at 0.
        height: Of the figure in pixels.
    """
    fig = go.Figure()
    sizes = sorted({size for line in lines for size in line.sizes})
    gap = min((b - a for a, b in pairwise(sizes)), default=32)
    wide = sizes[-1] - sizes[0] + gap  # what the axis spans
    fronts = [line for line in lines if not line.behind]
    places = {line.method: i - (len(fronts) - 1) / 2 for i, line in enumerate(fronts)}
    for line in sorted(lines, key=lambda line: not line.behind):
        # Side by side, not overlaid, but nearer to one another than to anything measured at another size.
        shift = min(gap * 0.72 / max(1, len(fronts)), 0.012 * wide) * places.get(line.method, 0.0)
        skipped = [k + 1 for k, (a, b) in enumerate(pairwise(line.sizes)) if any(a < s < b for s in sizes)]
        fig.add_scatter(**_trace(line, np.asarray(line.sizes, float) + shift, signed, skipped))
    fig.add_vline(x=trained, line={"color": theme.muted, "width": 1, "dash": "dot"})
    fig.add_annotation(
        x=trained, y=1, yref="paper", text=words["trained"], showarrow=False, xanchor="left", xshift=5,
        yanchor="top", font={"color": theme.muted, "size": 12},
    )  # fmt: skip
    if signed:
        fig.add_hline(y=0, line={"color": theme.ink, "width": 1.25})
    theme.lay_out(
        fig,
        height=height,
        xaxis={
            "title": {"text": words["x"]}, "tickvals": sizes, "showgrid": False, "fixedrange": True,
            "range": [sizes[0] - gap / 2, sizes[-1] + gap / 2],
        },
        yaxis={"title": {"text": words["y"]}, "fixedrange": True, "zeroline": False},
        legend={"y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        margin={"l": 8, "r": 16, "t": 40, "b": 8},
    )  # fmt: skip
    return fig


def _trace(line: Line, at: np.ndarray, signed: bool, skipped: Sequence[int]) -> dict[str, Any]:
    """One curve in the form that plotly takes, in per cent or percentage points, broken before `skipped`."""
    values, low, high = (100 * np.asarray(x, float) for x in (line.values, line.low, line.high))
    written = with_sign if signed else decimal
    drawn: dict[str, Any] = {
        "x": at, "y": values, "name": line.name, "legendgroup": line.method, "mode": "lines+markers",
        "line": {"color": COLOURS[line.method], "width": 2.25, "dash": DASHES.get(line.method, "solid")},
        "marker": {"size": 7},
        "customdata": [
            f"{quantity(size, 'px')}: {written(y)} [{written(a)}, {written(b)}]"
            for size, y, a, b in zip(line.sizes, values, low, high, strict=True)
        ],
        "hovertemplate": "%{customdata}",
    }  # fmt: skip
    if skipped:
        drawn["customdata"] = np.insert(np.array(drawn["customdata"], object), skipped, "")
        drawn["x"], drawn["y"], values, low, high = (
            np.insert(x, skipped, np.nan) for x in (at, values, values, low, high)
        )
    if line.behind:
        thin = {"width": 1, "dash": "dot", "color": COLOURS[line.method]}
        return drawn | {"showlegend": False, "opacity": 0.75, "line": thin, "marker": {"size": 4}}
    error = {"type": "data", "symmetric": False, "array": high - values, "arrayminus": values - low,
             "thickness": 1.25, "width": 3}  # fmt: skip
    return drawn | {"error_y": error}


@cached_figure
def signed_change_bars(
    names: Sequence[str],
    values: Sequence[float],
    notes: Sequence[str],
    theme: Theme,
    words: Mapping[str, str],
) -> go.Figure:
    """Signed bars with a note after each.

    Args:
        names: One per bar, from the top.
        values: Lengths of the bars.
        notes: Text on the right of each bar.
        theme: Colours.
        words: `x`, for the axis.
    """
    colours = [theme.faint if abs(v) < 1e-9 else "#1a7736" if v > 0 else "#9970ab" for v in values]
    height = 38 * len(names) + 66
    return signed_bars(names, values, colours, notes, theme, words["x"], height=height, room=150)


@cached_figure
def head_shares(
    rows: Sequence[np.ndarray],
    names: Sequence[str],
    kinds: Sequence[str],
    theme: Theme,
    words: Mapping[str, str],
) -> go.Figure:
    """One dot per head, one row per block: how much of the variance of the logits comes from position.

    Args:
        rows: For each block the shares of its heads, (nH,).
        names: Names of the blocks.
        kinds: "sda" or "lda" of each block.
        theme: Colours.
        words: `x` and `head`.
    """
    fig, told = go.Figure(), quantity("%{x:.1f}", "%")
    for values, name, kind in zip(rows, names, kinds, strict=True):
        fig.add_scatter(
            x=100 * values, y=[name] * len(values), mode="markers", showlegend=False,
            marker={"color": theme.kind(kind), "size": 11, "opacity": 0.65,
                    "line": {"color": theme.paper, "width": 1}},
            customdata=np.arange(1, len(values) + 1),
            hovertemplate=f"{name}, {words['head']} %{{customdata}}: {told}<extra></extra>",
        )  # fmt: skip
        fig.add_scatter(
            x=[100 * float(np.mean(values))], y=[name], mode="markers", showlegend=False, hoverinfo="skip",
            marker={"symbol": "line-ns", "size": 18, "line": {"color": theme.ink, "width": 2.5}},
        )  # fmt: skip
    flat = 100 * np.concatenate(rows)
    theme.lay_out(
        fig,
        height=40 * len(names) + 66,
        xaxis={
            "title": {"text": words["x"]}, **PERCENT, "fixedrange": True,
            "range": [min(-1.0, 1.05 * float(flat.min())), max(10.0, 1.08 * float(flat.max()))],
        },
        yaxis={
            "autorange": "reversed", "fixedrange": True, "showgrid": False,
            "tickfont": {"color": theme.ink, "size": 13}, "ticklabelstandoff": 8,
        },
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
    )  # fmt: skip
    return fig
