"""A page's view of its reader: language, theme and settings, and through them model, photo and trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import streamlit as st

from cfviz.data.decode import Photo
from cfviz.data.header import ImageError
from cfviz.data.images import Prepared
from cfviz.figures.theme import Theme
from cfviz.framing import Size, size_text
from cfviz.models.crossformer import CrossFormer, recorded
from cfviz.models.room import KEPT, SHARED, attention_weights, check_room, vector_bytes
from cfviz.run import class_names
from cfviz.trace import Trace
from cfviz.words import Translator

from .compute import cache, models
from .session import photos, state
from .session.plain import explain, plain

VECTORS = {"q", "k", "bias"}  # points of attention from which its weights can be computed
FLOAT = 4  # bytes


@dataclass
class Context:
    """Everything a page needs from its reader's session.

    Attributes:
        name: The page's name, also the section of its translations.
        t: `t("predict.title", n=3)`, a sentence in the reader's language.
        lang: "en" or "zh-Hant".
        theme: The colours of the theme in use.
        settings: Model, photo, size, dtype, device.
        banner: The place above the page for notices that concern the whole of it.
        on_cpu: Called once if a prediction ran on the CPU because the GPU had no room for it.
        waiting: The place of the word that the page is being computed.
    """

    name: str
    t: Translator
    lang: str
    theme: Theme
    settings: state.Settings
    banner: Any = field(repr=False, default=None)
    on_cpu: Callable[[], None] = field(repr=False, default=lambda: None)
    waiting: Any = field(repr=False, default=None)
    _model: CrossFormer | None = field(repr=False, default=None)
    _labels: list[str] | None = field(repr=False, default=None)
    _fell_back: bool = field(repr=False, default=False)

    @property
    def model(self) -> CrossFormer:
        """The model, loaded on first use; all readers share it, so never modify it.

        If the weights cannot be opened, or the input is too large for them, the page ends with a sentence
        that says why.
        """
        if self._model is None:
            try:
                found = models.model(self.settings)
            except (ValueError, FileNotFoundError) as error:  # refused, or missing from the installation
                self.stop(error)
            self._model = found
            self._need_room("size_room")
        return self._model

    def need_room_for_attention(self) -> CrossFormer:
        """Return the model; end the page here if the attention of all blocks is too large to keep."""
        net = self.model
        self._need_room("size_kept", KEPT)
        return net

    @property
    def keeps_attention(self) -> bool:
        """Whether the attention weights of all blocks are few enough to keep at the chosen input."""
        return attention_weights(self.model, *self.settings.sides) <= KEPT

    def _need_room_for_vectors(self) -> CrossFormer:
        """Return the model; end the page here if even queries, keys and biases are too large to keep."""
        net = self.model
        if vector_bytes(net, *self.settings.sides) > FLOAT * KEPT:
            self._refuse("size_kept")
        return net

    def _need_room(self, key: str, most: int | None = None) -> None:
        """End the page before anything is computed if the chosen input needs too much memory."""
        assert self._model is not None  # both callers have loaded it
        try:
            check_room(self._model, *self.settings.sides, most, SHARED)
        except ValueError:
            self._refuse(key)

    def _refuse(self, key: str) -> NoReturn:
        """End the page with the sentence on an input that is too large."""
        self._model = None
        name, size = plain(models.title(self.settings.model)), size_text(self.settings.size)
        self._end(self.t(f"errors.{key}", model=name, size=size), ":material/memory:")

    @property
    def photo(self) -> Photo:
        """The chosen photo, upright and RGB."""
        try:
            return photos.photo(self.settings.photo)
        except ImageError as error:
            self.stop(error)

    @property
    def prepared(self) -> Prepared:
        """The chosen photo as the model gets it, shared: it must not be modified."""
        return cache.prepared(self.settings, self.photo)

    def trace(self, *watch: str, size: Size | None = None) -> Trace:
        """The prediction on the chosen photo and the watched points, computed once and shared.

        Args:
            watch: Names or shell patterns of points, e.g. `"layers.0.blocks.*.attn.probs"`.
            size: The input size, if other than the chosen one.
        """
        settings = self.settings if size is None else state.replace(self.settings, size=size)
        points = {point.rpartition(".")[2] for point in watch if ".attn." in point}
        if points <= VECTORS:
            net = self._need_room_for_vectors() if points else self.model
        else:
            net = self.need_room_for_attention()
        try:
            made = cache.trace(settings, self.photo, watch, net=net)
        except (ValueError, FileNotFoundError) as error:
            self.stop(error)
        self.computed()
        if settings.device != "cpu" and made.device == "cpu" and not self._fell_back:
            self._fell_back = True
            self.on_cpu()
        return made

    def computed(self) -> None:
        """Take away the word that the page is being computed: its first result is there."""
        state.drawn(self.name, self.settings)
        if self.waiting is not None:
            self.waiting.empty()
            self.waiting = None

    @property
    def labels(self) -> list[str]:
        """Names of the model's classes in the reader's language."""
        if self._labels is None:  # a page asks once per class, and the reader's weights may have thousands
            self._labels = class_names(self.model, self.lang, recorded(self.model))
        return self._labels

    def get(self, name: str, default: Any, allowed: Callable[[Any], bool] | Iterable[Any]) -> Any:
        """The page's own choice (a stage, a head) from this session or the link; `default` if unusable.

        Args:
            name: The URL parameter, not one of `state.SHARED`.
            default: The fallback, which also decides the type.
            allowed: The valid values, or a test for them.
        """
        return state.extra(self.name, name, default, allowed)

    def put(self, **values: Any) -> None:
        """Store the page's own choices; they appear in the URL and survive a page switch."""
        state.put_extra(self.name, **values)
        state.write_link(self.settings, self.name)

    def stop(self, error: Exception) -> NoReturn:
        """Show in one sentence what is wrong and end the page here."""
        self._end(explain(self.t, error), ":material/error:")

    def _end(self, sentence: str, icon: str) -> NoReturn:
        if self.waiting is not None:
            self.waiting.empty()  # nothing is being computed any more
        st.error(sentence, icon=icon)
        st.stop()
