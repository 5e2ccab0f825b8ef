"""Many photos at a glance: patches of every channel, receptive fields, heads; a folder's or one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from cfviz import jobs
from cfviz.framing import size_code
from cfviz.measured.survey import Survey, figure, joined, look_into, stages_to_keep
from cfviz.ui.compute import keys, models
from cfviz.ui.compute.background import in_pieces
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos, reader
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import SURVEY, about_to_appear, committed
from cfviz.ui.widgets.jobs import folder_choice, panel, refused, skipped
from cfviz.ui.widgets.photos import add_photos, photo_title
from cfviz.ui.widgets.report import show_report_button
from cfviz.ui.widgets.request import requested
from cfviz.ui.widgets.surveys import KIND, RESULT, folder_of, of_folders
from cfviz.ui.widgets.takeaway import Table, take_away
from cfviz.words import together

NAME = "study.survey"
SOURCES = ("folder", "own")
START = "cfviz.study.survey.start"  # where the figure began, while it stays
OWN = "cfviz.study.survey.own"  # this reader's survey of own photos, with its key

CODE = """
import cfviz
from cfviz.measured.survey import {call}

model = {model}
photos = {photos}
found = {call}(photos, model, {size})
for patch in found.strongest(stage={stage}, kernel={kernel}, channel={channel}):  # from 0
    print(found.names[patch.photo], patch.row, patch.col, f"{{patch.value:+.2f}}", patch.box)
print([f"{{area:.1%}}" for area in found.areas])  # half of each stage's receptive field
for (stage, block), heads in found.offsets.items():
    print(stage, block, heads.agreement.round(2))  # does each head do what its bias says?
found  # at the end of a cell: the figure
"""


def show_survey(ctx: Context) -> None:
    """The choice of photos, what runs, and the figure."""
    chart.show_hint(ctx.t("study.survey_look"))
    if not ctx.keeps_attention:
        st.info(ctx.t("survey.large"), icon=":material/memory:")
        return
    source = st.segmented_control(
        ctx.t("survey.source"), SOURCES, default=ctx.get("photos", SOURCES[0], SOURCES),
        key="study.survey_source", required=True, format_func=lambda one: ctx.t(f"survey.source_{one}"),
        on_change=lambda: ctx.put(photos=st.session_state["study.survey_source"]),
    )  # fmt: skip
    if source == "own":
        _own(ctx)
    else:
        _folder(ctx)


def _folder(ctx: Context) -> None:
    """A job over a folder, and the results of those that are done."""
    panel(ctx, KIND, _command(ctx), RESULT, ctx.t("survey.start"), private=True)
    found = of_folders(ctx)
    if not found:
        return
    name = ctx.get("surveyed", next(iter(found)), found)
    if len(found) > 1:
        st.session_state["study.surveyed"] = name
        st.selectbox(
            ctx.t("survey.which"), list(found), key="study.surveyed",
            format_func=lambda id: ctx.t("survey.result", folder=plain(folder_of(id), 60), n=len(found[id])),
            on_change=lambda: ctx.put(surveyed=st.session_state["study.surveyed"]),
        )  # fmt: skip
    files = found[name].files
    lines = [ctx.t("survey.folder_left", used=files["used"], files=files["files"], left=files["not_chosen"])]
    st.caption(together(*lines, *skipped(ctx, {"files": files})))
    _show(ctx, found[name], name, f'"{folder_of(name)}"  # the path of the folder')


def _command(ctx: Context) -> list[str] | None:
    """The command for the reader's choices; None, with a sentence why, if they do not make one."""
    if why := refused(ctx):
        own = ctx.settings.model in models.own()
        st.info(why if own else ctx.t("survey.random"), icon=":material/info:")
        return None
    here = reader.at_the_machine()
    folder: str | None = None
    if jobs.roots():
        chosen = folder_choice(ctx, KIND, flat=True)
        folder = None if chosen is None else str(chosen)
    elif not here:
        st.info(ctx.t("survey.no_source", variable=jobs.FOLDERS), icon=":material/folder_off:")
    if here:
        folder = _typed(ctx) or folder
    limit = st.number_input(ctx.t("survey.limit"), 1, 5000, 200, key="study.survey_limit", width=180)
    if folder is None:
        return None
    s = ctx.settings
    command = ["survey", folder, "--out", f"{jobs.PLACE}/{RESULT}", "--model", s.model]
    command += ["--size", size_code(s.size), "--mode", s.mode, "--limit", str(limit)]
    if (form := models.chosen_form(ctx.model)) is not None:
        command += ["--lda", form]
    return command


