"""Similar places: click a token, see the tokens of other photos that are most like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.analysis.similarity import cosines, nearest
from cfviz.data.decode import Photo
from cfviz.data.samples import gallery
from cfviz.figures.live.many.similar import Other, pack, small
from cfviz.ui.compute import cache, keys, models
from cfviz.ui.compute.background import in_pieces
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos
from cfviz.ui.session.photos import photo_code
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import SIMILAR, committed
from cfviz.ui.widgets.photos import photo_title
from cfviz.ui.widgets.surveys import folder_of, of_folders
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import figure_words

from .gallery import OverGallery

NAME = "attention.similar"
MOST = 192 * 2**20  # bytes of one stage's tokens on all photos of the gallery
COLUMNS = ("photo", "row", "col", "cosine")
SHOWN = 24  # photos in the figure; all are in the table
GALLERY, OWN = "gallery", "own"
KEPT = "cfviz.attention.similar.own"  # the tokens of this reader's own photos, with their key

# of each photo a stage's tokens, (H, W, C), and its small picture
tokens_of_gallery: OverGallery[tuple[np.ndarray, bytes]] = OverGallery("similar")

CODE = """
import cfviz
from cfviz.analysis.similarity import cosines, nearest
from cfviz.data.samples import gallery, sample

model = {model}
point = "{point}"
own = cfviz.inspect({photo}, model, size={size}, watch=point)[point]  # H, W, C
others = [entry for entry in gallery(){unless}]
maps = [cfviz.inspect(one.path, model, size={elsewhere}, watch=point)[point] for one in others]
for place in nearest(own[{row}, {col}], maps):
    print(f"{{place.cosine:.3f}} {{others[place.map].id}} row {{place.row}}, column {{place.col}}")
"""


CODE_OF_SURVEY = """
import cfviz
from cfviz.measured.survey import {call}

model = {model}
point = "{point}"
own = cfviz.inspect({photo}, model, size={size}, watch=point)[point]  # H, W, C
photos = {photos}
found = {call}(photos, model, {elsewhere})
for place in found.nearest(own[{row}, {col}], stage={stage}):  # from 0
    print(f"{{place.cosine:.3f}} {{found.names[place.map]}} row {{place.row}}, column {{place.col}}")
"""


@dataclass(frozen=True)
class Beside:
    """A photo to compare with: what it is called, its tokens (H, W, C) and a JPEG of the input."""

    id: str
    title: str
    tokens: np.ndarray
    picture: bytes


def show_similar(ctx: Context) -> None:
    """The figure, once the other photos' tokens are there; a click asks about another place."""
    stage, x, y = place_from_link(ctx)
    point = point_names.stage_outputs(ctx.model.depths)[stage]
    own = ctx.trace(point)
    features = own[point]
    H, W, C = features.shape
    if 4 * H * W * C * len(gallery()) > MOST:
        st.info(ctx.t("attention.similar_large"), icon=":material/memory:")
        return
    chart.show_hint(ctx.t("attention.similar_look"))
    among = _choose(ctx, stage)
    beside = _beside(ctx, among, point, stage)
    if not beside:
        return
    row, col = min(int(y * H), H - 1), min(int(x * W), W - 1)
    token, maps = features[row, col], [one.tokens for one in beside]
    places = nearest(token, maps)
    every = [cosines(token, one) for one in maps]

    def commit() -> None:
        if to := committed(NAME, forms.SIMILAR):
            ctx.put(similar=f"{to['stage'] + 1},{to['x']:.4f},{to['y']:.4f}")

    others = [
        Other(
            beside[at.map].title, beside[at.map].picture, at.row, at.col, at.cosine, every[at.map],
        )
        for at in places[:SHOWN]
    ]  # fmt: skip
    assert own.crop is not None  # `inspect` always keeps it
    data = pack(
        own.crop, cosines(token, features), (row, col), others, stage=stage, stages=len(ctx.model.depths),
        strings=figure_words("similar", ctx.lang), name=NAME,
        mean=float(np.mean([one.mean() for one in every])),
    )  # fmt: skip
    SIMILAR.show(data, name=NAME, on_commit=commit)
    rows = [(beside[at.map].id, at.row, at.col, at.cosine) for at in places]
    code = _code(ctx, among, point, stage, row, col, len(beside))
    take_away(ctx, "similar", code=code, table=(COLUMNS, rows), live=NAME)


