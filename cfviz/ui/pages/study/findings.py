"""The page on many photos: explore a study's findings, or start a new study in the background."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from cfviz import jobs
from cfviz.bundled import ASSETS
from cfviz.figures.plots.study import forest, scatter
from cfviz.framing import size_code, size_text
from cfviz.geometry import CEL_KERNELS
from cfviz.models.crossformer import recorded
from cfviz.models.interventions.language import Intervention, dump, from_url, parse
from cfviz.run import class_ids
from cfviz.training.measure import study_table
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import photos, reader
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.jobs import folder_choice, panel, refused, skipped
from cfviz.ui.widgets.photos import add_photos, photo_title
from cfviz.words import decimal, signed

RESULTS = ASSETS / "results"
SHIPPED, PLAN = RESULTS / "study-nano.parquet", RESULTS / "study-nano.jsonl"
PARTS = ("head", "kernel", "attn", "mlp", "block", "kind", "bias", "several")
MEASURES = (
    "accuracy change", "agreement", "probability change", "distance change", "entropy change", "distance",
    "entropy", "share",
)  # fmt: skip
ENOUGH = 0.02  # largest cost in accuracy at which a part counts as dispensable
BY_CHANCE = 0.025  # share of 95 % intervals that lie below zero by chance when there is no effect
MOST, PROJECTED = 40, 17  # lines in a figure, and in one on a projector's screen
KEYS = ("subject", "part", "stage", "block", "index", "how", "measure", "value", "low", "high", "n", "json")
LINES = "interventions.jsonl"  # in the folder of a job
PHOTOS = "photos"  # the reader's own, in the folder of a job until it has ended
CLASSES = "cfviz.study.classes"  # model -> photo -> the class that it shows
WATCHED = "cfviz.study.watched"  # this reader's studies that waited or ran at the last run
KEPT_LINES = "cfviz.study.lines"  # what stood in the field when its section was last open
PICKED = "cfviz.study.picked"  # the parts that the link brought, once they stand in the field
Rows = list[dict[str, Any]]


@st.cache_data(show_spinner=False, max_entries=8)
def table(path: str, changed: float) -> tuple[Rows, dict[str, Any]]:
    """A statistics table; `changed`, the file's modification time, is part of the cache key."""
    return study_table.load(path)


def choose_study(ctx: Context) -> tuple[Rows, dict[str, Any], Path] | None:
    """The study on show: the shipped one, or one from a finished job; None if there is none."""
    done = [job for job in jobs.listed("study") if job.state == "done" and job.result.is_file()]
    paths = {"shipped": SHIPPED} if SHIPPED.is_file() else {}
    paths |= {job.id: job.result for job in done}
    if not paths:
        st.info(ctx.t("study.none"), icon=":material/hourglass_empty:")
        return None
    if (ended := _just_ended(paths)) is not None:
        ctx.put(study=ended)
        st.toast(ctx.t("study.ended"), icon=":material/check_circle:")
    name = ctx.get("study", next(iter(paths)), paths)
    if len(paths) > 1:
        st.session_state["study.which"] = name
        st.selectbox(
            ctx.t("study.which"), list(paths), key="study.which",
            format_func=lambda id: ctx.t("study.shipped") if id == "shipped" else ctx.t("study.own", id=id),
            on_change=lambda: ctx.put(study=st.session_state["study.which"]),
        )  # fmt: skip
    try:
        return *table(str(paths[name]), paths[name].stat().st_mtime), paths[name]
    except (ValueError, OSError) as error:  # not a table, or deleted in the meantime
        st.error(ctx.t("errors.refused", reason=plain(error)), icon=":material/error:")
        return None


def _alive() -> set[str]:
    """The studies of this reader that wait or run."""
    mine = reader.browser()
    return {job.id for job in jobs.listed("study") if job.owner == mine and job.state in jobs.ALIVE}


def runs() -> bool:
    """Whether a study of this reader is waiting or running."""
    return bool(_alive())


def _just_ended(paths: Mapping[str, Path]) -> str | None:
    """The study of this reader that has ended since the last run of the page, to open its result."""
    alive = _alive()
    before: set[str] = st.session_state.get(WATCHED, set())
    st.session_state[WATCHED] = alive
    return next((id for id in paths if id in before - alive), None)


