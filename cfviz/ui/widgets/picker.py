"""The strip of photos: thumbnails to click."""

from __future__ import annotations

from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos, state
from cfviz.ui.widgets.figure import PICKER, committed
from cfviz.ui.widgets.photos import photo_title


def show_picker(ctx: Context) -> None:
    """The reader's own photos, latest first, then the gallery; a click shows one."""
    mine = {id: mine.thumbnail for id, mine in reversed(photos.own().items())}
    strip = [
        {"id": id, "title": photo_title(ctx.t, id), "src": source}
        for id, source in (mine | photos.gallery_thumbnails()).items()
    ]
    data = {
        "photos": strip,
        "chosen": ctx.settings.photo,
        "label": ctx.t("common.photo"),
        "css": {name: value for name, value in ctx.theme.css().items() if name in ("ink", "paper")},
    }
    PICKER.show(data, name="picker", on_commit=_take)


def _take() -> None:
    """Select the clicked photo before the page runs."""
    chosen = committed("picker", forms.PICTURE, "pick")
    if chosen in photos.ids():
        state.change(photo=chosen)
