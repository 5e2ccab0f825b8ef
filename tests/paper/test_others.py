"""Figures for papers of timm's models: masks, padding and prefix tokens as the trace has them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cfviz import point_names
from cfviz.figures.theme import LDA, LIGHT, SDA
from cfviz.measured import others
from cfviz.paper.panels import distance_curve
from cfviz.run import inspect
from cfviz.trace import Trace
from tests.models.others.conftest import MODELS
from tests.paper.test_paper import coloured, pictures


@cache
def traced(name: str) -> Trace:
    torch.manual_seed(0)
    make, size = MODELS[name]
    model = make().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "table" in key:
                p.normal_(std=0.5)
    return inspect(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8), model, size)


def facts(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ").replace("\u00a0", " ") for text in figure.texts)


def test_a_shifted_window_shows_its_keys_and_what_the_mask_hides() -> None:
    trace = traced("swin, window per side")
    figure = trace.plot("grouping", row=23, col=39)
    for panel, (scheme, colour) in enumerate(zip(trace.schemes[0], (SDA, LDA), strict=True)):
        assert coloured(figure, panel, colour) == set(
            map(tuple, np.argwhere(scheme.sources(23, 39)).tolist())
        )
        hidden = set(map(tuple, np.argwhere(scheme.masked(23, 39)).tolist()))
        assert coloured(figure, panel, LIGHT.muted) == hidden
    assert len(hidden) == 9
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "W-MSA, windows of 3 × 5",
        "SW-MSA, windows of 3 × 5",
    ]
    assert "hidden by the mask" in facts(figure)
    assert to_rgb(LIGHT.muted) not in (to_rgb(SDA), to_rgb(LDA))


@pytest.mark.parametrize(
    ("name", "stage", "block", "row", "col", "said"),
    [
        ("swin, padded", 0, 0, 23, 39, "goes to padding"),
        ("vit", 0, 1, 3, 4, "goes to class and register tokens"),
        ("pvt v2", 0, 0, 5, 6, "each head sums to 1."),
        ("maxvit", 0, 1, 2, 3, "each head sums to 1."),
    ],
)
def test_heads_are_those_of_the_trace(
    name: str, stage: int, block: int, row: int, col: int, said: str
) -> None:
    trace = traced(name)
    figure = trace.plot("heads", stage=stage, block=block, row=row, col=col)
    seen = trace.attention(stage, block, row, col)
    assert len(pictures(figure)) == len(seen.heads)
    for picture, own in zip(pictures(figure), seen.heads, strict=True):
        shown = np.ma.filled(picture.get_array(), np.nan)
        np.testing.assert_array_equal(np.isfinite(shown), seen.sources)
        np.testing.assert_array_equal(shown[seen.sources], own[seen.sources])
    assert said in facts(figure)
    lost = f"{100 * (seen.padding + seen.extra.sum(1)).mean():.1f} % on average"
    assert (lost in facts(figure)) == ("goes to" in said)


@pytest.mark.parametrize("name", ["swin, window per side", "swin v2", "maxvit"])
def test_the_position_bias_stands_where_the_key_lies(name: str) -> None:
    trace = traced(name)
    scheme, pairs = trace.scheme(0, 1), trace[point_names.attention(0, 1, "bias")]
    for picture, own in zip(pictures(trace.plot("bias", block=1)), pairs, strict=True):
        shown = picture.get_array()
        assert shown.shape == tuple(2 * side - 1 for side in scheme.grid)
        assert shown[-1, -1] == own[0, -1]  # the key lies below and to the right
        assert shown[0, 0] == own[-1, 0]


def test_reach_and_distance_are_the_measured_ones() -> None:
    trace = traced("swin, padded")
    figure = trace.plot("reach", row=0, col=0)
    assert coloured(figure, 0, SDA) == {(r, c) for r in range(7) for c in range(7)} - {(0, 0)}
    assert coloured(figure, 1, LDA)
    lines = trace.plot("distance").axes[0].get_lines()
    drawn = sorted(
        (int(x), float(y))
        for line in lines if line.get_marker() in "os"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )  # fmt: skip
    own = [(n, float(d)) for n, (_, _, one) in enumerate(others.heads(trace), 1) for d in one.distance]
    np.testing.assert_allclose(drawn, sorted(own), atol=1e-9)


def test_a_head_without_a_distance_has_no_dot_and_counts_in_no_mean() -> None:
    """All on padding or on class tokens: nan, with which an axis had no end and a mean no value."""
    values = [np.array([10.0, np.nan, 30.0]), np.array([np.nan, np.nan]), np.array([40.0])]
    figure = distance_curve([[("sda", one) for one in values]], {"sda": "windows"}, "one", "Facts.")
    dots = next(line for line in figure.axes[0].get_lines() if line.get_marker() == "o")
    np.testing.assert_array_equal(dots.get_xydata(), [(1, 10), (1, 30), (3, 40)])
    joined = next(line for line in figure.axes[0].get_lines() if line.get_linestyle() == "-")
    np.testing.assert_array_equal(joined.get_xydata(), [(1, 20), (2, np.nan), (3, 40)])
    assert figure.axes[0].get_ylim() == (0, pytest.approx(46))
    assert any("3 of 6 heads attend to nothing on the photo" in " ".join(text.get_text().split())
               for text in figure.texts)  # fmt: skip
    with pytest.raises(ValueError, match="no head of this trace has an attention distance"):
        distance_curve([[("sda", values[1])]], {"sda": "windows"}, "one", "Facts.")


@pytest.mark.parametrize(
    ("name", "kind", "place", "said"),
    [
        (
            "vit",
            "shares",
            {},
            "'shares' draws CrossFormer's embedding layers, which VisionTransformer has not",
        ),
        (
            "pvt v2",
            "bias",
            {},
            r"block 1 of stage 1 of PyramidVisionTransformerV2 \(SRA\) has no position bias",
        ),
        ("vit", "heads", {"stage": 1}, "no stage 2; the model has stages 1 to 1"),
        ("vit", "heads", {"row": 6}, r"no token \(6, 5\) in stage 1, a map of 6 x 10"),
    ],
)
def test_what_cannot_be_drawn_is_said(name: str, kind: str, place: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        traced(name).plot(kind, **place)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("swin, odd", {"stage": 1, "block": 1, "row": 3, "col": 5}),
        ("vit", {"stage": 0, "block": 1, "row": 3, "col": 4}),
    ],
)
def test_a_rollout_is_the_measured_one_and_says_what_is_missing(name: str, place: dict[str, int]) -> None:
    trace = traced(name)
    figure = trace.plot("rollout", **place)
    torch.manual_seed(0)
    model = MODELS[name][0]().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "table" in key:
                p.normal_(std=0.5)
    paths = others.rollout(trace, model, **place)
    (drawn,) = (one for one in figure.axes[0].get_images() if one.get_array().ndim == 2)
    np.testing.assert_allclose(drawn.get_array(), paths.map, rtol=1e-12)
    told = facts(figure)
    for share, what in ((paths.padding, "padding"), (paths.extra.sum(), "class and register tokens")):
        assert (f"{100 * share:.1f} % comes from {what}" in told) == (share > 1e-6)
    (ring, *_) = figure.axes[0].get_lines()
    scale = trace.strides[place["stage"]] / trace.strides[0]
    expected = [[(place["col"] + 0.5) * scale], [(place["row"] + 0.5) * scale]]
    np.testing.assert_allclose([ring.get_xdata(), ring.get_ydata()], expected)


def test_rollout_is_refused_where_it_is_not_defined() -> None:
    with pytest.raises(ValueError, match=r"in PVT v2, convolutions .* mix them, too"):
        traced("pvt v2").plot("rollout")