def _code(ctx: Context, among: str, point: str, stage: int, row: int, col: int, count: int) -> str:
    s = ctx.settings
    fields = {
        "model": models.model_code(ctx.model), "point": point, "photo": photo_code(s.photo),
        "size": s.framing_code, "elsewhere": s.elsewhere.framing_code, "row": row, "col": col, "stage": stage,
    }  # fmt: skip
    if among == GALLERY:
        unless = f' if entry.id != "{s.photo}"' if count < len(gallery()) else ""
        return CODE.format(**fields, unless=unless)
    call, said = ("survey_of", '["one.jpg", "two.jpg"]') if among == OWN else ("survey", '"photos"')
    return CODE_OF_SURVEY.format(**fields, call=call, photos=said)


def _choose(ctx: Context, stage: int) -> str:
    """Which photos to compare with: the gallery's, the reader's own, or those of a folder looked into."""
    found = {id: one for id, one in of_folders(ctx).items() if stage in one.tokens}
    mine = [id for id in photos.own() if id != ctx.settings.photo]
    on_offer = [GALLERY, *([OWN] if mine else []), *found]
    if len(on_offer) == 1:
        return GALLERY

    def title(id: str) -> str:
        if id in (GALLERY, OWN):
            return ctx.t(f"survey.among_{id}")
        return ctx.t("survey.result", folder=plain(folder_of(id), 60), n=len(found[id]))

    st.session_state["attention.among"] = ctx.get("among", GALLERY, on_offer)
    return st.selectbox(
        ctx.t("survey.among"), on_offer, key="attention.among", format_func=title, width=320,
        on_change=lambda: ctx.put(among=st.session_state["attention.among"]),
    )  # fmt: skip


def _beside(ctx: Context, among: str, point: str, stage: int) -> list[Beside]:
    """The photos to compare with; none, and a button or a progress bar, until their tokens are there."""
    if among == OWN:
        return _own_tokens(ctx, point)
    if among != GALLERY:
        found = of_folders(ctx)[among]
        rows = zip(found.names, found.tokens[stage], found.pictures, strict=True)
        return [Beside(name, name, tokens, picture) for name, tokens, picture in rows]
    everywhere = _gallery_tokens(ctx, point) or {}
    return [
        Beside(id, photo_title(ctx.t, id), *everywhere[id]) for id in everywhere if id != ctx.settings.photo
    ]


def _own_tokens(ctx: Context, point: str) -> list[Beside]:
    """The tokens of the reader's own photos, which stay in the session."""
    s, net = ctx.settings.elsewhere, ctx.model
    mine = {id: photos.photo(id) for id in photos.own() if id != ctx.settings.photo}
    key = keys.joined("similar", keys.weights(s, net), keys.framing(s), point, *mine)
    kept: tuple[str, list[Beside]] | None = st.session_state.get(KEPT)
    if kept is not None and kept[0] == key:
        return kept[1]
    st.session_state.pop(KEPT, None)
    titles = {id: photo_title(ctx.t, id) for id in mine}

    def make(id: str) -> Beside:
        trace = cache.trace(s, mine[id], (point,), net=net)
        assert trace.crop is not None  # `inspect` always keeps it
        return Beside(titles[id], titles[id], trace[point], small(trace.crop))

    found = in_pieces(key, tuple(mine), make, ctx.t("survey.wait"))
    if found is None:
        return []
    st.session_state[KEPT] = (key, [found[id] for id in mine])
    return st.session_state[KEPT][1]  # type: ignore[no-any-return]


def place_from_link(ctx: Context) -> tuple[int, float, float]:
    """The stage, from 0, and the place as shares of the input, from the left and from the top."""
    parts = ctx.get("similar", "", lambda _: True).split(",")
    try:
        stage, x, y = int(parts[0]) - 1, float(parts[1]), float(parts[2])
    except (ValueError, IndexError):
        stage, x, y = -1, 0.0, 0.0
    if 0 <= stage < len(ctx.model.depths) and 0 <= x <= 1 and 0 <= y <= 1:
        return stage, x, y
    return len(ctx.model.depths) - 2, 0.5, 0.4


def _gallery_tokens(ctx: Context, point: str) -> dict[str, tuple[np.ndarray, bytes]] | None:
    """One stage's tokens on every photo of the gallery; None and a progress bar until all are there."""
    s, net = ctx.settings.elsewhere, ctx.model

    def measure(photo: Photo) -> tuple[np.ndarray, bytes]:
        trace = cache.trace(s, photo, (point,), net=net)
        assert trace.crop is not None  # `inspect` always keeps it
        return trace[point], small(trace.crop)

    return tokens_of_gallery(ctx, measure, point, asked=ctx.get("similar", "", bool))
