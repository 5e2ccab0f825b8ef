"""What the figures of CrossFormer and of timm's models share: the place, the panels, the line of facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cfviz.figures.theme import LIGHT
from cfviz.framing import size_text
from cfviz.geometry import Grouping
from cfviz.geometry.schemes import Scheme
from cfviz.trace import Trace
from cfviz.words import percent, quantity

from .sheet import SMALL, Sheet, diverging, ring, sequential, show_photo

BAR = 18.0  # mm for a colour bar with its numbers and title
MOST = 6  # panels side by side
SHARPEST = 99.5  # per cent of the tokens that a rollout's scale covers: its own token outshines the rest


@dataclass(frozen=True)
class Place:
    """What of a model a figure shows.

    Attributes:
        stage: 0 to 3.
        block: From 0.
        row: The query's row in its map, from 0; None for the middle.
        col: The query's column, from 0; None for the middle.
    """

    stage: int = 0
    block: int = 0
    row: int | None = None
    col: int | None = None

    def token(self, g: Grouping | Scheme) -> tuple[int, int]:
        """The query as (row, column).

        Raises:
            ValueError: If the map has no such token.
        """
        row = g.H // 2 if self.row is None else self.row
        col = g.W // 2 if self.col is None else self.col
        if not (0 <= row < g.H and 0 <= col < g.W):
            raise ValueError(
                f"there is no token ({row}, {col}) in stage {self.stage + 1}, a map of {g.H} x {g.W}"
            )
        return row, col

    def check(self, depths: Sequence[int]) -> None:
        """Raise if a model has no such stage or block.

        Args:
            depths: Blocks in each stage of the model.

        Raises:
            ValueError: If it has no such stage or block; the message counts them from 1.
        """
        if not 0 <= self.stage < len(depths):
            raise ValueError(f"there is no stage {self.stage + 1}; the model has stages 1 to {len(depths)}")
        if not 0 <= self.block < depths[self.stage]:
            raise ValueError(
                f"there is no block {self.block + 1} in stage {self.stage + 1}; "
                f"it has blocks 1 to {depths[self.stage]}"
            )


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        draw: Draws it.
        watched: Returns the points that the trace must hold.
    """

    draw: Callable[[Trace, Place, str | float], Figure]
    watched: Callable[[Place], tuple[str, ...]]


def head_panels(
    trace: Trace, g: Grouping, maps: np.ndarray, at: tuple[int, int], width: str | float, facts: str
) -> Figure:
    """Attention of the token at a row and a column by head, (nH, H, W), on one scale; NaN is left out."""
    top = float(np.nanmax(maps))
    titles = [f"head {h + 1}" for h in range(len(maps))]
    sheet = Sheet(titles, width, (g.Hp, g.Wp), min(len(maps), MOST), beside=BAR, facts=facts)
    image = None
    for ax, values in zip(sheet.axes, maps, strict=True):
        show_photo(ax, trace.crop, g, 0.4, grey=True)
        image = ax.imshow(
            values, sequential, vmin=0, vmax=top, extent=(0, g.W, g.H, 0),
            interpolation="nearest", zorder=1, aspect="auto",
        )  # fmt: skip
        ax.set(xlim=(0, g.Wp), ylim=(g.Hp, 0))
        ring(ax, *at)
    sheet.scale(image, "attention")
    return sheet.figure


def bias_panels(
    surfaces: np.ndarray, group: tuple[int, int], width: str | float, facts: str, usual: int = 0
) -> Figure:
    """Position bias by head over offsets, key minus query, (nH, 2Gh-1, 2Gw-1), on one scale.

    Args:
        surfaces: The biases.
        group: Height and width of a group, in tokens.
        width: See `millimetres`.
        facts: The line below.
        usual: Side of smaller groups whose offsets are marked; 0 for none.
    """
    (Gh, Gw), top = group, float(np.abs(surfaces).max())
    titles = [f"head {h + 1}" for h in range(len(surfaces))]
    sheet = Sheet(titles, width, surfaces.shape[1:], min(len(surfaces), MOST), beside=BAR, facts=facts)
    extent = (-Gw + 0.5, Gw - 0.5, Gh - 0.5, -Gh + 0.5)
    image = None
    for ax, values in zip(sheet.axes, surfaces, strict=True):
        image = ax.imshow(
            values, diverging, vmin=-top, vmax=top, extent=extent, interpolation="nearest", aspect="auto"
        )  # fmt: skip
        ax.plot(0, 0, "+", color=LIGHT.outline, ms=4, mew=0.6)
        if usual:
            box = Rectangle((0.5 - usual, 0.5 - usual), 2 * usual - 1, 2 * usual - 1)
            box.set(fill=False, edgecolor=LIGHT.outline, linewidth=0.6, linestyle="--")
            ax.add_patch(box)
        ax.set(xlim=extent[:2], ylim=extent[2:])
    sheet.scale(image, "bias")
    return sheet.figure


