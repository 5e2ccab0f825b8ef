"""Small still pictures for the self-test and the worksheets: maps of tokens, and position biases."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
from PIL import Image

from cfviz.figures.theme import Theme
from cfviz.figures.uris import data_uri

CELL = 28  # units of the picture per token


def map_svg(
    theme: Theme, side: int, query: tuple[int, int], letters: Iterable[tuple[str, tuple[int, int]]]
) -> str:  # fmt: skip
    """A square map of tokens with numbered rows and columns.

    Args:
        theme: The colours.
        side: Tokens per side.
        query: The ringed token.
        letters: Letters, each with the token that bears it.
    """
    size = (side + 1) * CELL
    parts = [
        f'<rect x="{(c + 1) * CELL}" y="{(r + 1) * CELL}" width="{CELL}" height="{CELL}" '
        f'fill="{theme.paper}" stroke="{theme.line}"/>'
        for r in range(side) for c in range(side)
    ]  # fmt: skip
    for n in range(side):
        at = (n + 1.5) * CELL
        style = f'fill="{theme.muted}" font-size="11" text-anchor="middle" dominant-baseline="central"'
        parts.append(f'<text x="{at}" y="{CELL / 2}" {style}>{n}</text>')
        parts.append(f'<text x="{CELL / 2}" y="{at}" {style}>{n}</text>')
    y, x = ((n + 1.5) * CELL for n in query)
    parts.append(
        f'<circle cx="{x}" cy="{y}" r="{CELL * 0.34}" fill="none" stroke="{theme.outline}" stroke-width="6"/>'
    )
    parts.append(
        f'<circle cx="{x}" cy="{y}" r="{CELL * 0.34}" fill="none" stroke="{theme.ring}" stroke-width="3"/>'
    )
    for letter, (r, c) in letters:
        parts.append(
            f'<text x="{(c + 1.5) * CELL}" y="{(r + 1.5) * CELL}" fill="{theme.ink}" font-size="17" '
            f'font-weight="700" text-anchor="middle" dominant-baseline="central">{escape(letter)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {size} {size}" width="{size}" height="{size}" font-family="sans-serif" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def picture(svg: str, label: str) -> str:
    """A drawing as an image: Streamlit takes `<svg>` itself out of a page.

    Args:
        svg: The drawing.
        label: What a screen reader says instead.
    """
    data = base64.b64encode(svg.encode()).decode()
    return f'<img class="cf-still" alt="{escape(label)}" src="data:image/svg+xml;base64,{data}"/>'


def bias_html(theme: Theme, surfaces: Mapping[str, np.ndarray], labels: Mapping[str, str]) -> str:
    """Position biases side by side on one scale: green attracts, purple repels; the ring is the query.

    Args:
        theme: Colours.
        surfaces: Letter -> bias at every offset, (2G-1, 2G-1).
        labels: Letter -> what a screen reader says instead.
    """
    most = max(float(np.abs(one).max()) for one in surfaces.values())
    shown = "".join(
        f'<figure><img alt="{escape(labels[letter])}" src="{data_uri(_coloured(one / most, theme))}"/>'
        f'<i aria-hidden="true"></i><figcaption>{escape(letter)}</figcaption></figure>'
        for letter, one in surfaces.items()
    )
    return f'<div class="cf-biases">{shown}</div>'


def _coloured(values: np.ndarray, theme: Theme) -> Image.Image:
    """Numbers from -1 to 1 in the diverging scale, one pixel each.

    A surface is indexed by query minus key; turned round, the picture shows the key's place beside the query.
    """
    stops = np.array([[int(one[n : n + 2], 16) for n in (1, 3, 5)] for one in theme.signs], float)
    at = (values[::-1, ::-1] + 1) / 2 * (len(stops) - 1)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, n]) for n in range(3)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))
