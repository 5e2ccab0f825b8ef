"""Measures of attention: heads side by side, maps over the photo, deletion and insertion curves."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from cfviz.figures.figure_cache import cached_figure
from cfviz.figures.theme import PERCENT, Theme
from cfviz.words import about, quantity

DASHES = ("solid", "dash", "dot")
WIDE = 560  # about the width of a figure over a photo on a page: a strip needs less height


@cached_figure
def head_dots(
    blocks: Sequence[str],
    kinds: Sequence[str],
    values: Sequence[Sequence[float]],
    theme: Theme,
    words: Mapping[str, str],
    digits: int = 1,
    names: tuple[str, str] = ("SDA", "LDA"),
) -> go.Figure:
    """One dot per head, block by block in the order of the model, SDA vermilion and LDA blue.

    Args:
        blocks: Names on the axis, "1.1" for the first block of the first stage.
        kinds: "sda" or "lda" of each block.
        values: One value per head, block by block.
        theme: Colours.
        words: "axis", "value", "head" and "block".
        digits: After the point, of the value under the pointer.
        names: What the two kinds are called.
    """
    fig = go.Figure()
    for kind, name in zip(("sda", "lda"), names, strict=True):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        dots = [(i, h, v) for i in mine for h, v in enumerate(values[i])]
        fig.add_scatter(
            x=[i + _spread(h, len(values[i])) for i, h, _ in dots],
            y=[v for _, _, v in dots],
            mode="markers",
            name=name,
            marker={"color": theme.kind(kind), "size": 8, "opacity": 0.78, "line": {"width": 0}},
            customdata=[[blocks[i], h + 1, i, h] for i, h, _ in dots],
            hovertemplate=f"{words['block']} %{{customdata[0]}}, {words['head']} %{{customdata[1]}}: "
            f"%{{y:.{digits}f}}<extra></extra>",
        )  # fmt: skip
    theme.lay_out(
        fig,
        height=300,
        xaxis={"tickvals": list(range(len(blocks))), "ticktext": list(blocks), "showgrid": False,
               "title": {"text": words["axis"]}, "zeroline": False, "fixedrange": True},
        yaxis={"rangemode": "tozero", "title": {"text": words["value"]}, "fixedrange": True},
    )  # fmt: skip
    return fig


def _spread(h: int, n: int) -> float:
    """Heads of one block beside each other instead of on top of each other."""
    return 0.0 if n == 1 else 0.56 * (h / (n - 1) - 0.5)


@cached_figure
def offset_maps(
    maps: Sequence[np.ndarray], titles: Sequence[str], signed: Sequence[bool], theme: Theme, hover: str
) -> go.Figure:
    """Surfaces over relative offsets side by side; the offset of the key from the query is under the pointer.

    Args:
        maps: (2Gh-1, 2Gw-1) each, by offset as query minus key, nan where there is none.
        titles: One above each.
        signed: Whether each has values of both signs; the others share one scale from 0.
        theme: Colours.
        hover: What is said of the place: `{down}` and `{right}` stand for the key's offset.
    """
    top = max((float(np.nanmax(m)) for m, s in zip(maps, signed, strict=True) if not s), default=1.0) or 1.0
    words = hover.replace("{down}", "%{y}").replace("{right}", "%{x}")
    pictures = []
    for values, both in zip(maps, signed, strict=True):
        shown = values[::-1, ::-1]  # the key below and to the right of the query: as on the photo
        (h, w), end = shown.shape, float(np.nanmax(np.abs(values))) or 1.0
        pictures.append(
            go.Heatmap(
                z=shown, x=list(range(-(w // 2), w // 2 + 1)), y=list(range(-(h // 2), h // 2 + 1)),
                zmin=-end if both else 0, zmax=end if both else top,
                colorscale=theme.diverging if both else theme.sequential,
                hovertemplate=f"{words}: %{{z:.4f}}<extra></extra>",
            )
        )  # fmt: skip
    return _beside(pictures, titles, theme)


@cached_figure
def field_maps(
    maps: Sequence[np.ndarray], titles: Sequence[str], cell: int, theme: Theme, unit: str = "%"
) -> go.Figure:
    """Maps of shares of the input side by side, each on a scale of its own.

    Args:
        maps: (H, W) each, the sum of each is 1.
        titles: One above each.
        cell: Side of a cell in pixels of the input.
        theme: Colours.
        unit: What follows a value under the pointer.
    """
    pictures = [
        go.Heatmap(
            z=100 * values, x0=cell / 2, dx=cell, y0=cell / 2, dy=cell, zmin=0,
            zmax=100 * float(values.max()) or 1.0, colorscale=theme.sequential,
            hovertemplate="%{z:.3f} " + unit + "<extra></extra>",
        )
        for values in maps
    ]  # fmt: skip
    return _beside(pictures, titles, theme)


def _beside(pictures: Sequence[go.Heatmap], titles: Sequence[str], theme: Theme) -> go.Figure:
    """Heat maps side by side with square cells, rows from the top down."""
    fig, n = go.Figure(), len(pictures)
    axes: dict[str, Any] = {}
    bare = {
        "showgrid": False, "zeroline": False, "fixedrange": True, "constrain": "domain",
        "showticklabels": False, "ticks": "",
    }  # fmt: skip
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        number = "" if i == 0 else str(i + 1)
        picture.update(xaxis=f"x{number}", yaxis=f"y{number}", showscale=False, name=title)
        fig.add_trace(picture)
        domain = [(i + 0.03) / n, (i + 0.97) / n]
        axes[f"xaxis{number}"] = {**bare, "domain": domain, "anchor": f"y{number}"}
        axes[f"yaxis{number}"] = {
            **bare, "scaleanchor": f"x{number}", "autorange": "reversed", "anchor": f"x{number}"
        }  # fmt: skip
        fig.add_annotation(
            x=0.5, y=1.02, xref=f"x{number} domain", yref=f"y{number} domain", yanchor="bottom",
            showarrow=False, text=title, font={"size": 12, "color": theme.ink},
        )  # fmt: skip
    theme.lay_out(fig, height=300, margin={"l": 0, "r": 0, "t": 32, "b": 4}, showlegend=False, **axes)
    return fig


@cached_figure
def over_photo(
    photo: Image.Image,
    values: np.ndarray,
    theme: Theme,
    mark: tuple[float, float] | None = None,
    unit: str = "%",
) -> go.Figure:
    """A map of shares over its photo, both undistorted.

    The brightest colour is the 99.5th percentile, so that one extreme cell does not hide the rest.

    Args:
        photo: The pixels that the model saw.
        values: (h, w), not negative; shown as percentages of their sum.
        theme: Colours.
        mark: (x, y) of the token asked about, in pixels.
        unit: Shown after a value.
    """
    cell = photo.width / values.shape[1]
    shares = 100 * values / max(float(values.sum()), 1e-30)
    top = float(np.percentile(shares, 99.5)) or float(shares.max()) or 1.0
    fig = go.Figure(
        go.Heatmap(
            z=shares, x0=cell / 2, dx=cell, y0=cell / 2, dy=cell, zmin=0, zmax=top, opacity=0.72,
            colorscale=theme.sequential, showscale=False,
            hovertemplate=quantity("%{z:.3f}", unit) + "<extra></extra>",
        )
    )  # fmt: skip
    fig.add_layout_image(
        source=_inline(photo), xref="x", yref="y", x=0, y=0, sizex=photo.width, sizey=photo.height,
        xanchor="left", yanchor="top", sizing="stretch", layer="below",
    )  # fmt: skip
    if mark is not None:
        for colour, width in ((theme.outline, 6), (theme.ring, 2.5)):
            fig.add_scatter(
                x=[mark[0]], y=[mark[1]], mode="markers", hoverinfo="skip", showlegend=False,
                marker={"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": colour, "width": width}},
            )  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    theme.lay_out(
        fig,
        height=min(380, max(120, round(WIDE * photo.height / photo.width))),
        margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=False,
        xaxis={**hidden, "range": [0, photo.width], "constrain": "domain"},
        yaxis={**hidden, "range": [photo.height, 0], "scaleanchor": "x", "constrain": "domain"},
    )  # fmt: skip
    return fig


@cached_figure
def curves(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    chance: tuple[np.ndarray, np.ndarray],
    theme: Theme,
    words: Mapping[str, str],
) -> go.Figure:
    """Probability of the class while cells are deleted and while they are inserted.

    Args:
        maps: By name of the map, its deletion and insertion curves, (steps + 1,) each.
        chance: The same for random orders, (n, steps + 1) each.
        theme: Colours.
        words: "deletion", "insertion", "cells", "probability" and "chance".
    """  # fmt: skip
    fig = go.Figure()
    x = np.linspace(0, 100, chance[0].shape[1])
    top = 105 * max(float(line.max()) for both in (*maps.values(), chance) for line in both)
    for side, axis in enumerate(("", "2")):
        for n, line in enumerate(chance[side]):
            fig.add_scatter(
                x=x, y=100 * line, mode="lines", name=words["chance"], legendgroup="chance", hoverinfo="skip",
                showlegend=side == 0 and n == 0, line={"color": theme.faint, "width": 1.5}, xaxis=f"x{axis}",
                yaxis=f"y{axis}",
            )  # fmt: skip
        for n, (name, both) in enumerate(maps.items()):
            fig.add_scatter(
                x=x, y=100 * both[side], mode="lines", name=name, legendgroup=name, showlegend=side == 0,
                line={"color": theme.ink, "width": 2.25, "dash": DASHES[n % len(DASHES)]}, xaxis=f"x{axis}",
                yaxis=f"y{axis}", hovertemplate=f"{about(name, quantity('%{y:.1f}', '%'))}<extra></extra>",
            )  # fmt: skip
    base = theme.layout()
    for side, (axis, domain) in enumerate((("", [0, 0.47]), ("2", [0.53, 1]))):
        name = words[("deletion", "insertion")[side]]
        fig.update_layout({
            f"xaxis{axis}": {**base["xaxis"], "domain": domain, **PERCENT, "fixedrange": True,
                             "title": {"text": about(name, words["cells"])}, "zeroline": False},
            f"yaxis{axis}": {**base["yaxis"], "anchor": f"x{axis}", "range": [0, top], **PERCENT,
                             "fixedrange": True, "title": {"text": "" if side else words["probability"]}},
        })  # fmt: skip
    whole = theme.layout(height=320, margin={"t": 44}, legend={"y": 1.2})
    fig.update_layout({k: v for k, v in whole.items() if k not in ("xaxis", "yaxis")})
    return fig


def _inline(photo: Image.Image) -> str:
    out = io.BytesIO()
    photo.convert("RGB").save(out, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
