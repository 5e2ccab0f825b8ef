"""Every colour, scale and figure default of the app, in both themes.

Vermilion always means short distance attention (SDA) and blue always means long distance attention (LDA);
nothing else uses either colour. Magnitudes use one perceptually uniform sequential scale, signed values one
diverging scale centred on zero, whose middle is that of the page; both can be read without red-green vision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfviz.bundled import bundled
from cfviz.words import NO_BREAK, quantity

SDA = "#D55E00"
LDA = "#0072B2"
SEQUENTIAL = (
    "#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c",
    "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725",
)  # viridis  # fmt: skip
DIVERGING = (
    "#40004b", "#752982", "#9970ab", "#c1a4ce", "#e7d4e8", "#f6f7f6",
    "#d9f0d3", "#a5da9f", "#5aae61", "#1a7736", "#00441b",
)  # PRGn: purple below zero, green above  # fmt: skip
DIVERGING_DARK = (
    "#e8c2f5", "#ca95de", "#a56fb9", "#7a518b", "#4f3758", "#232527",
    "#25472a", "#316d3b", "#479354", "#6db977", "#9fdea5",
)  # the same hues on a dark ground: zero is as dark as the page, and lightness rises evenly  # fmt: skip
# Of a kernel by its side, in every embedding layer.
KERNEL_COLOURS = {2: "#7C8894", 4: "#D9A400", 8: "#2E9E7B", 16: "#8A7BD1", 32: "#C9578F"}
# Of classes on a photo, told apart without red-green vision (Tol's muted scheme); none is that of SDA or LDA.
CLASS_COLOURS = (
    "#CC6677", "#88CCEE", "#DDCC77", "#117733", "#AA4499", "#44AA99", "#332288", "#999933", "#882255",
)  # fmt: skip
GROUND = "#7C8894"
FONT = (
    '"Source Sans", "Source Sans 3", system-ui, "Segoe UI", "Noto Sans TC", "Noto Sans CJK TC", '
    '"PingFang TC", "Microsoft JhengHei", sans-serif'
)
MONO = '"Source Code Pro", ui-monospace, "SF Mono", Menlo, Consolas, "Noto Sans Mono CJK TC", monospace'


def icon() -> Path:
    """The icon of all pages, an SVG."""
    return bundled("icon.svg")


@dataclass(frozen=True)
class Theme:
    """The colours of one theme, as CSS hex strings.

    `paper` is the page, `panel` a raised surface, `ink` text, `muted` secondary text (still 4.5:1 on the
    paper), `line` hairlines, `faint` quiet fills such as the bars of the runners-up. `sda_ink` and `lda_ink`
    are the colours of SDA and LDA for text.
    """

    name: str
    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    faint: str
    padding: str
    sda_ink: str
    lda_ink: str
    good: str
    warn: str
    sda: str = SDA
    lda: str = LDA
    ring: str = "#FFFFFF"
    outline: str = "#14171B"

    @property
    def dark(self) -> bool:
        """Whether this is the dark theme."""
        return self.name == "dark"

    @property
    def sequential(self) -> list[list[Any]]:
        """The scale of magnitudes, in the form that plotly takes."""
        return _scale(SEQUENTIAL)

    @property
    def diverging(self) -> list[list[Any]]:
        """The scale of signed values, in the form that plotly takes; centre it on zero."""
        return _scale(self.signs)

    @property
    def signs(self) -> tuple[str, ...]:
        """The colours of signed values, from the lowest to the highest; the middle one is zero's."""
        return DIVERGING_DARK if self.dark else DIVERGING

    def kind(self, kind: str) -> str:
        """The colour of `"sda"` or `"lda"`."""
        return {"sda": self.sda, "lda": self.lda}[kind]

    def css(self) -> dict[str, str]:
        """The colours by name, for a component to set as CSS variables; `diverging` is a gradient's stops."""
        names = (
            "paper", "panel", "ink", "muted", "line", "faint", "padding", "sda", "lda", "sda_ink", "lda_ink",
            "good", "warn", "ring", "outline",
        )  # fmt: skip
        found = {name.replace("_", "-"): getattr(self, name) for name in names}
        return found | {"diverging": ",".join(self.signs), "font": FONT, "mono": MONO}

    def layout(self, **changes: Any) -> dict[str, Any]:
        """A plotly figure's layout: quiet axes, no boxes, room only where text needs it."""
        axis = {
            "gridcolor": self.line,
            "linecolor": self.line,
            "zerolinecolor": self.line,
            "tickfont": {"color": self.muted, "size": 12},
            "title": {"font": {"color": self.muted, "size": 13}},
            "automargin": True,
        }
        base: dict[str, Any] = {
            "font": {"family": FONT, "color": self.ink, "size": 14},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": self.panel,
                "bordercolor": self.line,
                "font": {"family": FONT, "color": self.ink, "size": 13},
            },
            "legend": {"font": {"color": self.ink, "size": 13}, "orientation": "h", "y": 1.08, "x": 0},
            "colorway": [self.ink, self.sda, self.lda, "#009E73", "#CC79A7", self.muted],
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": self.muted, "activecolor": self.ink},
        }
        return _merged(base, changes)

    def lay_out(self, figure: Any, **changes: Any) -> None:
        """Give a plotly figure this theme's layout, on top of its annotations, shapes and pictures.

        It does the same as `update_layout` in a tenth of the time; that one visits every key by its path.
        Parts are set one by one: a whole layout would have plotly check its own template again, for 10 ms.

        Args:
            figure: A plotly figure; changed in place.
            **changes: Replace the theme's own settings, at every depth.
        """
        now = figure.layout
        for name, value in self.layout(**changes).items():
            there = isinstance(value, dict) and name in now  # a second axis may not be
            both = there and hasattr(now[name], "to_plotly_json")
            now[name] = _merged(now[name].to_plotly_json(), value) if both else value


# An axis in per cent, of values times 100: plotly's own format writes 25% where all texts write 25 %.
PERCENT = {"ticksuffix": f"{NO_BREAK}%"}
# The same of shares that can reach 1; plotly gives chosen ticks no suffix.
WHOLE = {"tickvals": [*range(0, 101, 25)], "ticktext": [quantity(n, "%") for n in range(0, 101, 25)]}

LIGHT = Theme(
    name="light", paper="#FCFBF9", panel="#F3F1EC", ink="#1F2630", muted="#5C636E", line="#DEDAD2",
    faint="#C9C6BF", padding="#B9B6AF", sda_ink="#A84A00", lda_ink="#00609A", good="#00694C", warn="#8A5A00",
)  # fmt: skip
DARK = Theme(
    name="dark", paper="#14171B", panel="#1E2228", ink="#E6E8EB", muted="#A3A9B3", line="#343A43",
    faint="#4A515C", padding="#565D68", sda_ink="#FF9D57", lda_ink="#63B8F0", good="#4CC9A0", warn="#F0B95A",
)  # fmt: skip


def theme(name: str | None) -> Theme:
    """The theme called `"light"` or `"dark"`; light as long as the browser has not said which."""
    return DARK if name == "dark" else LIGHT


def plotly_config(filename: str) -> dict[str, Any]:
    """Plotly's toolbar with one button, which saves the picture at twice the screen's resolution."""
    return {
        "displaylogo": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "png", "filename": filename, "scale": 2},
        "scrollZoom": False,
        "doubleClick": False,
    }


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, at every depth."""
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merged(base[name], value) if both else value
    return merged


def _scale(colours: tuple[str, ...]) -> list[list[Any]]:
    """Evenly spaced stops."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]
