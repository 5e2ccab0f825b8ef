"""The sheet that a figure for a paper is drawn on: its size, its panels, and how it is written to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from PIL import Image

from cfviz.figures.theme import DIVERGING, LIGHT, SEQUENTIAL
from cfviz.geometry import Grouping
from cfviz.jobs import replacing

WIDTHS = {"one": 84.0, "two": 174.0}  # mm: one and two columns of most journals
FORMATS = ("pdf", "svg", "png")
NARROWEST, WIDEST = 30.0, 1000.0  # mm
MM = 25.4  # in an inch
TEXT, SMALL = 8.0, 7.0  # size of titles and of all other text, in points
LINE = 0.5  # width of lines, in points
DOTS = 600  # of a PNG, per inch
GAP, TITLE = 1.5, 4.5  # mm between panels, and for the title above each
FACTS = 3.5  # mm for the line below the panels
LETTERS = 0.66  # letters of `SMALL` text on a millimetre of a line, cautiously

sequential = LinearSegmentedColormap.from_list("cfviz sequential", SEQUENTIAL)
diverging = LinearSegmentedColormap.from_list("cfviz diverging", DIVERGING)

_STYLE: Any = {
    "pdf.fonttype": 42,  # TrueType: letters stay letters
    "svg.fonttype": "none",  # <text>, not outlines
    "svg.hashsalt": "cfviz",  # the same figure is the same file
    "font.family": ["DejaVu Sans"],
    "hatch.linewidth": 0.4,
}


class PaperFigure(Figure):
    """A figure whose files keep their text as text, whoever saves them."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Write a file, as any matplotlib figure."""
        with rc_context(_STYLE):
            super().savefig(*args, **kwargs)


def millimetres(width: str | float) -> float:
    """The width of a figure in mm: "one" or "two" columns, or a number.

    Raises:
        ValueError: If it is neither, or no width for a page.
    """
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    try:
        mm = float(width)
    except ValueError:
        mm = np.nan
    if not NARROWEST <= mm <= WIDEST:
        raise ValueError(
            f"the width is {width!r}; expected 'one' ({WIDTHS['one']:g} mm), 'two' ({WIDTHS['two']:g} mm) "
            f"or {NARROWEST:g} to {WIDEST:g} mm"
        )
    return mm


class Sheet:
    """A figure with panels of one shape in rows, each under its title.

    Args:
        titles: Title of each panel.
        width: See `millimetres`.
        shape: Height and width of what a panel shows, in any unit.
        columns: Panels side by side.
        beside: mm kept free on the right, for a colour bar.
        scales: mm kept free on the left and below each row of panels, for the numbers of a curve's scales.
        facts: A line below the panels that says what is shown; broken where it is too long.

    Attributes:
        figure: The matplotlib figure.
        axes: One for each panel.
        bar: Where a colour bar goes; None if no room was kept.
    """

    def __init__(
        self,
        titles: Sequence[str],
        width: str | float,
        shape: tuple[float, float],
        columns: int,
        *,
        beside: float = 0.0,
        scales: tuple[float, float] = (0.0, 0.0),
        facts: str = "",
    ) -> None:
        mm = millimetres(width)
        left, below = scales
        rows = ceil(len(titles) / columns)
        side = (mm - beside - left - (columns - 1) * GAP) / columns
        panel = side * shape[0] / shape[1]
        tall = panel + below
        lines = _broken(facts, mm)
        height = (
            rows * (tall + TITLE) + (rows - 1) * GAP + (FACTS * len(lines.splitlines()) + 1 if lines else 0)
        )
        with rc_context(_STYLE):
            self.figure = PaperFigure(figsize=(mm / MM, height / MM), facecolor="white")
            self.axes: list[Axes] = []
            for n, title in enumerate(titles):
                row, column = divmod(n, columns)
                top = height - row * (tall + TITLE + GAP) - TITLE
                x, y = left + column * (side + GAP), top - panel
                at = (x / mm, y / height, side / mm, panel / height)
                ax = self.figure.add_axes(at)
                ax.set_title(title, loc="left", fontsize=TEXT, color=LIGHT.ink, pad=2)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set(color=LIGHT.line, linewidth=LINE)
                self.axes.append(ax)
            self.bar: Axes | None = None
            if beside:
                low, high = height - rows * (tall + TITLE) - (rows - 1) * GAP, height - TITLE
                at = ((mm - beside + 2) / mm, low / height, 2.5 / mm, (high - low) / height)
                self.bar = self.figure.add_axes(at)
            if lines:
                self.figure.text(0, 0.5 / height, lines, fontsize=SMALL, color=LIGHT.muted, va="bottom")

    def curve(self, across: str, up: str) -> Axes:
        """Make the only panel one for curves, with scales and their titles."""
        (ax,) = self.axes
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.tick_params(labelsize=SMALL, width=LINE, length=2, color=LIGHT.line, labelcolor=LIGHT.ink)
        ax.set_xlabel(across, fontsize=SMALL, color=LIGHT.muted, labelpad=2)
        ax.set_ylabel(up, fontsize=SMALL, color=LIGHT.muted, labelpad=2)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def scale(self, image: Any, title: str) -> None:
        """Draw the colour bar of a picture."""
        assert self.bar is not None
        bar = self.figure.colorbar(image, cax=self.bar)
        bar.outline.set(linewidth=LINE, edgecolor=LIGHT.line)  # type: ignore[operator]  # a patch; typed as a spine
        self.bar.tick_params(labelsize=SMALL, width=LINE, length=2, color=LIGHT.line, labelcolor=LIGHT.ink)
        bar.set_label(title, fontsize=SMALL, color=LIGHT.muted)


