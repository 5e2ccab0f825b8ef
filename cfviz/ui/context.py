"""What a page knows of its reader: language, theme, settings, and through them model, photo and trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import streamlit as st

from cfviz.data.decode import Photo
from cfviz.data.header import ImageError
from cfviz.figures.theme import Theme
from cfviz.run import class_names
from cfviz.trace import Trace
from cfviz.words import Translator

from .compute import cache, models
from .session import photos, state
from .session.plain import explain


@dataclass
class Context:
    """What a page needs to know.

    Attributes:
        name: the page's name, also the section of its translations.
        t: ``t("predict.title", n=3)``, a sentence in the reader's language.
        lang: "en" or "zh-Hant".
        theme: the colours of the theme in use.
        settings: model, photo, size, dtype, device.
        banner: the place above the page for what is true of all of it.
    """

    name: str
    t: Translator
    lang: str
    theme: Theme
    settings: state.Settings
    banner: Any = field(repr=False, default=None)
    _model: Any = field(repr=False, default=None)
    _labels: list[str] | None = field(repr=False, default=None)
    _said_full: bool = field(repr=False, default=False)

    @property
    def model(self) -> Any:
        """The model, loaded when first asked for; shared by everybody, so read-only.

        Weights that cannot be opened end the page with a sentence that says why.
        """
        if self._model is None:
            try:
                self._model = models.model(self.settings)
            except (ValueError, FileNotFoundError) as error:  # refused, or missing from the installation
                self.stop(error)
        return self._model

    @property
    def photo(self) -> Photo:
        """The chosen photo, upright and RGB."""
        try:
            return photos.photo(self.settings.photo)
        except ImageError as error:
            self.stop(error)

    def trace(self, *watch: str, size: int | None = None) -> Trace:
        """The prediction on the chosen photo, and the watched points; computed once and shared.

        Args:
            watch: names or shell patterns of points, e.g. ``"layers.0.blocks.*.attn.probs"``.
            size: another input size than the chosen one, in pixels.
        """
        settings = self.settings if size is None else state.replace(self.settings, size=size)
        try:
            made = cache.trace(settings, self.photo, watch)
        except (ValueError, FileNotFoundError) as error:
            self.stop(error)
        if settings.device != "cpu" and made.device == "cpu" and not self._said_full:
            with self.banner:
                st.warning(self.t("common.gpu_full"), icon=":material/memory:")
            self._said_full = True
        return made

    @property
    def labels(self) -> list[str]:
        """Names of the model's classes in the reader's language."""
        if self._labels is None:  # a page asks once per class, of which own weights have thousands
            self._labels = class_names(self.model, self.lang)
        return self._labels

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

    def stop(self, error: Exception) -> NoReturn:
        """Say in one sentence what is wrong and end the page here."""
        st.error(explain(self.t, error), icon=":material/error:")
        st.stop()