def distance_curve(
    stages: Sequence[Sequence[tuple[str, np.ndarray]]], names: dict[str, str], width: str | float, facts: str
) -> Figure:
    """Mean attention distance of every head of every block, in pixels of the input; lines join the means.

    Args:
        stages: By stage and block: "sda" or "lda" for the colour, and one value per head.
        names: What the two are called.
        width: See `millimetres`.
        facts: The line below.

    A head whose distance is nan, as it attends to nothing on the photo, has no dot and counts in no mean; the
    line below says how many there are.

    Raises:
        ValueError: If no head has a distance.
    """
    blocks = [one for stage in stages for one in stage]
    every = np.concatenate([values for _, values in blocks])
    there = np.isfinite(every)
    if not there.any():
        raise ValueError("no head of this trace has an attention distance: none attends to the photo")
    if not there.all():
        facts = f"{(~there).sum()} of {len(every)} heads attend to nothing on the photo: no dot. {facts}"
    sheet = Sheet(["Mean attention distance"], width, (9, 16), 1, scales=(11.0, 8.0), facts=facts)
    ax = sheet.curve("block", "pixels")
    for kind, marker in (("sda", "o"), ("lda", "s")):
        of_kind = [
            (n, values[np.isfinite(values)]) for n, (own, values) in enumerate(blocks, start=1) if own == kind
        ]
        if not of_kind:
            continue
        colour = LIGHT.kind(kind)
        means = [values.mean() if len(values) else np.nan for _, values in of_kind]  # nan: a gap
        ax.plot([n for n, _ in of_kind], means, color=colour, lw=1.0, label=names[kind])
        x = [n for n, values in of_kind for _ in values]
        y = [value for _, values in of_kind for value in values]
        ax.plot(x, y, marker, color=colour, ms=2.5, mew=0, alpha=0.7)
    start = 0.5
    for number, stage in enumerate(stages, start=1):
        if start > 1:
            ax.axvline(start, color=LIGHT.line, lw=0.5, zorder=0)
        middle = start + len(stage) / 2
        ax.text(middle, 1.0, f"stage {number}", transform=ax.get_xaxis_transform(), fontsize=SMALL,
                color=LIGHT.muted, ha="center", va="top")  # fmt: skip
        start += len(stage)
    ax.set(xlim=(0.5, start))
    ax.set_ylim(0, float(every[there].max()) * 1.15)
    ax.legend(fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(0, 0.93), labelcolor=LIGHT.ink)
    return sheet.figure


def rollout_panel(
    trace: Trace, flow: np.ndarray, at: Place, mark: tuple[float, float], width: str | float,
    left_out: str, told: str,
) -> Figure:  # fmt: skip
    """What a token after a block is made of, as shares of the first stage's tokens.

    Args:
        trace: Its `crop` is as large as the first stage's map.
        flow: The shares, (H, W).
        at: The block, and the token by its row and column.
        mark: Row and column of the token's centre in the first stage's map.
        width: See `millimetres`.
        left_out: What rollout does with all but attention.
        told: What the shares sum to, and what is not among them.
    """
    H, W = flow.shape
    facts = (
        f"What token ({at.row}, {at.col}) after this block is made of: attention traced back, mean over "
        f"heads; shortcuts count half, {left_out}. {told}; the scale ends at the {percent(SHARPEST / 100)} "
        f"quantile. {facts_line(trace, at)}"
    )
    sheet = Sheet([f"after block {at.block + 1} of stage {at.stage + 1}"], width, (H, W), 1,
                  beside=BAR, facts=facts)  # fmt: skip
    (ax,) = sheet.axes
    show_photo(ax, trace.crop, Grouping("sda", H, W, 1), 0.4, grey=True)
    image = ax.imshow(
        flow, sequential, vmin=0, vmax=float(np.percentile(flow, SHARPEST)) or None, alpha=0.72,
        extent=(0, W, H, 0), interpolation="nearest", zorder=1, aspect="auto",
    )  # fmt: skip
    ring(ax, *mark)
    sheet.scale(image, "share")
    return sheet.figure


def facts_line(trace: Trace, at: Place) -> str:
    """The place, the model, the input; and that weights are random, where they are."""
    return f"Stage {at.stage + 1}, block {at.block + 1}; {run_line(trace)}"


def run_line(trace: Trace) -> str:
    """The model and the input; and that weights are random, where they are."""
    size = quantity(size_text(trace.size), "px")
    random = "; random weights" if trace.weights.trained is None else ""
    return f"{trace.model}, {size}, {trace.dtype}{random}."
