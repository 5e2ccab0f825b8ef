"""Predictions as figures: how they change with the input size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import WHOLE, Theme
from cfviz.framing import Size, size_text
from cfviz.words import quantity, short_name

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")


@cached_figure
def size_lines(
    sizes: Sequence[Size],
    names: Sequence[str],
    probs: np.ndarray,
    trained: int,
    theme: Theme,
    words: dict[str, str],
) -> go.Figure:
    """Probability of some classes against the input size; all sizes but the trained one are hatched.

    Args:
        sizes: Sides of the input in pixels, ascending, then (height, width) of rectangles, which no line
            connects.
        names: Class names, the most probable at the trained size first.
        probs: (sizes, classes).
        trained: The size that the model was trained at.
        theme: Colours.
        words: `size`, `probability` and `outside`, in the reader's language.
    """
    places = [quantity(size if isinstance(size, int) else size_text(size), "px") for size in sizes]
    squares = sum(isinstance(size, int) for size in sizes)
    fig = go.Figure()
    outside = [place for place, size in zip(places, sizes, strict=True) if size != trained]
    fig.add_bar(
        x=outside,
        y=[100] * len(outside),
        width=1,
        name=words["outside"],
        hoverinfo="skip",
        marker={
            "color": "rgba(0,0,0,0)",
            "line": {"width": 0},
            "pattern": {"shape": "/", "fgcolor": theme.line, "size": 9, "solidity": 0.12},
        },
    )
    for c, name in enumerate(names):
        colour = theme.ink if c == 0 else theme.muted
        for some, mode in ((slice(squares), "lines+markers"), (slice(squares, None), "markers")):
            if not places[some]:
                continue
            fig.add_scatter(
                x=places[some],
                y=100 * probs[some, c],
                mode=mode,
                name=short_name(name, 22),
                legendgroup=str(c),
                showlegend=some.start is None,
                cliponaxis=False,
                line={"color": colour, "width": 3 if c == 0 else 1.75, "dash": DASHES[c % 6]},
                marker={"symbol": SYMBOLS[c % 6], "size": 10 if c == 0 else 8, "color": colour},
                hovertemplate=f"{name}<br>%{{x}}: {quantity('%{y:.1f}', '%')}<extra></extra>",
            )
    theme.lay_out(
        fig,
        height=380,
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
        xaxis={
            "title": {"text": words["size"]},
            "showgrid": False,
            "fixedrange": True,
            "categoryorder": "array",
            "categoryarray": places,
        },
        yaxis={
            "title": {"text": words["probability"]},
            **WHOLE,
            "range": [0, 102],
            "fixedrange": True,
        },
        legend={"y": -0.25, "yanchor": "top", "x": 0, "itemclick": False, "itemdoubleclick": False},
    )
    return fig
