"""The texts of both languages: a key in, a sentence out.

The catalogues are `assets/translations/<language>/<section>.json`, one flat object per file. The key
`"predict.title"` is the entry `"title"` of `predict.json`: what follows the first dot is the name of the
entry. Placeholders are those of `str.format`.
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
    """Return `t(key, **fields)` for one language.

    A key that the language lacks falls back to English, then to the key itself: a page with one awkward word
    is better than no page. The tests make sure that neither happens.

    Args:
        lang: One of `LANGUAGES`.

    Raises:
        ValueError: If there is no such language.
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
    """The raw text of a key, placeholders unfilled; None if there is no such key."""
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
    """The words of a living figure (`<section>.figure.*`) without the prefix; the browser fills them in.

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
    """A number with its sign and a proper minus: +1.32, −0.40."""
    return f"{value:+.{digits}f}".replace("-", "−")


def placeholders(text: str) -> set[str]:
    """The names in braces in a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def preferred(locale: str | None) -> str:
    """The language to begin with for a browser's locale, such as `zh-TW`."""
    return "zh-Hant" if (locale or "").lower().startswith("zh") else "en"


@lru_cache(maxsize=256)
def _catalogue(path: Path, changed: int) -> dict[str, str]:
    """One catalogue, read again only after a change."""
    return json.loads(path.read_text(encoding="utf-8"))


def together(*sentences: str) -> str:
    """Sentences in a row: with a space between them, but none after a Chinese full stop."""
    out = ""
    for sentence in filter(None, sentences):
        out += sentence if not out or out.endswith("。") else f" {sentence}"
    return out