def title(ctx: Context, row: dict[str, Any]) -> str:
    """A row's subject in words, counted from 1."""
    words = [ctx.t(f"study.part_{row['part']}")]
    if row["part"] == "several":
        return f"{words[0]} {row['subject']}"
    if row["part"] == "kind":
        words = [ctx.t(f"study.kind_{row['how']}")]
    if row["stage"] is None:
        words.append(ctx.t("study.everywhere"))
    for name in ("stage", "block", "index"):
        if row[name] is not None and not (name == "index" and row["part"] == "kernel"):
            words.append(ctx.t(f"study.{name}", n=row[name] + 1))
    if row["part"] == "kernel" and row["index"] is not None:
        words.append(size_text(CEL_KERNELS[row["stage"]][row["index"]]))
    return " · ".join(words)


def short_title(ctx: Context, row: dict[str, Any]) -> str:
    """A row's subject as narrow as a chart beside it needs: `Head 12 · 3.1`, stage and block as one."""
    if row["part"] not in ("head", "attn", "mlp", "block") or row["block"] is None:
        return title(ctx, row)
    number = "" if row["index"] is None else f" {row['index'] + 1}"
    return f"{ctx.t('study.part_' + row['part'])}{number} · {row['stage'] + 1}.{row['block'] + 1}"


def titles(
    ctx: Context, rows: Rows, name: Callable[[Context, dict[str, Any]], str] = title
) -> dict[str, str]:
    """The title of every subject; two changes to the same part get a suffix that distinguishes them."""
    found = {row["subject"]: row for row in rows if row["part"]}
    names = {subject: name(ctx, row) for subject, row in found.items()}
    for more in (lambda row: _how(ctx, row["how"]), lambda row: row["subject"]):
        often = Counter(names[subject] for subject, row in found.items() if row["json"])
        names |= {
            subject: f"{names[subject]} · {more(row)}"
            for subject, row in found.items()
            if row["json"] and often[names[subject]] > 1
        }
    return names


def _how(ctx: Context, how: str) -> str:
    return ctx.t(f"study.how_{how}") if how in ("zero", "mean", "shuffle", "replace") else how


def show_findings(ctx: Context, rows: Rows, names: dict[str, str], about: dict[str, Any]) -> None:
    """The study's findings, in sentences built from its numbers."""
    whole = next(row for row in rows if row["measure"] == "accuracy" and not row["subject"])
    cost = [row for row in rows if row["measure"] == "accuracy change"]
    lines = [
        ctx.t(
            "study.find_whole",
            model=plain(models.title(about.get("model", ""))),
            n=whole["n"],
            **percents(whole),
        )
    ]
    lines += [_spared(ctx, part, mine, names) for part in ("head", "kernel") for mine in _of(cost, part)]
    for part, how in (("kind", "sda"), ("bias", "zero")):
        for row in cost:
            if (row["part"], row["how"], row["stage"]) == (part, how, None):
                known = "worth" if row["high"] < 0 else "harm" if row["low"] > 0 else "open"
                text = percents(row) | {"loss": percents({**row, "value": -row["value"]}, "")["value"]}
                lines.append(ctx.t(f"study.find_{part}_{known}", **text))
    lines += skipped(ctx, about)
    chart.show_hint("\n\n".join(lines))


def _of(cost: Rows, part: str) -> list[Rows]:
    """The changes to single parts of one kind, the costliest first; one list per method of change."""
    ways: dict[str, Rows] = {}
    for row in sorted(cost, key=lambda row: row["value"]):
        if row["part"] == part and row["index"] is not None:
            ways.setdefault(row["how"], []).append(row)
    return list(ways.values())


def _spared(ctx: Context, part: str, mine: Rows, names: dict[str, str]) -> str:
    """Which heads or kernels are dispensable, costing less than two points, and which are missed."""
    spare = [row for row in mine if row["low"] > -ENOUGH]
    lost = [row for row in mine if row["high"] < 0]
    listed = spare[::-1] if part == "kernel" else []
    named = ctx.t("common.semicolon").join(_in_words(ctx, row, names) for row in listed)
    named_row = (lost or mine)[0]  # the costliest whose loss is significant, if there is one
    fields = {
        "all": len(mine),
        "spare": len(spare),
        "lost": len(lost),
        "name": _in_words(ctx, named_row, names),
    }
    fields |= {"how": _how(ctx, mine[0]["how"]), "chance": f"{BY_CHANCE * len(mine):.1f}"}
    key = f"find_{part}" if lost else f"find_{part}_none"
    text = ctx.t(f"study.{key}", **fields, **percents(named_row))
    return text + (ctx.t("study.find_spare", names=named) if named else "")


