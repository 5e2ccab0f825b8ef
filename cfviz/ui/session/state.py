"""The reader's choices, and the link that records them.

The model, the photo, the size, the number format and the language are the same on every page and are written
to the URL in language-neutral codes, so that a link restores them in a private window. Streamlit's own `bind`
would leave out a value that equals its default (so a link would change meaning whenever a default does) and
would write translated labels. This module therefore keeps session and URL in step itself, by one rule:
*a value in the URL that we did not write wins, otherwise the session does*.

A browser learns of a new link a little later, and until then sends an earlier one with everything that the
reader clicks. That is no choice of the reader's, unless he went back in the browser's history: it is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cfviz.framing import CENTRE, Centre, Size, as_pair, centre_code, parse_centre, parse_size, size_code
from cfviz.options import DTYPES, LDA, MODES
from cfviz.words import LANGUAGES

DEFAULT_MODEL = "crossformer_nano"
DEFAULT_PHOTO = "berlin-cathedral"
SHARED = ("model", "photo", "size", "mode", "centre", "lda", "dtype", "lang", "pixels", "present")
PIXELS = ("photo", "input")  # what figures draw a photo from: the original, or what the model gets of it
AS_TRAINED = "as trained"  # long distance attention in the form that the weights need
OWN = "own-"  # one of the reader's own photos: a link can name it but not carry it

MOST_LINKS = 50  # that a browser may be behind
_WHOLE = re.compile("-?[0-9]{1,16}")
MOST = 2**53 - 1  # largest number in a link: beyond it arithmetic is inexact, and eventually fails
_SETTINGS, _WRITTEN, _EXTRAS = "cfviz.settings", "cfviz.written", "cfviz.extras"
_LINKS = "cfviz.links"  # that the browser may still send: the last one it is known to have, and later ones
_NOTES = "cfviz.notes"  # on the link, at the last run
_REDRAWN = "cfviz.redrawn"  # the page runs again by itself
_DRAWN = "cfviz.drawn"  # page and settings of the last result on the screen


@dataclass(frozen=True)
class Settings:
    """The choices shared by all pages, in language-neutral codes.

    Attributes:
        model, photo: A name and an id.
        size: Side of the input in pixels, or its height and width.
        dtype: Number format.
        lang: "en" or "zh-Hant".
        device: "cpu", "cuda", ...
        mode: How a photo is fitted to the input, see `cfviz.framing.frame`.
        centre: Where the chosen photo is cropped; other photos are cropped in the middle.
        lda: Form of long distance attention, "regions" or "whole" once the reader has chosen one.
        pixels: One of `PIXELS`.
        present: Whether the page fills the screen, for a projector: larger type, the figure only.
    """

    model: str = DEFAULT_MODEL
    photo: str = DEFAULT_PHOTO
    size: Size = 224
    dtype: str = "float32"
    lang: str = "en"
    device: str = "cpu"
    lda: str = AS_TRAINED
    mode: str = "crop"
    centre: Centre = CENTRE
    pixels: str = "photo"
    present: bool = False

    def query(self) -> dict[str, str]:
        """The parameters of a link, without the device (it depends on the machine) and usual values."""
        query = {
            "model": self.model, "photo": self.photo, "size": size_code(self.size), "lang": self.lang
        }  # fmt: skip
        more = {
            "lda": (self.lda, AS_TRAINED),
            "dtype": (self.dtype, "float32"),
            "mode": (self.mode, "crop"),
            "centre": (centre_code(self.centre), centre_code(CENTRE)),
            "pixels": (self.pixels, "photo"),
            "present": (str(int(self.present)), "0"),
        }
        return query | {name: value for name, (value, usual) in more.items() if value != usual}

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return as_pair(self.size)

    @property
    def elsewhere(self) -> Settings:
        """The settings for another photo than the chosen one."""
        return replace(self, centre=CENTRE)

    @property
    def framing_code(self) -> str:
        """Size and fitting as arguments in the shown code: `(192, 640), mode="pad"`."""
        return f"{self.size}{self.fitting_code}"

    @property
    def fitting_code(self) -> str:
        """What follows the size in `framing_code`; nothing for a crop in the middle."""
        mode = "" if self.mode == "crop" else f', mode="{self.mode}"'
        return mode if self.centre == CENTRE else f"{mode}, centre={self.centre}"


@dataclass(frozen=True)
class Note:
    """A gentle notice: a translation key and its fields."""

    key: str
    fields: dict[str, object]


def read(
    query: Mapping[str, str], base: Settings, models: Iterable[str], photos: Iterable[str]
) -> tuple[Settings, list[Note]]:
    """Settings from a link: its values where they are usable, those of `base` otherwise.

    Args:
        query: The URL's parameters.
        base: The settings to use where the link has none.
        models: Names of the models on offer.
        photos: Ids of the photos on offer, including the reader's own of this session.

    Returns:
        The settings, and one note for each unusable value.
    """
    notes: list[Note] = []
    values: dict[str, Any] = {}
    parsed: dict[str, Callable[[str], Any]] = {
        "model": _one_of(models),
        "photo": _one_of(photos),
        "size": parse_size,
        "mode": _one_of(MODES),
        "centre": parse_centre,
        "lda": _one_of(LDA),
        "dtype": _one_of(DTYPES),
        "lang": _one_of(LANGUAGES),
        "pixels": _one_of(PIXELS),
        "present": lambda text: _one_of(("0", "1"))(text) == "1",
    }
    for name in SHARED:
        if name not in query:
            continue
        value = query[name]
        try:
            values[name] = parsed[name](value)
            continue
        except ValueError:
            pass
        if name in ("photo", "model") and value.startswith(OWN):
            notes.append(Note(f"errors.link.own_{name}", {}))
        else:
            notes.append(Note(f"errors.link.{name}", {"value": value[:40]}))
    if "photo" in query and "photo" not in values:
        values.pop("centre", None)  # it belongs to the photo that is not here
    if values.get("photo", base.photo) != base.photo:
        values.setdefault("centre", CENTRE)  # that of the base belongs to another photo
    return replace(base, **values), notes


def _one_of(allowed: Iterable[str]) -> Callable[[str], str]:
    known = set(allowed)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text!r} is not one of {len(known)}")
        return text

    return parse


def current(
    base: Settings, models: Iterable[str], photos: Iterable[str], page: str
) -> tuple[Settings, list[Note]]:
    """The settings of this run: the session's, overridden by any URL value that we did not write.

    What concerns the page alone (a stage, a head, a token) is adopted, too; `extra` returns it.

    Args:
        base: The settings a new session starts from before its link is read.
        models: Names of the models on offer.
        photos: Ids of the photos on offer.
        page: The page's name.
    """
    stored: Settings = st.session_state.get(_SETTINGS, base)
    written: dict[str, str] = st.session_state.get(_WRITTEN, {})
    query = _link_of_browser()
    news = {name: value for name, value in query.items() if written.get(name) != value}
    stated = {name: value for name, value in news.items() if name in SHARED}
    if "photo" in stated and "centre" in query:
        stated["centre"] = query["centre"]
    settings, notes = read(stated, stored, models, photos)
    if st.session_state.pop(_REDRAWN, False):
        notes = [*st.session_state.get(_NOTES, []), *notes]
    st.session_state.update({_SETTINGS: settings, _NOTES: notes})
    put_extra(page, **{name: value for name, value in news.items() if name not in SHARED})
    return settings, notes


def _link_of_browser() -> dict[str, str]:
    """The parameters of the link that came with this run; none if there is a later one it did not know."""
    query = st.query_params.to_dict()
    links: list[dict[str, str]] = st.session_state.get(_LINKS, [])
    ctx = get_script_run_ctx(suppress_warning=True)
    back = ctx is not None and ctx.is_history_navigation
    late = query in links[:-1] and not back
    st.session_state[_LINKS] = links[links.index(query) :] if late else [query]
    return {} if late else query


def outdated(page: str, settings: Settings) -> bool:
    """Whether the screen shows another page, model, photo or size than the one about to be computed."""
    return st.session_state.get(_DRAWN) != (page, _computed(settings))


def drawn(page: str, settings: Settings) -> None:
    """Record that what is drawn from now on belongs to these settings."""
    st.session_state[_DRAWN] = (page, _computed(settings))


def _computed(settings: Settings) -> Settings:
    """The settings that results depend on."""
    return replace(settings, lang="", pixels="", present=False)


def redraw() -> None:
    """Run the page again because a result is there; what it said about its link stays."""
    st.session_state[_REDRAWN] = True
    st.rerun()


def stored() -> Settings:
    """The settings of the last run, as changed since."""
    settings: Settings = st.session_state.get(_SETTINGS, Settings())
    return settings


def change(**values: Any) -> None:
    """Change some settings (from a widget's callback); the link follows at the end of the run."""
    before = stored()
    if values.get("photo", before.photo) != before.photo:
        values.setdefault("centre", CENTRE)
    st.session_state[_SETTINGS] = replace(before, **values)


def adopt(name: str) -> None:
    """Copy a changed widget's value to its setting, as its callback; no choice changes nothing."""
    value = st.session_state[f"w.{name}"]
    if value is not None:
        change(**{name: value})


def write_link(settings: Settings, page: str) -> None:
    """Write the settings and the page's own choices to the URL."""
    query = settings.query() | {name: text for name, text in _extras(page).items() if text}
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
    links = st.session_state.setdefault(_LINKS, [])
    if not links or links[-1] != query:
        links.append(query)
        del links[:-MOST_LINKS]
    st.session_state[_WRITTEN] = query


def extra(page: str, name: str, default: Any, allowed: Callable[[Any], bool] | Iterable[Any]) -> Any:
    """A page's own choice, in the type of `default`; the default if it is missing or invalid."""
    return parsed(_extras(page).get(name), default, allowed)


def parsed(text: str | None, default: Any, allowed: Callable[[Any], bool] | Iterable[Any]) -> Any:
    """A value of a link in the type of `default`; the default if it is missing or invalid.

    Whole numbers are plain digits: `int` would also take `1_0`, spaces and the digits of other scripts, which
    the site's code (`cfviz/web/site/links.js`) does not.
    """
    if text is None or (isinstance(default, int) and not _WHOLE.fullmatch(text)):
        return default
    try:
        value = type(default)(text)
    except ValueError:
        return default
    if isinstance(value, (int, float)) and not abs(value) <= MOST:
        return default
    good = allowed(value) if callable(allowed) else value in allowed
    return value if good else default


def put_extra(page: str, **values: Any) -> None:
    """Store a page's own choices; they survive a page switch and appear in the URL while the page is open."""
    _extras(page).update({name: str(value) for name, value in values.items()})


def forget_extras(page: str, names: Iterable[str]) -> None:
    """Drop some of a page's own choices; the URL follows with the next `write_link`."""
    for name in names:
        _extras(page).pop(name, None)


def _extras(page: str) -> dict[str, str]:
    """This page's stored choices, as strings."""
    return st.session_state.setdefault(_EXTRAS, {}).setdefault(page, {})
