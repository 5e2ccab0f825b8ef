"""Static figures of cross-scale embedding: what ablations cost, filters, spectra and patterns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import KERNEL_COLOURS, PERCENT, SEQUENTIAL, WHOLE, Theme
from cfviz.words import percent, quantity, signed

from .bars import signed_bars


@cached_figure
def ablation_bars(
    rows: Sequence[tuple[str, int, float, float, str]], theme: Theme, words: dict[str, str]
) -> go.Figure:
    """What the ablation of each kernel costs the predicted class, one bar per kernel.

    Args:
        rows: Name, side of the kernel, change of the logit, change of the probability
            (-1 to 1), and the class predicted afterwards if it is another one, else "".
        theme: Colours.
        words: `logit`, for the axis, and `points`, the abbreviation of percentage points.
    """
    names, sides, logits, _, _ = zip(*rows, strict=True)
    notes = [
        f"{signed(logit)} · {signed(100 * p, 1)} {words['points']}" + (f"<br>→ {now}" if now else "")
        for _, _, logit, p, now in rows
    ]
    colours, height = [KERNEL_COLOURS[k] for k in sides], 42 * len(rows) + 60
    return signed_bars(names, logits, colours, notes, theme, words["logit"], height=height, room=132)


def heat(maps: Sequence[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Maps as pictures on one scale, from 0 to the largest value of all.

    Args:
        maps: (H, W) each, not negative.

    Returns:
        Pictures uint8 (H, W, 3), and the value at the brightest end of the scale.
    """
    top = max(float(m.max()) for m in maps) or 1.0
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in SEQUENTIAL], float)
    at = np.linspace(0, 1, len(stops))
    colours = [[np.interp(m / top, at, stops[:, c]) for c in range(3)] for m in maps]
    return [np.rint(np.stack(channels, -1)).astype(np.uint8) for channels in colours], top


def squares(kernels: Sequence[tuple[float, float, str]], reach: float, theme: Theme) -> str:
    """What one token reads, as an SVG: one square per kernel, the more opaque the more channels it has.

    Args:
        kernels: For each kernel its side in pixels, its share of the channels and its colour.
        reach: Side of the picture in pixels of the photo, so that pictures can be compared.
        theme: Colours.
    """
    parts = []
    for side, part, colour in reversed(kernels):
        box = f'x="{-side / 2:g}" y="{-side / 2:g}" width="{side:g}" height="{side:g}"'
        ink = f'fill="{colour}" fill-opacity="{0.15 + 0.75 * part:.2f}" stroke="{colour}"'
        parts.append(f'<rect {box} {ink} stroke-width="{reach / 110:.2f}"/>')
    view = f"{-reach / 2:g} {-reach / 2:g} {reach:g} {reach:g}"
    paper = f'<rect x="{-reach / 2:g}" y="{-reach / 2:g}" width="100%" height="100%" fill="{theme.panel}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">{paper}{"".join(parts)}</svg>'


@cached_figure
def read_bars(
    shares: np.ndarray,
    rows: Sequence[str],
    kernels: Sequence[str],
    even: Sequence[float],
    sides: Sequence[int],
    theme: Theme,
) -> go.Figure:
    """Stacked shares that sum to one: one bar per row, one part per kernel.

    Args:
        shares: (rows, K).
        rows: Names of the rows.
        kernels: Names of the K kernels.
        even: Each kernel's share of the channels: where the borders would be if all channels counted equally.
        sides: Sides of the K kernels, which decide their colours.
        theme: Colours.
    """
    fig = go.Figure()
    for i, name in enumerate(kernels):
        fig.add_bar(
            x=100 * shares[:, i],
            y=list(rows),
            orientation="h",
            name=name,
            width=0.62,
            marker={"color": KERNEL_COLOURS[sides[i]], "line": {"color": theme.paper, "width": 1.5}},
            text=[percent(x, 0) if x > 0.075 else "" for x in shares[:, i]],
            textangle=0,
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": "#14171B", "size": 13},
            hovertemplate=f"%{{y}}, {name}: {quantity('%{x:.1f}', '%')}<extra></extra>",
        )
    for border in np.cumsum(even)[:-1]:
        fig.add_vline(x=100 * float(border), line={"color": theme.ink, "width": 1.5, "dash": "dot"})
    theme.lay_out(
        fig,
        height=34 * len(rows) + 80,
        barmode="stack",
        legend={"traceorder": "normal", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        xaxis={"range": [0, 100], **WHOLE, "fixedrange": True, "showgrid": False},
        yaxis={"autorange": "reversed", "fixedrange": True, "tickfont": {"color": theme.ink, "size": 13}},
    )
    return fig


@cached_figure
def lines(
    x: Sequence[float] | np.ndarray,
    curves: Sequence[np.ndarray] | np.ndarray,
    names: Sequence[str],
    sides: Sequence[int],
    theme: Theme,
    words: dict[str, str],
    marks: Sequence[float] = (),
    even: Sequence[float] = (),
    share: bool = False,
) -> go.Figure:
    """One curve per kernel against a scale, on a logarithmic axis.

    Args:
        x: Scale in pixels, above 0.
        curves: K curves, each as long as `x`.
        names: Names of the K kernels.
        sides: Their sides, which decide their colours.
        theme: Colours.
        words: `x` and `y`, for the axes.
        marks: The x of one vertical line per kernel.
        even: One dotted level per kernel.
        share: Whether the curves are shares, shown in per cent.
    """
    fig = go.Figure()
    scale = 100 if share else 1
    told = quantity("%{y:.1f}", "%") if share else "%{y:.3f}"
    for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
        fig.add_scatter(
            x=list(x), y=[scale * y for y in curve], name=name, mode="lines+markers" if share else "lines",
            line={"color": KERNEL_COLOURS[sides[i]], "width": 2.75}, marker={"size": 6},
            hovertemplate=f"{name}, {quantity('%{x:.3g}', 'px')}: {told}<extra></extra>",
        )  # fmt: skip
    for i, at in enumerate(marks):
        fig.add_vline(x=at, line={"color": KERNEL_COLOURS[sides[i]], "width": 1.5, "dash": "dash"})
    for i, level in enumerate(even):
        fig.add_hline(y=scale * level, line={"color": KERNEL_COLOURS[sides[i]], "width": 1, "dash": "dot"})
    ticks = [t for t in (2, 4, 8, 16, 32, 64, 128) if min(x) <= t <= max(x)]
    theme.lay_out(
        fig,
        height=360,
        xaxis={
            "type": "log",
            "title": {"text": words["x"]},
            "tickvals": ticks,
            "ticktext": [f"{t}" for t in ticks],
            "fixedrange": True,
            "showgrid": False,
        },
        yaxis={
            "title": {"text": words["y"]},
            **(PERCENT if share else {"tickformat": ".2f"}),
            "rangemode": "tozero",
            "fixedrange": True,
        },
        hovermode="x unified",
        margin={"l": 8, "r": 16, "t": 30, "b": 8},
    )
    return fig