def _in_words(ctx: Context, row: dict[str, Any], names: dict[str, str]) -> str:
    """A head or a kernel as a sentence names it; other parts by their title."""
    if row["stage"] is None or (row["part"] == "head" and row["block"] is None):
        return names[row["subject"]]
    if row["part"] == "kernel":
        size = size_text(CEL_KERNELS[row["stage"]][row["index"]])
        return ctx.t("study.said_kernel", size=size, stage=row["stage"] + 1)
    return ctx.t("study.said_head", n=row["index"] + 1, stage=row["stage"] + 1, block=row["block"] + 1)


def percents(row: dict[str, Any], sign: str = "+") -> dict[str, str]:
    """A row's value and interval as text, in per cent, with a true minus sign; changes with their sign."""
    write = signed if sign and row["measure"].endswith("change") else decimal
    return {name: write(100 * row[name], 1) for name in ("value", "low", "high")}


def measure_name(ctx: Context, measure: str) -> str:
    """A measure in words; kernels' shares are named by stage and side."""
    if not measure.startswith("share."):
        return ctx.t(f"study.measure_{measure.replace(' ', '_')}")
    stage, kernel = (int(part) for part in measure.removesuffix(" change").split(".")[1:])
    return ctx.t("study.measure_share_change", stage=stage + 1, k=CEL_KERNELS[stage][kernel])


def show_explorer(ctx: Context, rows: Rows, names: dict[str, str], file: Path) -> None:
    """Filter, sort, plot with intervals and download."""
    known = {row["measure"] for row in rows}
    there = [m for m in MEASURES if m in known]
    there += sorted(m for m in known if m.startswith("share."))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = st.selectbox(
            ctx.t("study.measure"), there, key="study.measure", width=300,
            format_func=lambda m: measure_name(ctx, m),
        )  # fmt: skip
        mine = [row for row in rows if row["measure"] == measure and row["part"]]
        parts = [part for part in PARTS if any(row["part"] == part for row in mine)]
        wanted = st.pills(
            ctx.t("study.parts"), parts, selection_mode="multi", key=f"study.parts.{measure}",
            format_func=lambda part: ctx.t(f"study.part_{part}"),
        )  # fmt: skip
        stages = sorted({row["stage"] for row in mine if row["stage"] is not None})
        at = st.pills(
            ctx.t("study.stages"), stages, selection_mode="multi", key="study.stages",
            format_func=lambda s: str(s + 1),
        )  # fmt: skip
        down = st.toggle(ctx.t("study.descending"), key="study.descending")
    mine = [row for row in mine if (not wanted or row["part"] in wanted) and (not at or row["stage"] in at)]
    mine.sort(key=lambda row: row["value"], reverse=down)
    if not mine:
        st.info(ctx.t("study.nothing"), icon=":material/filter_alt_off:")
        return
    change, plainly = measure.endswith("change"), measure.startswith(("distance", "entropy"))
    unit = "" if plainly else ctx.t("study.points") if change else "%"
    name = measure_name(ctx, measure)
    axis = ctx.t("study.axis_points", measure=name) if change and not plainly else name
    short = titles(ctx, rows, short_title)
    most = PROJECTED if ctx.settings.present else MOST
    shown = [(short[row["subject"]], row["value"], row["low"], row["high"]) for row in mine[:most]]
    chart.show_figure(
        ctx, forest(shown, axis, ctx.theme, unit), "forest",
        code=_code(file, measure, wanted, at, down), table=(KEYS, [_counted(row) for row in mine]),
        shown=len(shown), all=len(mine), measure=name,
        rule=ctx.t("study.forest_zero") if measure.endswith("change") else "",
    )  # fmt: skip
    with st.expander(ctx.t("study.table")):
        st.dataframe(
            [
                {"": names[row["subject"]], **{k: row[k] for k in ("value", "low", "high", "n")}}
                for row in mine
            ]
        )


def _counted(row: dict[str, Any]) -> list[Any]:
    """A row of the downloadable table, with places counted from 1 as on the page."""
    place = {name: None if row[name] is None else row[name] + 1 for name in ("stage", "block", "index")}
    own = {} if row["json"] else {"subject": ".".join(str(n) for n in place.values() if n is not None)}
    return [{**row, **place, **own}[key] for key in KEYS]


