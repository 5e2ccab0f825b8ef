"""The strip of photos: thumbnails to click."""

from __future__ import annotations

from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos, state
from cfviz.ui.widgets.figure import PICKER, committed
from cfviz.ui.widgets.photos import photo_order, photo_title


def show_picker(ctx: Context) -> None:
    """The reader's own photos, latest first, then the gallery; a click shows one.

    Photos that the model can know come before those that show none of its classes, which are named as such.
    """
    mine = {id: mine.thumbnail for id, mine in reversed(photos.own().items())}
    there = photos.gallery_thumbnails()
    strip = [
        {"id": id, "title": _title(ctx, id), "src": source}
        for id, source in (mine | {id: there[id] for id in photo_order(ctx)}).items()
    ]
    data = {
        "photos": strip,
        "chosen": ctx.settings.photo,
        "label": ctx.t("common.photo"),
        "css": {name: value for name, value in ctx.theme.css().items() if name in ("ink", "paper")},
    }
    PICKER.show(data, name="picker", on_commit=_take)


def _title(ctx: Context, id: str) -> str:
    title = photo_title(ctx.t, id)
    unknown = models.shown(ctx.settings.model, id) == ()
    return ctx.t("answer.unknown_photo", photo=title) if unknown else title


def _take() -> None:
    """Select the clicked photo before the page runs."""
    chosen = committed("picker", forms.PICTURE, "pick")
    if chosen in photos.ids():
        state.change(photo=chosen)
