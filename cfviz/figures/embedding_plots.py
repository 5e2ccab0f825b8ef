"""Static figures of the page on cross-scale embedding: costs of knock-outs, filters, spectra, patterns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from cfviz.figures.theme import KERNELS, Theme

SMALL = {"size": 12}


def knock_bars(
    rows: Sequence[tuple[str, int, float, float, str]], theme: Theme, words: dict[str, str]
) -> go.Figure:
    """What each knock-out costs the first class, one bar a kernel.

    Args:
        rows: Name, number of the kernel in its layer, change of the logit, change of the probability
            (-1 to 1), and the first class afterwards.
        theme: Colours.
        words: `logit`, the axis, and `points`, short for percentage points.
    """
    names, numbers, logits, _, _ = zip(*rows, strict=True)
    unit = words["points"]
    texts = [f" {signed(logit)} · {signed(100 * p, 1)} {unit} · {now} " for _, _, logit, p, now in rows]
    fig = go.Figure(
        go.Bar(
            x=logits,
            y=names,
            orientation="h",
            width=0.62,
            marker={"color": [KERNELS[i] for i in numbers], "cornerradius": 3},
            text=texts,
            textposition="outside",
            textfont={"color": theme.ink, "size": 13},
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    low, high = min(0.0, *logits), max(0.0, *logits)
    room = max(high - low, 1e-6)
    fig.update_layout(
        **theme.layout(
            height=34 * len(rows) + 60,
            showlegend=False,
            xaxis={
                "title": {"text": words["logit"]},
                "range": [low - 0.75 * room, high + (0.75 * room if high > 0.02 * room else 0.06 * room)],
                "fixedrange": True,
                "zerolinecolor": theme.muted,
            },
            yaxis={
                "autorange": "reversed",
                "fixedrange": True,
                "tickfont": {"color": theme.ink, "size": 13},
                "ticklabelstandoff": 8,
            },
        )
    )
    return fig


def change_maps(maps: Sequence[np.ndarray], titles: Sequence[str], theme: Theme, label: str) -> go.Figure:
    """Relative change of every token, one map a stage, on one scale from 0.

    Args:
        maps: (H, W) each.
        titles: One a map.
        theme: Colours.
        label: Of the scale.
    """
    fig = make_subplots(1, len(maps), subplot_titles=list(titles), horizontal_spacing=0.02)
    top = max(float(m.max()) for m in maps) or 1.0
    for i, values in enumerate(maps):
        fig.add_heatmap(
            z=np.round(values, 4),
            row=1,
            col=i + 1,
            coloraxis="coloraxis",
            hovertemplate="(%{y}, %{x}): %{z:.2f}<extra></extra>",
        )
    bar = {"title": {"text": label, "side": "right"}, "thickness": 10, "outlinewidth": 0, "len": 0.9}
    fig.update_layout(
        **theme.layout(
            height=290,
            margin={"l": 8, "r": 8, "t": 34, "b": 8},
            coloraxis={"colorscale": theme.sequential, "cmin": 0, "cmax": top, "colorbar": bar},
        )
    )
    fig.update_xaxes(visible=False, constrain="domain", fixedrange=True)
    fig.update_yaxes(visible=False, autorange="reversed", constrain="domain", fixedrange=True)
    for i in range(len(maps)):
        fig.update_yaxes(scaleanchor="x" if i == 0 else f"x{i + 1}", row=1, col=i + 1)
    fig.update_annotations(font={"color": theme.ink, "size": 13})
    return fig


def read_bars(
    shares: np.ndarray, rows: Sequence[str], kernels: Sequence[str], even: Sequence[float], theme: Theme
) -> go.Figure:
    """Stacked shares that sum to one: one bar a row, one part a kernel.

    Args:
        shares: (rows, K).
        rows: Their names.
        kernels: Names of the K kernels.
        even: Share of channels of each kernel: where the borders would lie if all channels counted the same.
        theme: Colours.
    """
    fig = go.Figure()
    for i, name in enumerate(kernels):
        fig.add_bar(
            x=shares[:, i],
            y=list(rows),
            orientation="h",
            name=name,
            width=0.62,
            marker={"color": KERNELS[i], "line": {"color": theme.paper, "width": 1.5}},
            text=[f"{x:.0%}" if x > 0.035 else "" for x in shares[:, i]],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": "#14171B", "size": 13},
            hovertemplate=f"%{{y}}, {name}: %{{x:.1%}}<extra></extra>",
        )
    for border in np.cumsum(even)[:-1]:
        fig.add_vline(x=float(border), line={"color": theme.ink, "width": 1.5, "dash": "dot"})
    fig.update_layout(
        **theme.layout(
            height=34 * len(rows) + 80,
            barmode="stack",
            legend={"traceorder": "normal", "y": 1.02, "yanchor": "bottom"},
            margin={"l": 8, "r": 8, "t": 40, "b": 8},
            xaxis={"range": [0, 1], "tickformat": ".0%", "fixedrange": True, "showgrid": False},
            yaxis={"autorange": "reversed", "fixedrange": True, "tickfont": {"color": theme.ink, "size": 13}},
        )
    )
    return fig


def filter_sheets(sheets: Sequence[np.ndarray], titles: Sequence[str], theme: Theme) -> go.Figure:
    """Filters as pictures, one sheet a kernel, every pixel as large as it is sharp.

    Args:
        sheets: uint8 (h, w, 3) each.
        titles: One a sheet.
        theme: Colours.
    """
    fig = make_subplots(1, len(sheets), subplot_titles=list(titles), horizontal_spacing=0.03)
    for i, sheet in enumerate(sheets):
        times = max(1, round(260 / max(sheet.shape[:2])))
        large = Image.fromarray(sheet).resize(
            (sheet.shape[1] * times, sheet.shape[0] * times), Image.Resampling.NEAREST
        )
        fig.add_trace(go.Image(z=np.asarray(large), hoverinfo="skip"), 1, i + 1)
    fig.update_layout(**theme.layout(height=330, margin={"l": 4, "r": 4, "t": 34, "b": 4}))
    fig.update_xaxes(visible=False, fixedrange=True)
    fig.update_yaxes(visible=False, fixedrange=True)
    for i, note in enumerate(fig.layout.annotations):
        note.update(font={"color": KERNELS[i] if theme.dark else theme.ink, "size": 13})
    return fig


def lines(
    x: Sequence[float] | np.ndarray,
    curves: Sequence[np.ndarray] | np.ndarray,
    names: Sequence[str],
    theme: Theme,
    words: dict[str, str],
    marks: Sequence[float] = (),
    even: Sequence[float] = (),
    share: bool = False,
) -> go.Figure:
    """One curve a kernel against a scale, on a logarithmic axis.

    Args:
        x: Scale in pixels, above 0.
        curves: K curves, each as long as x.
        names: Of the K kernels.
        theme: Colours.
        words: `x` and `y`, the axes.
        marks: One upright line a kernel, at this x.
        even: One level a kernel, dotted.
        share: Whether the curves are shares, written in per cent.
    """
    fig = go.Figure()
    for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
        fig.add_scatter(
            x=list(x), y=list(curve), name=name, mode="lines+markers" if share else "lines",
            line={"color": KERNELS[i], "width": 2.75}, marker={"size": 6},
            hovertemplate=f"{name}, %{{x:.3g}} px: %{{y:{'.1%' if share else '.3f'}}}<extra></extra>",
        )  # fmt: skip
    for i, at in enumerate(marks):
        fig.add_vline(x=at, line={"color": KERNELS[i], "width": 1.5, "dash": "dash"})
    for i, level in enumerate(even):
        fig.add_hline(y=level, line={"color": KERNELS[i], "width": 1, "dash": "dot"})
    ticks = [t for t in (2, 4, 8, 16, 32, 64, 128) if min(x) <= t <= max(x)]
    fig.update_layout(
        **theme.layout(
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
                "tickformat": ".0%" if share else ".2f",
                "rangemode": "tozero",
                "fixedrange": True,
            },
            hovermode="x unified",
            margin={"l": 8, "r": 16, "t": 30, "b": 8},
        )
    )
    return fig


def squares(rows: Sequence[tuple[str, Sequence[tuple[int, float]], str]], theme: Theme) -> go.Figure:
    """What one token sees in several ways of embedding: squares at true size on a grid of tokens.

    Args:
        rows: Name; (side in pixels, share of the channels) of each kernel; a line of numbers below.
        theme: Colours.
    """
    fig = make_subplots(1, len(rows), subplot_titles=[name for name, _, _ in rows], horizontal_spacing=0.03)
    reach = max(side for _, kernels, _ in rows for side, _ in kernels) / 2 * 1.12
    for i, (_, kernels, note) in enumerate(rows, 1):
        for n, (side, part) in reversed(list(enumerate(kernels))):
            fig.add_shape(
                type="rect", x0=-side / 2, x1=side / 2, y0=-side / 2, y1=side / 2, row=1, col=i,
                line={"color": KERNELS[n], "width": 3}, fillcolor=KERNELS[n], opacity=0.25 + 0.5 * part,
            )  # fmt: skip
        fig.add_scatter(x=[0], y=[0], mode="markers", marker={"size": 0.1}, hoverinfo="skip", row=1, col=i)
        fig.add_annotation(
            x=0, y=-reach, yanchor="top", text=note, showarrow=False, row=1, col=i,
            font={"color": theme.muted, "size": 12.5}, align="center",
        )  # fmt: skip
    fig.update_layout(**theme.layout(height=350, showlegend=False, margin={"l": 4, "r": 4, "t": 34, "b": 92}))
    fig.update_xaxes(visible=False, range=[-reach, reach], fixedrange=True, constrain="domain")
    fig.update_yaxes(visible=False, range=[-reach, reach], fixedrange=True, constrain="domain")
    for i in range(len(rows)):
        fig.update_yaxes(scaleanchor="x" if i == 0 else f"x{i + 1}", row=1, col=i + 1)
    fig.update_annotations(selector={"yanchor": "bottom"}, font={"color": theme.ink, "size": 14})
    return fig


def signed(x: float, digits: int = 2) -> str:
    """+1.32, −0.40, with a true minus sign."""
    return f"{x:+.{digits}f}".replace("-", "−")
