"""Two languages from the first line: a key in, a sentence out.

Catalogues are ``assets/translations/<language>/<section>.json``, one flat object a file. The key
``"predict.title"`` is the entry ``"title"`` of ``predict.json``; what follows the first dot is the entry's
name. Placeholders are those of ``str.format``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from string import Formatter

from cfviz.bundled import ASSETS

LANGUAGES = {"en": "English", "zh-Hant": "繁體中文"}
TRANSLATIONS = ASSETS / "translations"

Translator = Callable[..., str]


def translator(lang: str) -> Translator:
    """Return ``t(key, **fields)`` for one language.

    A key that the language lacks falls back to English, then to the key itself: a page with one awkward word
    is better than none. The tests make sure that neither ever happens.

    Args:
        lang: one of ``LANGUAGES``.

    Raises:
        ValueError: the language is not one of ours.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"language {lang!r} is not known; choose one of {', '.join(LANGUAGES)}")

    def t(key: str, /, **fields: object) -> str:
        text = lookup(lang, key) or lookup("en", key)
        if text is None:
            return key
        return text.format(**fields) if fields else text

    return t


def lookup(lang: str, key: str) -> str | None:
    """The raw text behind a key, placeholders unfilled; None where there is none."""
    section, _, name = key.partition(".")
    path = TRANSLATIONS / lang / f"{section}.json"
    try:
        return _catalogue(path, path.stat().st_mtime_ns).get(name)
    except FileNotFoundError:
        return None


def section_words(section: str, lang: str = "en") -> dict[str, str]:
    """All words of one section, placeholders unfilled.

    Raises:
        ValueError: If there are none in that language.
    """
    path = TRANSLATIONS / lang / f"{section}.json"
    if not path.is_file():
        known = sorted(folder.name for folder in TRANSLATIONS.iterdir())
        raise ValueError(f"there are no words of {section} for {lang!r}; there are {', '.join(known)}")
    return dict(_catalogue(path, path.stat().st_mtime_ns))


def figure_words(section: str, lang: str = "en") -> dict[str, str]:
    """The words of a living figure (`<section>.figure.*`), without that prefix; the browser fills the braces.

    Raises:
        ValueError: If there are no words in that language, or none of a figure in that section.
    """
    entries = section_words(section, lang).items()
    found = {key.removeprefix("figure."): text for key, text in entries if key.startswith("figure.")}
    if not found:
        raise ValueError(f"{section} has no words of a figure")
    return found


def decimal(value: float, digits: int = 2) -> str:
    """A number with a true minus: 1.32, −0.40."""
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, and a true minus: +1.32, −0.40."""
    return f"{value:+.{digits}f}".replace("-", "−")


def placeholders(text: str) -> set[str]:
    """The names in braces in a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def preferred(locale: str | None) -> str:
    """The language to begin with for a browser that asks for ``locale``, e.g. ``zh-TW``."""
    return "zh-Hant" if (locale or "").lower().startswith("zh") else "en"


@lru_cache(maxsize=256)
def _catalogue(path: Path, changed: int) -> dict[str, str]:
    """One file, read again only when it has changed."""
    return json.loads(path.read_text(encoding="utf-8"))


def together(*sentences: str) -> str:
    """Sentences one after the other: with a space between, but none after a Chinese full stop."""
    out = ""
    for sentence in filter(None, sentences):
        out += sentence if not out or out.endswith("。") else f" {sentence}"
    return out
