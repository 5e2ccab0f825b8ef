"""Colours: the same in Streamlit's settings and in figures, with enough contrast."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cfviz.figures.theme import DARK, LDA, LIGHT, SDA, Theme, theme

CONFIG = tomllib.loads(
    (Path(__file__).resolve().parents[2] / ".streamlit" / "config.toml").read_text("utf-8")
)


def luminance(colour: str) -> float:
    """Relative luminance as defined by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_streamlit_and_figures_have_the_same_colours(colours: Theme) -> None:
    options = CONFIG["theme"][colours.name]
    assert options["backgroundColor"] == colours.paper
    assert options["textColor"] == colours.ink
    assert options["borderColor"] == colours.line
    assert options["chartCategoricalColors"][1:3] == [SDA, LDA]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_enough_contrast(colours: Theme) -> None:
    for name in ("ink", "muted", "sda_ink", "lda_ink", "good", "warn"):
        for ground in (colours.paper, colours.panel):
            assert contrast(getattr(colours, name), ground) >= 4.5, (colours.name, name)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_enough_contrast_on_every_background_of_streamlits(colours: Theme) -> None:
    options = CONFIG["theme"][colours.name]
    grounds = [options[f"{name}BackgroundColor"] for name in ("secondary", "code")]
    grounds += [
        options["backgroundColor"],
        *(options["sidebar"][f"{a}ackgroundColor"] for a in ("b", "secondaryB")),
    ]
    for ground in grounds:
        for text in (options["textColor"], options["linkColor"], colours.muted, colours.good, colours.warn):
            assert contrast(text, ground) >= 4.5, (text, ground)
        assert contrast(options["primaryColor"], ground) >= 3, ground


def test_text_has_enough_contrast_on_the_colours_of_sda_and_lda() -> None:
    assert contrast(LIGHT.outline, SDA) >= 4.5
    assert contrast("#FFFFFF", LDA) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_the_two_kinds_of_attention_stand_out(colours: Theme) -> None:
    assert (colours.kind("sda"), colours.kind("lda")) == ("#D55E00", "#0072B2")
    assert contrast(colours.sda, colours.paper) >= 3
    assert contrast(colours.lda, colours.paper) >= 3


def test_scales_are_perceptually_even() -> None:
    stops = [stop for stop, _ in LIGHT.sequential]
    assert (stops[0], stops[-1]) == (0, 1)
    light = [luminance(colour) for _, colour in LIGHT.sequential]
    assert light == sorted(light), "magnitudes must be ordered by lightness alone"


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_signed_values_stand_out_as_far_as_they_are_from_zero(colours: Theme) -> None:
    """Zero is hardly there; before, it was nearly white in the dark theme, too."""
    below, zero, above = colours.signs[:5][::-1], colours.signs[5], colours.signs[6:]
    assert contrast(zero, colours.paper) < 1.25
    for side in (below, above):
        steps = [contrast(colour, colours.paper) for colour in (zero, *side)]
        assert steps == sorted(steps)
        assert steps[3] > 2.5
        assert steps[5] > 7
    for one, other in zip(below, above, strict=True):
        assert contrast(one, other) < 1.7, "equal amounts look equally strong"
    assert [stop for stop, _ in colours.diverging] == [n / 10 for n in range(11)]
    assert colours.css()["diverging"].split(",") == list(colours.signs)


def dominant(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "green" if g > max(r, b) else "purple"


def test_purple_is_below_zero_and_green_above_in_both_themes() -> None:
    for colours in (LIGHT, DARK):
        assert {dominant(colour) for colour in colours.signs[:5]} == {"purple"}
        assert {dominant(colour) for colour in colours.signs[6:]} == {"green"}


def test_an_unknown_theme_is_light() -> None:
    assert theme(None) is LIGHT
    assert theme("dark") is DARK


def test_a_change_to_the_layout_keeps_the_rest() -> None:
    layout = LIGHT.layout(xaxis={"range": [0, 1]}, height=100)
    assert layout["xaxis"]["range"] == [0, 1]
    assert layout["xaxis"]["gridcolor"] == LIGHT.line
    assert layout["height"] == 100
