"""What is measured on every photo of the gallery: once the reader asks, photo by photo, for all readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from cfviz.data.decode import Photo
from cfviz.data.images import load_image
from cfviz.data.samples import gallery
from cfviz.ui.compute import keys
from cfviz.ui.compute.background import in_pieces
from cfviz.ui.compute.cache import CachedFunction, cached
from cfviz.ui.context import Context
from cfviz.ui.widgets.request import requested

T = TypeVar("T")
KEPT = 4  # models, sizes or stages of which the results are kept, for each measurement


class OverGallery(Generic[T]):
    """One measurement of the gallery's photos, at the size that other photos than the reader's have.

    Args:
        name: Of the section; its texts are `attention.NAME_run`, on the button, and `attention.NAME_wait`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._kept: CachedFunction[[str], dict[str, T]] = cached(KEPT)(_nothing)

    def __call__(
        self, ctx: Context, measure: Callable[[Photo], T], *of: str, asked: bool = False
    ) -> dict[str, T] | None:
        """Every photo's result, by id; until all are there None, and a button or a progress bar on the page.

        Args:
            ctx: The page's model and settings.
            measure: Called once for each photo, in another thread.
            of: What else determines the results, such as a point.
            asked: Whether the link asks already.
        """
        s = ctx.settings.elsewhere
        key = keys.joined(self.name, keys.weights(s, ctx.model), keys.framing(s), *of)
        kept = self._kept(key)
        paths = {entry.id: entry.path for entry in gallery()}

        def make(id: str) -> bool:
            if id not in kept:
                kept[id] = measure(load_image(paths[id]))
            return True

        if len(kept) == len(paths):
            return kept
        flag, n = f"cfviz.attention.{self.name}", len(paths)
        if not (asked or requested(ctx.t(f"attention.{self.name}_run", n=n), flag, key=f"{flag}.run")):
            return None
        found = in_pieces(key, tuple(paths), make, ctx.t(f"attention.{self.name}_wait"))
        return None if found is None else kept


def _nothing(key: str) -> dict[str, Any]:
    """The results with a key, none at first; a photo's is added when it is measured."""
    return {}
