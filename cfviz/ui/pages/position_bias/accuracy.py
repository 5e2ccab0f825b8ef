"""The effect on accuracy: the measured curves, and what they show about DPB, its own table and its twin's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import streamlit as st

from cfviz.analysis import accuracy_by_size
from cfviz.bundled import ASSETS
from cfviz.figures.plots.position_bias import COLOURS, Line, size_curves
from cfviz.framing import Size, as_pair, size_text
from cfviz.models.crossformer import recorded
from cfviz.options import BIAS_METHODS
from cfviz.ui.context import Context
from cfviz.ui.figures.position_bias import BiasSubject
from cfviz.ui.widgets import chart
from cfviz.words import decimal, quantity, signed, together

RESULTS = ASSETS / "results"
COMMAND = "python -m cfviz sizes --data FOLDER --weights crossformer_nano --json sizes-own.json"
WINDOWS = ("scaled", "fixed", "adaptive", "whole")
SHOWN = ("accuracy", "difference")
PARAMS = ("photos", "curves", "curve")  # of the link
STAGES = 4
SCHEMA = 2  # of results files, see `cfviz.training.measure.sizes`
OWN, BASELINE = ("dpb", "own"), ("rpb", "own")
TEST_HEAD = ("against", "size", "difference", "won", "lost", "p")
SMALL = 1e-6  # a smaller p-value is not written out
AGAINST = ("bicubic", "clamp", "cut", "none")  # methods that query a bias at no new offset
COLUMNS = ("model", "bias", "window", "size", "group_size", "n", "correct", "value", "low", "high")
Results = Mapping[str, Any]


def shipped(folder: Path | None = None) -> list[Results]:
    """The results files, the one with most photos first; they are of different photos and are never mixed."""
    found = [one for path in sorted((folder or RESULTS).glob("sizes-*.json")) if (one := opened(path))]
    return sorted(found, key=lambda one: (one.get("photos", 0), str(one["date"])), reverse=True)


def results(folder: Path | None = None) -> Results | None:
    """The results file with most photos, or None."""
    return next(iter(shipped(folder)), None)


def opened(path: Path) -> Results | None:
    """A results file of the current schema with at least one row, or None."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> Results | None:
    """Read one file, again only when it has changed."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    good = isinstance(found, dict) and found.get("schema") == SCHEMA and found.get("rows")
    return found if good else None


# ---------------------------------------------------------------- in words


def verdict(ctx: Context) -> list[str]:
    """The shipped measurement's findings in sentences, or a sentence that there is none."""
    found = results()
    lines = sentences(ctx, found) if found else []
    return lines or [ctx.t("position_bias.verdict_missing")]


def plain(ctx: Context, found: Results | None = None, window: str = "scaled") -> str:
    """When DPB beats a table, in sentences without an interval; empty if that was not measured.

    Args:
        ctx: The page.
        found: A results file; by default the shipped one with most photos.
        window: One of the file's windows; what its rows cannot support is left out.
    """
    found = found or results()
    if found is None or main_of(found["rows"]) != OWN[0]:
        return ""
    t, tests, trained = ctx.t, tested(found), found.get("trained_size", 224)
    worth, cut, table = (tests.get((window, ("dpb", way)), []) for way in ("none", "cut", "bicubic"))
    lines = [_worth(ctx, [d for d in worth if isinstance(d.size, int) and d.sign > 0])]
    if won := [d for d in cut if d.sign > 0]:
        lines.append(t("position_bias.plain_cut", **_most(max(won, key=lambda d: d.value))))
    if outcome := accuracy_by_size.verdict(table, trained):
        ends = (outcome.best, outcome.worst)
        fields = {"wins": _sizes(ctx, outcome.wins), "losses": _sizes(ctx, outcome.losses)}
        fields |= _most(max(ends, key=lambda d: abs(d.value) if outcome.code == "open" else d.sign * d.value))
        fields["most"] = decimal(ceil(1000 * max(abs(d.value) for d in ends)) / 10, 1)
        lines.append(t(f"position_bias.plain_{outcome.code}", **fields))
    if against := accuracy_by_size.verdict(tests.get((window, BASELINE), []), None):
        fields = {"wins": _sizes(ctx, against.wins), "losses": _sizes(ctx, against.losses)}
        lines.append(t(f"position_bias.plain_twin_{against.code}", **fields))
    said = together(*lines)
    return together(t("position_bias.plain_asked"), said) if said else ""