def _typed(ctx: Context) -> str | None:
    """A path that a reader at the machine types; None, with a sentence why, if there is no such folder."""
    given = st.text_input(
        ctx.t("survey.path"),
        key="study.survey_path",
        help=ctx.t("survey.path_help"),
        placeholder="~/photos",
        width=480,
    ).strip()
    if not given:
        return None
    path = Path(given).expanduser()
    if not path.is_dir():
        st.error(ctx.t("survey.path_none", path=plain(given, 200)), icon=":material/folder_off:")
        return None
    return str(path.resolve())


def _own(ctx: Context) -> None:
    """The reader's own photos, in memory only."""
    add_photos(ctx, "survey")
    mine = photos.own()
    if not mine:
        st.info(ctx.t("survey.few"), icon=":material/add_photo_alternate:")
        return
    s, net = ctx.settings.elsewhere, ctx.model
    key = keys.joined("survey", keys.weights(s, net), keys.framing(s), *mine)
    kept: tuple[str, Survey] | None = st.session_state.get(OWN)
    if kept is None or kept[0] != key:
        st.session_state.pop(OWN, None)
        if not requested(ctx.t("survey.run", n=len(mine)), f"{OWN}.{key}", key=f"{OWN}.run"):
            return
        opened = {id: photos.photo(id) for id in mine}
        titles = {id: photo_title(ctx.t, id) for id in mine}
        keep = stages_to_keep(net, s.size, len(mine))

        def make(id: str) -> Survey:
            return look_into(opened[id], titles[id], net, s.size, s.mode, keep)

        found = in_pieces(key, tuple(mine), make, ctx.t("survey.wait"))
        if found is None:
            return
        kept = st.session_state[OWN] = (key, joined([found[id] for id in mine]))
    _show(ctx, kept[1], "own", '["one.jpg", "two.jpg"]', "survey_of")


def _show(ctx: Context, found: Survey, source: str, paths: str, call: str = "survey") -> None:
    """The figure, and what to take away."""
    begun = st.session_state.get(START)
    if about_to_appear(NAME) or begun is None or begun[0] != source:
        place = ctx.get("survey", "channel.1.1.1", _is_place)
        begun = st.session_state[START] = (source, place)

    def commit() -> None:
        if to := committed(NAME, forms.SURVEY):
            ctx.put(survey=to["place"])

    SURVEY.show(figure(found, ctx.lang, {"place": begun[1]}, NAME), name=NAME, on_commit=commit)
    with st.container(horizontal=True, key="study-survey-files", gap="small"):
        _download(ctx, "html", "cfviz-survey.html", "text/html", partial(_page, found, ctx.lang))
        _download(ctx, "everything", RESULT, "application/octet-stream", partial(_file, found))
        show_report_button(ctx, found)
    take_away(ctx, "survey", code=_code(ctx, paths, call), table=partial(_patches, found), live=NAME)


def _is_place(value: str) -> bool:
    try:
        forms.SURVEY.read({"place": value})
    except ValueError:
        return False
    return True


def _download(ctx: Context, name: str, file: str, mime: str, make: Callable[[], bytes]) -> None:
    st.download_button(
        ctx.t(f"survey.{name}"), make, file, mime, type="tertiary", icon=":material/download:",
        on_click="ignore", key=f"study.survey_{name}",
    )  # fmt: skip


def _page(found: Survey, lang: str) -> bytes:
    return found.page(lang).encode()


def _file(found: Survey) -> bytes:
    with TemporaryDirectory() as folder:
        found.save(path := Path(folder) / RESULT)
        return path.read_bytes()


def _patches(found: Survey) -> Table:
    """The strongest patches of every channel."""
    columns = ("cel", "kernel", "channel", "rank", "photo", "row", "column", "response")
    rows = [
        (s + 1, k + 1, c + 1, n, found.names[one.photo], one.row, one.col, one.value)
        for (s, k), best in found.best.items()
        for c in range(len(best["value"]))
        for n, one in enumerate(found.strongest(s, k, c), 1)
    ]
    return columns, rows


def _code(ctx: Context, paths: str, call: str) -> str:
    place = ctx.get("survey", "channel.1.1.1", _is_place).split(".")
    at = [int(n) - 1 for n in place[1:]] if place[0] == "channel" else [0, 0, 0]
    return CODE.format(
        call=call, model=models.model_code(ctx.model), photos=paths,
        size=ctx.settings.elsewhere.framing_code, stage=at[0], kernel=at[1], channel=at[2],
    )  # fmt: skip