def _code(file: Path, measure: str, parts: Sequence[str], stages: Sequence[int], down: bool) -> str:
    """The code that loads the rows on screen."""
    filters = f"\nrows = rows[rows.part.isin({list(parts)})]" if parts else ""
    filters += f"\nrows = rows[rows.stage.isin({list(stages)})]    # from 0" if stages else ""
    return CODE.format(opening=_opening(file), measure=measure, filters=filters, ascending=not down)


def _opening(file: Path) -> str:
    """The first lines of the shown code; they run from any folder, including when cfviz is installed."""
    if file == SHIPPED:
        named = f'bundled("results/{file.name}")'
        return f"import pandas as pd\n\nfrom cfviz.bundled import bundled\n\nstudy = pd.read_parquet({named})"
    return f"import pandas as pd\n\nstudy = pd.read_parquet({str(file)!r})"


def show_head_scatter(ctx: Context, rows: Rows, names: dict[str, str], file: Path) -> None:
    """Each head's reach or spread against what the model loses without it."""
    cost = [row for row in rows if row["measure"] == "accuracy change" and row["part"] == "head"]
    if not cost or None in {row["stage"] for row in cost}:
        return
    what = st.segmented_control(
        ctx.t("study.measure"), ("distance", "entropy"), default="distance", key="study.against",
        format_func=lambda m: ctx.t(f"study.measure_{m}"), required=True,
    )  # fmt: skip
    is_like = {_head(row): row["value"] for row in rows if row["measure"] == what}
    points = [
        {"name": names[row["subject"]], "stage": row["stage"], "x": is_like[_head(row)], "y": row["value"]}
        for row in cost
        if _head(row) in is_like
    ]
    change = ctx.t("study.axis_points", measure=ctx.t("study.measure_accuracy_change"))
    axes = ctx.t(f"study.measure_{what}"), change
    stages = [ctx.t("study.stage", n=s + 1) for s in range(4)]
    code = AGAINST.format(what=what, opening=_opening(file))
    chart.show_figure(
        ctx, scatter(points, axes, stages, ctx.theme, ctx.t("study.points")), "scatter", code=code,
        table=(("head", "stage", what, "accuracy change"),
               [(p["name"], p["stage"] + 1, p["x"], p["y"]) for p in points]),
        what=axes[0],
    )  # fmt: skip


def _head(row: dict[str, Any]) -> tuple[Any, Any, Any]:
    return row["stage"], row["block"], row["index"]


def show_start(ctx: Context) -> None:
    """A new study over the reader's photos, as a job."""
    st.markdown(ctx.t("study.start_text"))
    command, files = _command(ctx)
    brief = (PHOTOS,) if any(name != LINES for name in files) else ()
    result = "out/statistics.parquet"
    panel(ctx, "study", command, result, ctx.t("study.start"), files=files, brief=brief)
    # the button above runs this section alone
    st.session_state[WATCHED] = st.session_state.get(WATCHED, set()) | _alive()