def _worth(ctx: Context, won: Sequence[accuracy_by_size.Difference]) -> str:
    """What no bias at all costs, at the sizes where that is significant."""
    if not won:
        return ""
    near, far = won[0], won[-1]
    fields = {"far": _points(far), "far_at": quantity(size_name(far.size), "px")}
    if all(a.value < b.value for a, b in pairwise(won)) and len(won) > 1:
        fields |= {"near": _points(near), "near_at": quantity(size_name(near.size), "px")}
        return ctx.t("position_bias.plain_grows", **fields)
    return ctx.t("position_bias.plain_worth", **fields)


def _most(d: accuracy_by_size.Difference) -> dict[str, str]:
    return {"by": _points(d), "at": quantity(size_name(d.size), "px")}


def _points(d: accuracy_by_size.Difference) -> str:
    """The size of a difference in percentage points, rounded for a sentence."""
    return decimal(100 * abs(d.value), 1)


def tested(found: Results) -> accuracy_by_size.Tested:
    """The model's own bias against every other method, and against its twin, tested together."""
    main = main_of(found["rows"])
    others = [(main, method) for method in BIAS_METHODS if method != "own"]
    if main != BASELINE[0]:
        others.append(BASELINE)
    return accuracy_by_size.tested(found["rows"], (main, "own"), others)


def sentences(ctx: Context, found: Results, window: str = "scaled") -> list[str]:
    """DPB evaluated anew against its own stretched table and against its twin, and where it breaks down.

    Args:
        ctx: The page.
        found: A results file.
        window: One of the file's windows; sentences its rows cannot support are left out.
    """
    rows, trained, all_tests = found["rows"], found.get("trained_size", 224), tested(found)
    apart = all_tests.get((window, ("dpb", "bicubic")), [])
    lines = [_against(ctx, "verdict", accuracy_by_size.verdict(apart, trained))]
    twin = all_tests.get((window, BASELINE), []) if main_of(rows) == OWN[0] else []
    lines.append(_against(ctx, "twin", accuracy_by_size.verdict(twin, None)))
    if lines[1]:
        change = _drift(ctx, accuracy_by_size.drift(rows, OWN, BASELINE, window, trained), trained)
        lines[1] = together(lines[1], change)
    methods = [("dpb", method) for method in AGAINST]
    gains = accuracy_by_size.extrapolation_gains(
        all_tests, window, methods, largest(found), trained, found.get("depths", (1,) * STAGES)
    )
    if any(method == "bicubic" for _, method in gains):
        lines.append(_breaks(ctx, gains))
    lines.append(_helps(ctx, gains))
    return [line for line in lines if line]


def largest(found: Results) -> Sequence[int]:
    """The largest groups in training, one per stage; if the file lacks them, G at the trained size."""
    usual = [row["group_size"] for row in found["rows"] if row["size"] == found.get("trained_size", 224)]
    return found.get("trained_group") or [min(usual, default=0)] * STAGES


def _against(ctx: Context, name: str, outcome: accuracy_by_size.Verdict | None) -> str:
    if outcome is None:
        return ""
    alike = outcome.best.value == outcome.worst.value
    alone = len(outcome.wins + outcome.losses + outcome.open) == 1
    between = ctx.t(
        f"position_bias.between{'_one' if alone else '_same' if alike else ''}",
        best=with_interval(outcome.best), best_at=size_name(outcome.best.size),
        worst=with_interval(outcome.worst), worst_at=size_name(outcome.worst.size),
    )  # fmt: skip
    fields = {"wins": _sizes(ctx, outcome.wins), "losses": _sizes(ctx, outcome.losses)}
    fields["how"] = ctx.t("position_bias.paired" if outcome.best.paired else "position_bias.unpaired")
    return ctx.t(f"position_bias.{name}_{outcome.code}", between=between, n=f"{outcome.best.n:,}", **fields)