def _broken(text: str, mm: float) -> str:
    """A line of text broken at spaces where the figure ends."""
    lines, most = [""], mm * LETTERS
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines).strip()


# ---------------------------------------------------------------- what maps are drawn with


def show_photo(
    ax: Axes, photo: Image.Image | None, g: Grouping, strength: float = 1.0, *, grey: bool = False
) -> None:
    """Draw what the model saw below a map of tokens, and fit the panel to the padded map.

    Args:
        ax: The panel.
        photo: Exactly the pixels that the model saw; None leaves the panel blank.
        g: How the map is divided.
        strength: Of the photo, from 0 to 1.
        grey: Whether to draw it without colours, so that those of the figure stand out.
    """
    if photo is not None:
        pixels = np.asarray(photo.convert("L" if grey else "RGB"), float) / 255
        pixels = pixels[..., None].repeat(3, -1) if grey else pixels
        ax.imshow(1 - strength * (1 - pixels), extent=(0, g.W, g.H, 0), interpolation="auto", zorder=0)
    for x, y, w, h in ((g.W, 0, g.Wp - g.W, g.Hp), (0, g.H, g.W, g.Hp - g.H)):
        if w and h:
            padding: Any = {"fc": LIGHT.panel, "ec": LIGHT.padding, "hatch": "/////", "lw": 0}
            ax.add_patch(Rectangle((x, y), w, h, zorder=0.5, **padding))
    ax.set(xlim=(0, g.Wp), ylim=(g.Hp, 0), aspect="auto")


def fill(ax: Axes, where: np.ndarray, colour: str, strength: float = 1.0) -> None:
    """Fill some tokens of a map, given as bool (H, W)."""
    for row, col in np.argwhere(where):
        ax.add_patch(Rectangle((col, row), 1, 1, fc=colour, ec="none", alpha=strength, zorder=1))


def ring(ax: Axes, row: float, col: float) -> None:
    """Mark the query: a white ring with a dark outline."""
    for colour, width in ((LIGHT.outline, 2.0), (LIGHT.ring, 1.0)):
        ax.plot(col + 0.5, row + 0.5, "o", ms=5, mfc="none", mec=colour, mew=width, zorder=5, clip_on=False)


# ---------------------------------------------------------------- files


def check_name(path: str | Path) -> str:
    """The format that a file's name asks for.

    Raises:
        ValueError: If it is none of `FORMATS`.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"the file is {Path(path).name!r}; expected a name in .{', .'.join(FORMATS)}")
    return kind


def save(figure: Figure, path: str | Path, facts: Mapping[str, Any]) -> None:
    """Write a figure as PDF, SVG or PNG, by the ending of the name; the same figure gives the same bytes.

    Args:
        figure: The figure.
        path: Where to.
        facts: What the figure was made of, kept in the file's metadata as JSON.

    Raises:
        ValueError: If the name has another ending.
    """
    kind = check_name(path)
    told = json.dumps(dict(facts), ensure_ascii=False, default=str)
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"Creator": "cfviz", "Producer": None, "CreationDate": None, "Subject": told},
        "svg": {"Creator": "cfviz", "Date": None, "Description": told},
        "png": {"Software": "cfviz", "Description": told},
    }
    size = Bbox.from_bounds(0, 0, *figure.get_size_inches())
    with replacing(path) as part:
        figure.savefig(part, format=kind, dpi=DOTS, bbox_inches=size, metadata=metadata[kind])
