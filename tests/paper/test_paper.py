"""Figures for papers: what is drawn is what the trace holds, and a file is as wide as it was asked to be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from safetensors.torch import save_file

from cfviz import point_names
from cfviz.analysis.embedding import carried_shares
from cfviz.analysis.rollout import Kernels, Layer, one_token, through_attention, through_kernels
from cfviz.cli import main
from cfviz.figures.theme import LDA, SDA
from cfviz.geometry import cel_channels, offsets
from cfviz.paper import ABOUT, kinds, sheet
from cfviz.run import inspect
from cfviz.trace import Trace

POINTS = 72  # in an inch
SIZE = (96, 160)  # maps of 24 x 40, 12 x 20, 6 x 10, 3 x 5: padded, and not square


@pytest.fixture(scope="module")
def make_trace() -> Callable[..., Trace]:
    """A function that makes a trace of noise through a small model, with all that figures need."""
    import torch

    from cfviz.models import CrossFormer

    def make(lda: str = "regions") -> Trace:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = CrossFormer(
                num_classes=7, embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8)
            ).eval()
        photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
        watch = (*(point_names.attention(point=p) for p in ("probs", "bias")), *point_names.embeddings())
        watch += tuple(map(point_names.filters, range(4)))
        return inspect(photo, model, SIZE, watch, lda=lda)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def trace(make_trace: Callable[..., Trace]) -> Trace:
    return make_trace()


def coloured(figure: Figure, panel: int, colour: str) -> set[tuple[int, int]]:
    """The tokens of one panel that are filled with a colour."""
    patches = [one for one in figure.axes[panel].patches if isinstance(one, Rectangle)]
    same = [one for one in patches if np.allclose(to_rgb(one.get_facecolor()), to_rgb(colour))]
    return {
        (round(one.get_y()), round(one.get_x())) for one in same if one.get_width() == 1 and one.get_fill()
    }


def pictures(figure: Figure) -> list[Any]:
    """The picture drawn last in each panel that has a title."""
    return [ax.get_images()[-1] for ax in figure.axes if ax.get_title(loc="left")]


@pytest.mark.parametrize("lda", ["regions", "whole"])
def test_groups_are_filled_with_the_colours_of_their_kinds(
    make_trace: Callable[..., Trace], lda: str
) -> None:
    made = make_trace(lda)
    figure = made.plot("grouping", row=23, col=39)
    for panel, (g, colour) in enumerate(zip(made.groupings[0], (SDA, LDA), strict=True)):
        group, _ = g.group_of(23, 39)
        flat = g.members[group][g.valid[group]]
        assert coloured(figure, panel, colour) == {divmod(int(one), g.W) for one in flat}
        hatched = [one for one in figure.axes[panel].patches if one.get_hatch()]
        assert len(hatched) == (g.Hp > g.H) + (g.Wp > g.W)


@pytest.mark.parametrize(("stage", "block", "row", "col"), [(0, 1, 23, 39), (1, 0, 11, 3), (1, 1, 0, 19)])
def test_heads_show_the_probabilities_of_the_token(
    trace: Trace, stage: int, block: int, row: int, col: int
) -> None:
    figure = trace.plot("heads", stage=stage, block=block, row=row, col=col)
    g = trace.grouping(stage, block)
    group, member = g.group_of(row, col)
    probs = trace[point_names.attention(stage, block)][group, :, member]
    assert len(pictures(figure)) == len(probs)
    for picture, p in zip(pictures(figure), probs, strict=True):
        shown = np.ma.filled(picture.get_array(), np.nan).reshape(-1)
        np.testing.assert_array_equal(shown[g.members[group][g.valid[group]]], p[g.valid[group]])
        assert np.isfinite(shown).sum() == g.valid[group].sum()
        assert picture.get_clim()[0] == 0


@pytest.mark.parametrize("lda", ["regions", "whole"])
def test_the_position_bias_stands_where_the_key_lies(make_trace: Callable[..., Trace], lda: str) -> None:
    made = make_trace(lda)
    g = made.grouping(1, 1)
    figure = made.plot("bias", stage=1, block=1)
    of_pairs = made[point_names.attention(1, 1, "bias")]  # nH, N, N
    query, key = 0, g.N - 1  # the key lies below and to the right
    low, high = pictures(figure)[0].get_clim()
    assert low == -high < 0
    for picture, pairs in zip(pictures(figure), of_pairs, strict=True):
        shown = picture.get_array()
        assert shown.shape == (2 * g.Gh - 1, 2 * g.Gw - 1)
        assert shown[-1, -1] == pairs[query, key]
        assert shown[0, 0] == pairs[key, query]
    assert len(offsets(g.Gh, g.Gw)) == shown.size
    dashed = [one for one in figure.axes[0].patches if one.get_linestyle() == "--"]
    assert bool(dashed) == (max(g.Gh, g.Gw) > 7)


def test_shares_are_those_of_the_tokens(trace: Trace) -> None:
    for stage in (0, 2):
        x = trace[point_names.embedding(stage)]
        kernels = (4, 8, 16, 32) if stage == 0 else (2, 4)
        parts = carried_shares(x, cel_channels(x.shape[-1], kernels))
        figure = trace.plot("shares", stage=stage)
        for picture, part in zip(pictures(figure), parts, strict=True):
            np.testing.assert_array_equal(picture.get_array(), part)


@pytest.mark.slow
def test_reach_colours_each_token_by_the_block_that_brought_it(trace: Trace) -> None:
    figure = trace.plot("reach", stage=0, row=3, col=3)
    near = trace.grouping(0, 0)
    first = {divmod(int(i), near.W) for i in near.members[near.group_of(3, 3)[0]] if i >= 0}
    assert coloured(figure, 0, SDA) == coloured(figure, 1, SDA) == first - {(3, 3)}
    assert coloured(figure, 1, LDA)
    assert not coloured(figure, 1, LDA) & first


def test_the_distance_of_every_head_is_drawn(trace: Trace) -> None:
    figure = trace.plot("distance")
    lines = figure.axes[0].get_lines()
    drawn = {
        (int(x), float(y))
        for line in lines
        if line.get_marker() in "os"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    number, expected, means = 0, set(), []
    for s, stage in enumerate(trace.groupings):
        for b, g in enumerate(stage):
            number += 1
            probs = trace[point_names.attention(s, b)].astype(float)  # nG, nH, N, N
            of_head: list[list[float]] = [[] for _ in range(probs.shape[1])]
            for row, col in np.ndindex(g.H, g.W):
                group, member = g.group_of(row, col)
                at = np.array([divmod(int(i), g.W) if i >= 0 else (row, col) for i in g.members[group]])
                far = np.hypot(*(at - (row, col)).T) * 4 * 2**s
                for head, values in enumerate(of_head):
                    values.append(float(probs[group, head, member] @ far))
            expected |= {(number, float(np.mean(values))) for values in of_head}
            means.append((number, float(np.mean(of_head))))
    np.testing.assert_allclose(sorted(drawn), sorted(expected), atol=1e-4)
    joined = [line for line in lines if line.get_linestyle() == "-" and line.get_label()[0] != "_"]
    points = sorted((x, y) for line in joined for x, y in line.get_xydata())
    np.testing.assert_allclose(points, means, atol=1e-4)


def test_a_rollout_goes_through_groups_cooling_and_merging(tiny_model: Callable[..., Any]) -> None:
    """Against the layers of the model itself: half through the shortcut, kernels by |w|."""
    model, size = tiny_model(depths=(4, 1, 2, 1), cooling=True), (64, 160)
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    at = kinds.Place(stage=1, block=0, row=3, col=11)
    made = inspect(photo, model, size, kinds.watched("rollout", at, model))
    g = made.grouping(1, 0)
    rows = attended(one_token(g.H, g.W, 3, 11), made, 1, 0)
    rows = through_kernels(rows, taps(model.layers[0].downsample.reductions, 2), 16, 40)
    for block in (3, 2, 1, 0):
        if block == 2:
            rows = through_kernels(rows, taps([model.layers[0].blocks[2].ex_conv], 1), 16, 40)
        rows = attended(rows, made, 0, block)
    figure = made.plot("rollout", stage=1, row=3, col=11)
    np.testing.assert_allclose(pictures(figure)[0].get_array(), rows[0], rtol=1e-6)
    assert rows.sum() == pytest.approx(1)
    told = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "token (3, 11)" in told
    assert "Sums to 1" in told
    (ring, *_) = figure.axes[0].get_lines()
    np.testing.assert_allclose([ring.get_xdata(), ring.get_ydata()], [[23], [7]])
    for missing in (point_names.cooling(0, 2), point_names.merging(1, 1)):
        watch = [name for name in kinds.watched("rollout", at, model) if name != missing]
        with pytest.raises(ValueError, match=f"'{re.escape(missing)}' was not watched"):
            inspect(photo, model, size, watch).plot("rollout", stage=1)


def attended(rows: np.ndarray, trace: Trace, s: int, b: int) -> np.ndarray:
    probs = trace[point_names.attention(s, b)].astype(float).mean(1)
    return through_attention(rows, Layer(trace.grouping(s, b), probs))


def taps(convolutions: Any, stride: int) -> Kernels:
    return Kernels(tuple(one.weight.detach().abs().sum((0, 1)).numpy() for one in convolutions), stride)


def test_filters_are_the_weights_of_the_first_layer(make_trace: Callable[..., Trace]) -> None:
    made = make_trace()
    figure = made.plot("filters", width="two")
    assert len(pictures(figure)) == 4
    for n, picture in enumerate(pictures(figure)):
        weight = made[point_names.filters(n)]
        assert made.axes[point_names.filters(n)] == ("channel", "colour", "row", "col")
        first = np.asarray(picture.get_array())[: 4 * weight.shape[2] : 4, : 4 * weight.shape[3] : 4]
        unit = weight[0] / np.abs(weight[0]).max()
        np.testing.assert_array_equal(first, np.rint(127.5 + 127.5 * unit).clip(0, 255).transpose(1, 2, 0))


@pytest.mark.slow
def test_random_weights_are_called_so(trace: Trace) -> None:
    known = trace.weights.trained
    told = " ".join(text.get_text() for text in trace.plot("reach").texts)
    assert "24 × 40" not in told
    assert "96\u00a0×\u00a0160\u00a0px" in told
    assert ("random weights" in told) == (known is None)


# ---------------------------------------------------------------- what cannot be drawn


@pytest.mark.parametrize(
    ("kind", "place", "said"),
    [
        ("pie", {}, "the kind is 'pie'; expected grouping, heads"),
        ("heads", {"stage": 4}, "no stage 5; the model has stages 1 to 4"),
        ("heads", {"stage": -1}, "no stage 0"),
        ("heads", {"stage": 1, "block": 2}, "no block 3 in stage 2"),
        ("heads", {"row": 24}, r"no token \(24, 20\) in stage 1, a map of 24 x 40"),
        ("heads", {"head": 1}, "'head' is no part of a place"),
        ("heads", {"width": "three"}, "the width is 'three'; expected 'one'"),
        ("heads", {"width": 5}, "the width is 5"),
        ("heads", {"width": float("nan")}, "the width is nan"),
    ],
)
def test_what_cannot_be_drawn_is_said(trace: Trace, kind: str, place: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        trace.plot(kind, **place)


def test_points_that_were_not_watched_are_named() -> None:
    made = Trace({"logits": np.zeros(3, np.float32)}, ("a", "b", "c"), "x", SIZE, ())
    with pytest.raises(ValueError, match="no stage 1"):
        made.plot("heads")


# ---------------------------------------------------------------- files


@pytest.mark.slow
@pytest.mark.parametrize(("width", "mm"), [("one", 84), (120, 120)])
def test_a_file_has_the_width_asked_for_and_text_as_text(
    trace: Trace, tmp_path: Path, width: str | float, mm: float
) -> None:
    at = kinds.Place(stage=3)
    for n in range(2):
        figure = kinds.plot(trace, "grouping", width, stage=3)
        for kind in sheet.FORMATS[:2]:
            sheet.save(figure, tmp_path / f"{n}.{kind}", kinds.facts_of(trace, "grouping", at))
    for kind in sheet.FORMATS[:2]:
        assert (tmp_path / f"0.{kind}").read_bytes() == (tmp_path / f"1.{kind}").read_bytes(), "reproducible"
    svg = (tmp_path / "0.svg").read_text()
    assert ">SDA, groups of 5 × 5<" in re.sub(r"\s+", " ", svg).replace("> ", ">")
    points = re.search(r'width="([\d.]+)pt"', svg)
    assert points
    assert float(points[1]) == pytest.approx(mm / sheet.MM * POINTS, abs=0.01)
    pdf = (tmp_path / "0.pdf").read_bytes()
    assert b"/FontFile2" in pdf, "letters are letters"
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", pdf)
    assert box
    assert float(box[1]) == pytest.approx(mm / sheet.MM * POINTS, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_whoever_saves_a_figure_gets_text_as_text(trace: Trace, tmp_path: Path, kind: str) -> None:
    """As the README does it; matplotlib would draw the letters of an SVG as outlines."""
    trace.plot("reach", stage=3).savefig(path := tmp_path / f"reach.{kind}")
    assert (b"<text" if kind == "svg" else b"/FontFile2") in path.read_bytes()


def test_no_line_of_text_is_wider_than_the_figure(trace: Trace) -> None:
    for width in ("one", "two"):
        figure = trace.plot("shares", width, stage=1)
        figure.canvas.draw()
        edge = figure.bbox.width
        assert len(figure.texts) == 1
        for text in figure.texts:
            assert text.get_window_extent().x1 <= edge + 1


@pytest.mark.slow
def test_the_command_writes_a_figure_with_its_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuple(kinds.KINDS) == tuple(ABOUT)
    out = tmp_path / "bias.svg"
    argv = ["figure", "bias", "gallery:german-shepherd", "--stage", "4", "--size", "64", "--out", str(out)]
    assert main(argv) == 0
    assert "84 x" in capsys.readouterr().err
    told = re.search(r"<dc:description>(.*?)</dc:description>", out.read_text(), re.DOTALL)
    assert told
    facts = json.loads(told[1].replace("&quot;", '"'))
    assert facts["stage"] == 3
    assert facts["size"] == [64, 64]
    assert facts["weights"] == "bundled"


@pytest.mark.slow
def test_the_command_draws_a_model_of_timm(tmp_path: Path) -> None:
    model = timm.create_model("deit_tiny_patch16_224", num_classes=3)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    out = tmp_path / "rollout.svg"
    argv = [
        "figure",
        "rollout",
        "gallery:german-shepherd",
        "--model",
        "deit_tiny_patch16_224",
        "--size",
        "64",
    ]
    argv += ["--block", "2", "--token", "1,2", "--out", str(out)]
    assert main([*argv, "--weights", str(tmp_path / "mine.safetensors")]) == 0
    told = re.search(r"<dc:description>(.*?)</dc:description>", out.read_text(), re.DOTALL)
    assert told
    facts = json.loads(told[1].replace("&quot;", '"'))
    assert (facts["figure"], facts["block"], facts["size"]) == ("rollout", 1, [64, 64])
    assert (facts["family"], facts["weights"]) == ("ViT", "mine.safetensors")
    assert "class and register tokens" in out.read_text()
    assert main([*argv, "--weights", "none"]) == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["heads", "gallery:cat", "--out", "f.pdf", "--model", "pvt_v2_b0"],
            "pvt_v2_b0 are not on this",
        ),
        (
            ["shares", "gallery:cat", "--out", "f.pdf", "--model", "pvt_v2_b0"],
            "embedding layers, which pvt_v2_b0 has not",
        ),
        (["heads", "x.png", "--out", "f.gif"], "expected a name in .pdf, .svg, .png"),
        (["heads", "x.png", "--out", "f.pdf", "--token", "3"], "expected ROW,COL"),
        (["heads", "x.png", "--out", "f.pdf", "--width", "5"], "the width is '5'"),
        (["heads", "nowhere.png", "--out", "f.pdf"], "nowhere.png"),
    ],
)
def test_the_command_says_what_is_wrong(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["figure", *argv])
    except SystemExit as error:
        code = int(str(error.code))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not list(tmp_path.iterdir())