def _drift(ctx: Context, found: Sequence[accuracy_by_size.Difference], trained: int) -> str:
    """How the gap to the twin changes away from the trained size."""
    if not found:
        return ""
    sure = [d for d in found if d.sign]
    most = max(sure or found, key=lambda d: abs(d.value))
    key = "position_bias.twin_drift" if sure else "position_bias.twin_still"
    sizes = _sizes(ctx, tuple(d.size for d in sure))
    return ctx.t(key, trained=trained, sizes=sizes, by=with_interval(most), at=size_name(most.size))


def _breaks(ctx: Context, gains: Sequence[tuple[accuracy_by_size.Difference, str]]) -> str:
    names = {method: ctx.t(f"position_bias.figure.way_{method}") for _, method in gains}
    broken = accuracy_by_size.extrapolation_break(gains)
    if broken is None:
        d, least = min(gains, key=lambda one: one[0].value)
        most = max((one.size for one, _ in gains), key=as_pair)
        methods = ctx.t("common.comma").join(
            ctx.t("position_bias.quoted", way=method) for method in names.values()
        )
        return ctx.t(
            "position_bias.breaks_nowhere",
            size=size_name(most),
            ways=methods,
            by=with_interval(d),
            at=size_name(d.size),
            way=names[least],
            n=f"{d.n:,}",
        )
    d, method = broken
    return ctx.t(
        "position_bias.breaks", size=size_name(d.size), G=d.group_size, by=with_interval(d), way=names[method]
    )


def _helps(ctx: Context, gains: Sequence[tuple[accuracy_by_size.Difference, str]]) -> str:
    """Where a bias at new offsets is significantly better than none there, all other biases the same."""
    won = [d for d, method in gains if method == "cut" and d.sign > 0]
    if not won:
        return ""
    most = max(won, key=lambda d: d.value)
    way = ctx.t("position_bias.figure.way_cut")
    return ctx.t("position_bias.helps", size=size_name(most.size), by=with_interval(most), way=way)


def with_interval(d: accuracy_by_size.Difference) -> str:
    """ "+1.20 [+0.35, +2.05]", in percentage points."""
    return f"{signed(100 * d.value)} [{signed(100 * d.low)}, {signed(100 * d.high)}]"


def size_name(size: Size) -> str:
    """ "224", or "192 × 640"."""
    return str(size) if isinstance(size, int) else size_text(size)


def _sizes(ctx: Context, sizes: tuple[Size, ...]) -> str:
    return ctx.t("common.comma").join(quantity(size_name(size), "px") for size in sizes)


# ---------------------------------------------------------------- in tests


def show_tests(ctx: Context, found: Results, window: str) -> None:
    """Every comparison of a window, with what its test counts."""
    t, tests = ctx.t, tested(found)
    lines = [
        _test_line(ctx, method, d)
        for (where, method), several in tests.items()
        for d in several
        if where == window and d.corrected is not None
    ]
    if not lines:
        return
    with st.expander(t("position_bias.tests_title", n=len(lines))):
        head = [t(f"position_bias.tests_{name}") for name in TEST_HEAD]
        st.markdown("\n".join(["| " + " | ".join(head) + " |", "|---|--:|--:|--:|--:|--:|", *lines]))


def _test_line(ctx: Context, method: accuracy_by_size.Method, d: accuracy_by_size.Difference) -> str:
    name = ctx.t("position_bias.figure.way_" + ("twin" if method == BASELINE else method[1]))
    p = f"{d.corrected:.2g}" if d.corrected and d.corrected >= SMALL else f"< {SMALL}"
    shown = f"**{p}**" if d.sign else p
    return f"| {name} | {size_name(d.size)} | {with_interval(d)} | {d.won} | {d.lost} | {shown} |"


# ---------------------------------------------------------------- in curves


