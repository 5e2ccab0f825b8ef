"""The frame of every page: ``ctx = start("predict")`` and draw.

from cfviz.ui import start

ctx = start("attention")                      # title, navigation, sidebar, link
trace = ctx.trace("layers.0.blocks.*.attn.probs")
st.write(ctx.t("attention.look"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from cfviz.data.decode import Photo
from cfviz.data.header import ImageError
from cfviz.figures.theme import Theme, theme
from cfviz.run import class_names, pick_device, share_cores
from cfviz.trace import Trace
from cfviz.ui.compute import cache, queue
from cfviz.ui.session import photos, state
from cfviz.ui.session.plain import explain, plain_fields
from cfviz.ui.widgets import weights
from cfviz.words import Translator, preferred, translator

from . import frame as layout
from . import sidebar as controls


@dataclass
class Context:
    """What a page needs to know.

    Attributes:
        name: the page's name, also the section of its translations.
        t: ``t("predict.title", n=3)``, a sentence in the reader's language.
        lang: "en" or "zh-Hant".
        theme: the colours of the theme in use.
        settings: model, photo, size, dtype, device.
    """

    name: str
    t: Translator
    lang: str
    theme: Theme
    settings: state.Settings
    _banner: Any = field(repr=False, default=None)
    _model: Any = field(repr=False, default=None)
    _said_full: bool = field(repr=False, default=False)

    @property
    def model(self) -> Any:
        """The model, loaded when first asked for; shared by everybody, so read-only.

        Random weights are announced above the page. Weights that cannot be opened end the page with a
        sentence that says why.
        """
        if self._model is None:
            try:
                self._model = weights.model(self.settings)
            except ValueError as error:
                self.stop(error)
            layout.weights_banner(self)
        return self._model

    @property
    def photo(self) -> Photo:
        """The chosen photo, upright and RGB."""
        try:
            return photos.photo(self.settings.photo)
        except ImageError as error:
            self.stop(error)
            raise

    def trace(self, *watch: str, size: int | None = None) -> Trace:
        """The prediction on the chosen photo, and the watched points; computed once and shared.

        Args:
            watch: names or shell patterns of points, e.g. ``"layers.0.blocks.*.attn.probs"``.
            size: another input size than the chosen one, in pixels.
        """
        settings = self.settings if size is None else state.replace(self.settings, size=size)
        assert self.model is not None  # loads it, and announces random weights
        try:
            made = cache.trace(settings, self.photo, watch)
        except ValueError as error:
            self.stop(error)
            raise
        if settings.device != "cpu" and made.device == "cpu" and not self._said_full:
            with self._banner:
                st.warning(self.t("common.gpu_full"), icon=":material/memory:")
            self._said_full = True
        return made

    @property
    def labels(self) -> list[str]:
        """Names of the model's classes in the reader's language."""
        names = class_names(self.model, self.lang)
        if names[:1] != ["class 0"]:
            return names
        return [self.t("common.class_number", n=index) for index in range(len(names))]

    def get(self, name: str, default: Any, allowed: Callable[[Any], bool] | Iterable[Any]) -> Any:
        """The page's own choice (a stage, a head) from this session or the link; ``default`` if unusable.

        Args:
            name: the URL's parameter, not one of ``state.SHARED``.
            default: also decides the type.
            allowed: the values that make sense, or a test for them.
        """
        return state.extra(self.name, name, default, allowed)

    def put(self, **values: Any) -> None:
        """Store the page's own choices; they stand in the URL and survive a page switch."""
        state.put_extra(self.name, **values)
        state.write_link(self.settings, self.name)

    def stop(self, error: Exception) -> None:
        """Say in one sentence what is wrong and end the page here."""
        st.error(explain(self.t, error), icon=":material/error:")
        st.stop()


def start(name: str) -> Context:
    """Begin a page: settings from link and session, title, navigation, sidebar.

    Args:
        name: the page's name: "home" for ``app.py``, else the file's name in ``pages/`` without ``.py``. Its
            translations are in ``<name>.json``, with at least ``title`` and ``lede``.
    """
    base = state.Settings(lang=preferred(st.context.locale), device=pick_device())
    settings, notes = state.current(base, weights.names(), photos.ids())
    t = translator(settings.lang)
    st.set_page_config(page_title=f"{t(name + '.title')} · cfviz", page_icon=layout.ICON, layout="wide")
    cache.settle().rerun()
    queue.readers()
    share_cores()
    state.adopt_extras(name)
    state.write_link(settings, name)
    ctx = Context(name, t, settings.lang, theme(st.context.theme.type), settings)
    layout.style(ctx)
    with st.sidebar:
        layout.navigation(ctx)
        controls.sidebar(ctx)
    layout.header(ctx)
    for note in notes:
        st.info(t(note.key, **plain_fields(note.fields)), icon=":material/link_off:")
    ctx._banner = st.container()
    return ctx
