"""Groups, keys and reach in matplotlib, for notebooks and papers; the page draws them in the browser.

The conventions are those of all figures: short distance vermilion, long distance blue, the query a white ring
with a dark outline, padding hatched in grey.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cfviz.figures.theme import LIGHT, Theme
from cfviz.geometry import Grouping
from cfviz.geometry.schemes import Scheme


def groups(g: Grouping, row: int, col: int, theme: Theme = LIGHT) -> Figure:
    """A map with the group of one query, padding hatched.

    Args:
        g: How the map is cut.
        row: The query's row, from 0.
        col: The query's column, from 0.
        theme: Colours.
    """
    figure, (ax,) = _sheet(1, g.Hp, g.Wp, theme)
    member = np.zeros((g.H, g.W), bool)
    group, _ = g.group_of(row, col)
    flat = g.members[group]
    member.reshape(-1)[flat[flat >= 0]] = True
    _cells(ax, member, theme.kind(g.kind), theme)
    _padding(ax, g, theme)
    for index in g.index[group][flat < 0]:
        r, c = divmod(int(index), g.Wp)
        ax.add_patch(Rectangle((c + 0.1, r + 0.1), 0.8, 0.8, fill=False, ec=theme.kind(g.kind), lw=0.8))
    for edge in range(0, g.Hp + 1, g.Gh * g.I):
        ax.axhline(edge, color=theme.muted, lw=0.8)
    for edge in range(0, g.Wp + 1, g.Gw * g.I):
        ax.axvline(edge, color=theme.muted, lw=0.8)
    _query(ax, row, col, theme)
    interval = f", I = {g.I}" if g.kind == "lda" else ""
    sides = f"{g.Gh}" if g.Gh == g.Gw else f"{g.Gh} × {g.Gw}"
    _title(ax, f"{g.kind.upper()}  {g.H} × {g.W}, G = {sides}{interval}", theme)
    return figure


def keys(schemes: Sequence[Scheme], row: int, col: int, theme: Theme = LIGHT) -> Figure:
    """The keys of the same query in several layers, side by side; masked ones are crossed out.

    Args:
        schemes: The layers, on one map.
        row: The query's row, from 0.
        col: The query's column, from 0.
        theme: Colours.
    """
    figure, axes = _sheet(len(schemes), schemes[0].H, schemes[0].W, theme)
    for ax, scheme in zip(axes, schemes, strict=True):
        own = scheme.name in ("sda", "lda")
        _cells(ax, scheme.sources(row, col), theme.kind(scheme.name) if own else theme.muted, theme)
        masked = np.argwhere(scheme.masked(row, col))
        ax.plot(masked[:, 1] + 0.5, masked[:, 0] + 0.5, "x", color=theme.muted, ms=3, mew=0.7)
        for edge in range(0, scheme.H + 1, scheme.reduction) if scheme.reduction > 1 else ():
            ax.axhline(edge, color=theme.paper, lw=1.2)
        for edge in range(0, scheme.W + 1, scheme.reduction) if scheme.reduction > 1 else ():
            ax.axvline(edge, color=theme.paper, lw=1.2)
        _query(ax, row, col, theme)
        _title(ax, f"{scheme.name.replace('_', ' ')}: {len(scheme.scored(row, col))} keys", theme)
    return figure


def reach(sets: np.ndarray, kinds: Sequence[str], row: int, col: int, theme: Theme = LIGHT) -> Figure:
    """Which block first brought each token to the query, one picture per block.

    Args:
        sets: The tokens reached after 0, 1, … blocks: bool (blocks + 1, H, W).
        kinds: The kind of each block in turn; "sda" and "lda" have their colours, all others are grey.
        row: The query's row, from 0.
        col: The query's column, from 0.
        theme: Colours.
    """
    if len(sets) < 2:
        raise ValueError(f"there are {len(sets)} sets; expected one for no block and one or more for blocks")
    _, H, W = sets.shape
    figure, axes = _sheet(len(sets) - 1, H, W, theme)
    for n, ax in enumerate(axes, start=1):
        for b in range(1, n + 1):
            kind = kinds[(b - 1) % len(kinds)]
            colour = theme.kind(kind) if kind in ("sda", "lda") else theme.muted
            _cells(ax, sets[b] & ~sets[b - 1], colour, theme, strength=max(0.22, 1 - 0.17 * (b - 1)))
        _query(ax, row, col, theme)
        _title(ax, f"{n}: {int(sets[n].sum()):,} / {sets[n].size:,}", theme)
    return figure


def _sheet(count: int, H: int, W: int, theme: Theme) -> tuple[Figure, Sequence[Axes]]:
    """A row of empty maps with square tokens."""
    width = 5.0 if count == 1 else 2.6
    figure = Figure(
        figsize=(width * count, width * min(2.0, H / W) + 0.4), layout="constrained", facecolor=theme.paper
    )
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax in axes:
        ax.set(xlim=(0, W), ylim=(H, 0), aspect="equal", xticks=[], yticks=[], facecolor=theme.panel)
        ax.spines[:].set_color(theme.line)
    return figure, axes


def _cells(ax: Axes, where: np.ndarray, colour: str, theme: Theme, strength: float = 1.0) -> None:
    """Fill some tokens of a map."""
    H, W = where.shape
    image = np.zeros((H, W, 4))
    image[where] = (*to_rgb(colour), strength)
    ax.imshow(image, extent=(0, W, H, 0), interpolation="nearest", aspect="equal", zorder=1)


def _padding(ax: Axes, g: Grouping, theme: Theme) -> None:
    for x, y, w, h in ((g.W, 0, g.Wp - g.W, g.Hp), (0, g.H, g.W, g.Hp - g.H)):
        if w and h:
            ax.add_patch(
                Rectangle((x, y), w, h, fc=theme.panel, ec=theme.padding, hatch="////", lw=0, zorder=0.5)
            )
    ax.set(xlim=(0, g.Wp), ylim=(g.Hp, 0))


def _query(ax: Axes, row: int, col: int, theme: Theme) -> None:
    for colour, width in ((theme.outline, 3.5), (theme.ring, 1.75)):
        ax.plot(col + 0.5, row + 0.5, "o", ms=9, mfc="none", mec=colour, mew=width, zorder=5, clip_on=False)


def _title(ax: Axes, text: str, theme: Theme) -> None:
    ax.set_title(text, loc="left", fontsize=10, color=theme.ink)