@st.fragment
def show_accuracy(ctx: Context, subject: BiasSubject, said: Sequence[str] = ()) -> None:
    """Curves and differences, or how to measure them.

    Args:
        ctx: The page.
        subject: The page's subject.
        said: Sentences that the page says already.
    """
    t, files = ctx.t, shipped()
    if not files:
        chart.show_hint(t("position_bias.sizes_missing"))
        st.code(COMMAND, language="bash", wrap_lines=True)
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        found = files[0]
        if len(files) > 1:
            counts = [one["photos"] for one in files]
            n = st.segmented_control(
                t("position_bias.sizes_photos"), counts, default=ctx.get("photos", counts[0], counts),
                required=True, key="position_bias.sizes_photos", format_func="{:,}".format,
            )  # fmt: skip
            found = files[counts.index(n)]
            ctx.put(photos=n)
        there = [w for w in WINDOWS if any(row["window"] == w for row in found["rows"])]
        window = st.segmented_control(
            t("position_bias.window"), there, default=ctx.get("curves", there[0], there), required=True,
            key="position_bias.sizes_window", format_func=lambda code: t(f"position_bias.window_{code}"),
        )  # fmt: skip
        shown = st.segmented_control(
            t("position_bias.sizes_show"), SHOWN, default=ctx.get("curve", SHOWN[0], SHOWN), required=True,
            key="position_bias.sizes_shown", format_func=lambda code: t(f"position_bias.sizes_{code}"),
        )  # fmt: skip
    ctx.put(curves=window, curve=shown)
    if new := [line for line in sentences(ctx, found, window) if line not in said]:
        st.markdown("\n".join(f"- {line}" for line in new))
    show_curves(ctx, found, window, shown, "sizes" if shown == "accuracy" else "less")
    show_tests(ctx, found, window)
    notes = [t("position_bias.sizes_chance", n=accuracy_by_size.comparisons(tested(found)))]
    if any(row["model"] == "rpb" for row in found["rows"]):
        notes.append(t("position_bias.sizes_seed"))
    if recorded(subject.model).sha256 not in found.get("weights", {}).values():
        notes.append(t("position_bias.sizes_other"))
    st.caption(together(*notes))


def lines_of(
    ctx: Context, rows: Sequence[Mapping[str, Any]], window: str, shown: str, behind: bool = False
) -> list[Line]:
    """The curves of one window, in the order of the methods: accuracies, or DPB minus each other method."""
    out, main = [], main_of(rows)
    for method in COLOURS:
        model, bias = BASELINE if method == "twin" else (main, method)
        if method == "twin" and main == BASELINE[0]:
            continue
        if shown == "accuracy":
            points = [
                (row["size"], row["value"], row["low"], row["high"])
                for row in accuracy_by_size.curve(rows, model, bias, window)
            ]
        else:
            apart = (
                []
                if method == "own"
                else accuracy_by_size.differences(rows, (main, "own"), (model, bias), window)
            )
            points = [(d.size, d.value, d.low, d.high) for d in apart if isinstance(d.size, int)]
        if points:
            sizes, values, low, high = zip(*points, strict=True)
            name = ctx.t(f"position_bias.figure.way_{method}")
            out.append(Line(method, name, sizes, values, low, high, behind))
    return out


def main_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main model of a file: the one with a DPB, or the only one."""
    return "dpb" if any(row["model"] == "dpb" for row in rows) else str(rows[0]["model"])


def show_curves(
    ctx: Context,
    found: Results,
    window: str,
    shown: str,
    name: str,
    key: str = "",
    beside: Results | None = None,
) -> None:
    """The figure of one window of a results file, with its sentence, command and data.

    Args:
        ctx: The page.
        found: The results file.
        window: One of the file's windows.
        shown: One of `SHOWN`.
        name: The name of the figure's texts.
        key: Distinguishes figures that share a name.
        beside: Another results file, drawn with thin lines behind it.
    """
    lines = lines_of(ctx, found["rows"], window, shown)
    if not lines:
        st.caption(ctx.t("position_bias.sizes_none"))
        return
    behind = lines_of(ctx, beside["rows"], window, shown, behind=True) if beside else []
    methods = {line.method for line in lines}
    words = {
        "x": ctx.t("position_bias.sizes_x"),
        "y": ctx.t(f"position_bias.sizes_y_{shown}"),
        "trained": ctx.t("position_bias.trained"),
    }
    trained = found.get("trained_size", 224)
    fig = size_curves(
        [*lines, *(line for line in behind if line.method in methods)], ctx.theme, words, trained,
        signed=shown == "difference",
    )  # fmt: skip
    table = (COLUMNS, [[row[column] for column in COLUMNS] for row in found["rows"]])
    thin = ctx.t("position_bias.own_behind") if behind else ""
    chart.show_figure(
        ctx, fig, name, key, code=found.get("command"), table=table, n=found["photos"], thin=thin
    )