def _command(ctx: Context) -> tuple[list[str] | None, dict[str, str | bytes]]:
    """The command for the reader's choices, and its files; None, with a sentence why, if there is none."""
    if why := refused(ctx):
        st.info(why, icon=":material/info:")
        return None, {}
    source = "own"
    if jobs.roots():
        source = st.segmented_control(
            ctx.t("study.source"), ("folder", "own"), default="folder", key="study.source", required=True,
            format_func=lambda one: ctx.t(f"study.source_{one}"),
        )  # fmt: skip
    folder: str | None = None
    mine: dict[str, bytes] = {}
    if source == "own":
        mine = _own_photos(ctx)
        folder = f"{jobs.PLACE}/{PHOTOS}" if mine else None
    elif (chosen := folder_choice(ctx, "study")) is not None:
        folder = str(chosen)
    text = _lines(ctx)
    limit = st.number_input(ctx.t("study.limit"), 1, 1000, 10, key="study.limit", width=220)
    try:
        lines = [dump(parse(line)) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        st.error(ctx.t("errors.refused", reason=plain(error)), icon=":material/error:")
        return None, {}
    if folder is None or not lines:
        return None, {}
    command = ["study", "--data", folder, "--interventions", f"{jobs.PLACE}/{LINES}"]
    command += ["--model", ctx.settings.model, "--size", size_code(ctx.settings.size)]
    if (form := models.chosen_form(ctx.model)) is not None:
        command += ["--lda", form]
    command += ["--limit", str(limit), "--out", f"{jobs.PLACE}/out"]
    if ctx.settings.device == "cpu":
        command += ["--cpu"]
    return command, {LINES: "\n".join(lines) + "\n", **mine}


def _own_photos(ctx: Context) -> dict[str, bytes]:
    """The reader's own photos with the class that each shows: the files of a job, by name."""
    ids = class_ids(recorded(ctx.model), len(ctx.labels))
    known = [index for index, id in enumerate(ids) if id]
    st.markdown(ctx.t("study.own_text"))
    add_photos(ctx, "study")
    if not jobs.roots():
        st.info(ctx.t("jobs.no_folders", variable=jobs.FOLDERS), icon=":material/folder_off:")
    kept: dict[str, dict[str, int]] = st.session_state.setdefault(CLASSES, {})
    classes = kept.setdefault(ctx.settings.model, {})  # they outlive the section when it is closed
    columns = st.columns(4)
    for n, (id, photo) in enumerate(photos.own().items()):
        key = f"study.class.{ctx.settings.model}.{id}"
        st.session_state.setdefault(key, classes.get(id, -1))
        with columns[n % 4]:
            st.html(f'<img src="{photo.thumbnail}" alt="" style="border-radius:4px">')
            classes[id] = st.selectbox(
                plain(photo_title(ctx.t, id), 40), [-1, *known], key=key,
                format_func=lambda index: ctx.labels[index] if index >= 0 else ctx.t("study.no_class"),
            )  # fmt: skip
    found = files_of(photos.own(), classes, ids)
    if photos.own():
        st.caption(ctx.t("study.own_count", n=len(found), all=len(photos.own())))
    return found


def files_of(
    several: Mapping[str, photos.Own], classes: Mapping[str, int], ids: Sequence[str | None]
) -> dict[str, bytes]:
    """The files of a folder of photos with one subfolder per class.

    Args:
        several: Photos by id.
        classes: The index of the class that a photo shows, by id; -1 to leave it out.
        ids: WordNet ids of the model's classes.

    Returns:
        The contents by name; a photo is recognised by its content, so that no name of a reader's is needed.
    """
    return {
        f"{PHOTOS}/{ids[classes[id]]}/{id}": photo.data
        for id, photo in several.items()
        if classes.get(id, -1) >= 0
    }


def _lines(ctx: Context) -> str:
    """The field of the changes to measure: those of the bundled study, or the parts picked in the lab."""
    picked = ctx.get("parts", "", lambda _: True)
    if "study.lines" not in st.session_state:
        first = PLAN.read_text(encoding="utf-8") if PLAN.is_file() else '{"part": "bias"}\n'
        st.session_state["study.lines"] = st.session_state.get(KEPT_LINES, first)
    lines, left_out = lines_of(picked)
    if lines and st.session_state.get(PICKED) != picked:
        st.session_state.update({PICKED: picked, "study.lines": lines})
    for reason in left_out:
        st.info(ctx.t("study.left_out", reason=plain(reason)), icon=":material/link_off:")
    text = st.text_area(ctx.t("study.lines"), height=160, key="study.lines", help=ctx.t("study.lines_help"))
    st.session_state[KEPT_LINES] = text
    return text


def lines_of(picked: str) -> tuple[str, list[str]]:
    """The changes to measure for the parts that the lab's link names, and why others are left out.

    Args:
        picked: The lab's list of interventions, as its link writes it.

    Returns:
        One line of JSON for each part alone and, if there are several, one for all of them together.
    """
    several: list[Intervention] = []
    left_out = []
    for word in filter(None, picked.split("_")):
        try:
            (one,) = from_url(word)
        except ValueError as error:
            left_out.append(str(error))
            continue
        if one.how == "replace" and one.value is None:
            left_out.append(f"{word}: it takes another photo's activations")
        elif one.on:
            several.append(one)
    lines = list(dict.fromkeys(dump([one]) for one in several))
    if len(lines) > 1:
        lines.append(dump(several))
    return "".join(f"{line}\n" for line in lines), left_out


CODE = """
{opening}
rows = study[(study.measure == "{measure}") & (study.subject != "")]{filters}
print(rows.sort_values("value", ascending={ascending})[["subject", "value", "low", "high", "n"]])
"""
AGAINST = """
{opening}
heads = study[study.part == "head"].pivot_table(
    index=["stage", "block", "index"], columns="measure", values="value")
print(heads[["{what}", "accuracy change"]].corr(method="spearman"))
"""
