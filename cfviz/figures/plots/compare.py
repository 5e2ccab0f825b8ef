"""Figures of two models beside each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import Theme


@cached_figure
def likeness(values: np.ndarray, words: Mapping[str, str], theme: Theme) -> go.Figure:
    """How similar each stage of one model is to each of the other, in colour and as a number.

    Args:
        values: Linear CKA, 0 to 1: one row per stage of the first model, one column per stage of the second.
        words: `a` and `b`, the names of the models, and `stage`.
        theme: Colours.
    """
    rows, columns = values.shape
    fig = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(1, columns + 1)),
            y=list(range(1, rows + 1)),
            zmin=0,
            zmax=1,
            colorscale=theme.sequential,
            xgap=3,
            ygap=3,
            hovertemplate=f"{words['a']} {words['stage']} %{{y}}, {words['b']} {words['stage']} %{{x}}: "
            "%{z:.3f}<extra></extra>",
            showscale=False,  # every cell shows its number
        )
    )
    for (r, c), value in np.ndenumerate(values):
        colour = "#14171B" if value > 0.6 else "#FFFFFF"  # on the light and the dark half of the scale
        fig.add_annotation(
            x=c + 1, y=r + 1, text=f"{value:.2f}", showarrow=False, font={"size": 15, "color": colour}
        )
    axis = {"tickvals": [1, 2, 3, 4], "showgrid": False, "zeroline": False, "fixedrange": True}
    fig.update_layout(
        **theme.layout(
            height=380,
            margin={"l": 8, "r": 8, "t": 8, "b": 8},
            xaxis={**axis, "title": {"text": f"{words['b']}, {words['stage']}"}, "constrain": "domain"},
            yaxis={
                **axis,
                "title": {"text": f"{words['a']}, {words['stage']}"},
                "autorange": "reversed",
                "scaleanchor": "x",
                "constrain": "domain",
            },
        )
    )
    return fig
