"""Similar places: click a token, see the tokens of the gallery's photos that are most like it."""

from __future__ import annotations

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.analysis.similarity import cosines, nearest
from cfviz.data.decode import Photo
from cfviz.data.samples import gallery
from cfviz.figures.live.similar import Other, pack, small
from cfviz.ui.compute import cache, models
from cfviz.ui.context import Context
from cfviz.ui.session import forms
from cfviz.ui.session.photos import photo_code
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import SIMILAR, committed
from cfviz.ui.widgets.photos import photo_title
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import figure_words

from .gallery import OverGallery

NAME = "attention.similar"
MOST = 192 * 2**20  # bytes of one stage's tokens on all photos of the gallery
COLUMNS = ("photo", "row", "col", "cosine")

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


def show_similar(ctx: Context) -> None:
    """The figure, once the gallery's tokens are computed; a click asks about another place."""
    stage, x, y = place_from_link(ctx)
    point = point_names.stage_outputs(ctx.model.depths)[stage]
    own = ctx.trace(point)
    features = own[point]
    H, W, C = features.shape
    if 4 * H * W * C * len(gallery()) > MOST:
        st.info(ctx.t("attention.similar_large"), icon=":material/memory:")
        return
    chart.show_hint(ctx.t("attention.similar_look"))
    everywhere = _gallery_tokens(ctx, point)
    if everywhere is None:
        return
    row, col = min(int(y * H), H - 1), min(int(x * W), W - 1)
    ids = [entry.id for entry in gallery() if entry.id != ctx.settings.photo]
    token, maps = features[row, col], [everywhere[id][0] for id in ids]
    places = nearest(token, maps)

    def commit() -> None:
        if to := committed(NAME, forms.SIMILAR):
            ctx.put(similar=f"{to['stage'] + 1},{to['x']:.4f},{to['y']:.4f}")

    others = [
        Other(
            photo_title(ctx.t, ids[at.map]), everywhere[ids[at.map]][1], at.row, at.col, at.cosine,
            cosines(token, maps[at.map]),
        )
        for at in places
    ]  # fmt: skip
    assert own.crop is not None  # `inspect` always keeps it
    data = pack(
        own.crop, cosines(token, features), (row, col), others, stage=stage, stages=len(ctx.model.depths),
        strings=figure_words("similar", ctx.lang), name=NAME,
    )  # fmt: skip
    SIMILAR.show(data, name=NAME, on_commit=commit)
    s = ctx.settings
    code = CODE.format(
        model=models.model_code(ctx.model), point=point, photo=photo_code(s.photo), size=s.framing_code,
        elsewhere=s.elsewhere.framing_code, row=row, col=col,
        unless=f' if entry.id != "{s.photo}"' if len(ids) < len(gallery()) else "",
    )  # fmt: skip
    rows = [(ids[at.map], at.row, at.col, at.cosine) for at in places]
    take_away(ctx, "similar", code=code, table=(COLUMNS, rows), live=NAME)


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
