"""Texts in both languages, looked up by key.

The catalogues are `assets/translations/<language>/<section>.json`, one flat object per file. The key
`"predict.title"` is the entry `"title"` of `predict.json`: the part after the first dot names the entry.
Placeholders are those of `str.format`.

No line breaks between a number and its unit: the catalogues are written with plain spaces and read through
`unbroken`, as are filled sentences; what is shown by itself is written with `percent` and `quantity`.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from string import Formatter

from cfviz.bundled import ASSETS

LANGUAGES = {"en": "English", "zh-Hant": "繁體中文"}
TRANSLATIONS = ASSETS / "translations"

ENLARGED = (
    "attention",
    "compare",
    "dense",
    "embedding",
    "grouping",
)  # figures whose photo can be enlarged: they share those words

NO_BREAK = "\u00a0"
_UNITS = r"(?:%|px|ms|s|bits?|points?|[kMG]B|MP|像素|個?百分點|位元|毫秒|秒)(?![A-Za-z])"
TORN = re.compile(rf"(?<=[0-9}}]) (?={_UNITS})|(?<=[0-9}}]) (?=[×x] [0-9{{])|(?<=[0-9}}] [×x]) (?=[0-9{{])")
HAN = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"  # with full-width punctuation
GAP = "\0"  # for a space of the text beside a field
BESIDE = re.compile(rf"(?<={HAN}) (?={{)|(?<=}}) (?={HAN})")
APART = re.compile(rf"(?<={HAN}){GAP}(?={HAN})")

Translator = Callable[..., str]


def translator(lang: str) -> Translator:
    """Return `t(key, **fields)` for one language.

    A key missing from the language falls back to English, then to the key itself: a page with one awkward
    word is better than no page. The tests make sure that neither happens.

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
        return unbroken(filled(text, fields)) if fields else text

    return t


def lookup(lang: str, key: str) -> str | None:
    """Return the raw text of a key, with unfilled placeholders; None if there is no such key."""
    section, _, name = key.partition(".")
    path = f"{TRANSLATIONS}/{lang}/{section}.json"  # a page asks hundreds of times; `Path`s took most of that
    try:
        return _catalogue(path, os.stat(path).st_mtime_ns).get(name)
    except FileNotFoundError:
        return None


def section_words(section: str, lang: str = "en") -> dict[str, str]:
    """Return all texts of one section, with unfilled placeholders.

    Raises:
        ValueError: If the section does not exist in that language.
    """
    path = TRANSLATIONS / lang / f"{section}.json"
    if not path.is_file():
        known = sorted(folder.name for folder in TRANSLATIONS.iterdir())
        raise ValueError(f"there are no words of {section} for {lang!r}; there are {', '.join(known)}")
    return dict(_catalogue(str(path), path.stat().st_mtime_ns))


def figure_words(section: str, lang: str = "en") -> dict[str, str]:
    """Return the texts of a living figure (`<section>.figure.*`) without the prefix; the browser fills them.

    Raises:
        ValueError: If the section does not exist in that language, or has no texts for a figure.
    """
    entries = section_words(section, lang)
    if section in ENLARGED:
        entries |= section_words("zoom", lang)
    found = {key.removeprefix("figure."): text for key, text in entries.items() if key.startswith("figure.")}
    if not found:
        raise ValueError(f"{section} has no words of a figure")
    return found


def unbroken(text: str) -> str:
    """Join numbers and their units by no-break spaces: 12 %, 320 px, 224 × 224; placeholders are numbers."""
    return TORN.sub(NO_BREAK, text)


def filled(text: str, fields: Mapping[str, object]) -> str:
    """Fill in a text: the spaces around a field are for Latin letters, Chinese ones take them away."""
    return APART.sub("", BESIDE.sub(GAP, text).format(**fields)).replace(GAP, " ")


def quantity(number: object, unit: str) -> str:
    """Write a number and its unit, which no line tears apart: 320 px."""
    return f"{number}{NO_BREAK}{unit}"


def decimal(value: float, digits: int = 2) -> str:
    """Format a number with a true minus sign, which zero never has: 1.32, −0.40, 0.00."""
    return f"{value:z.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """Format a number with its sign and a true minus sign: +1.32, −0.40; what rounds to zero has no sign."""
    text = f"{value:+z.{digits}f}".replace("-", "−")
    return text.lstrip("+") if float(text.replace("−", "-")) == 0 else text


def percent(p: float, digits: int = 1) -> str:
    """Format a share, by default with one decimal: 94.1 %, 0.3 %; less than it can show is < 0.1 %."""
    least = 10.0**-digits
    small = 0 < 100 * p < least / 2
    return quantity(f"<{NO_BREAK}{least:g}" if small else f"{100 * p:.{digits}f}", "%")


class Named(str):
    """The names of a class; `first` is how they begin, far enough to tell it from the classes beside it."""

    __slots__ = ("first",)
    first: str


def named(classes: Iterable[str]) -> list[str]:
    """Make names that `short_name` keeps apart: "pepper, healthy" stays whole beside "pepper, spotted"."""
    found = [Named(one) for one in classes]
    alike = Counter(_first(one) for one in found)
    for one in found:
        one.first = _first(one) if alike[_first(one)] == 1 else str(one)
    return list[str](found)


def _first(names: str) -> str:
    return names.split(",")[0].strip()


def short_name(names: str, limit: int = 26) -> str:
    """Return the first of a class's names, shortened if it would not fit: "tench, Tinca tinca" is "tench"."""
    first = names.first if isinstance(names, Named) else _first(names)
    return first if len(first) <= limit else first[: limit - 1].rstrip() + "…"


def scientific(value: float) -> str:
    """Format a small number with one digit and a power of ten: 3.2e-07 as 3 × 10⁻⁷."""
    digits, power = f"{value:.0e}".split("e")
    return f"{digits} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def two_digits(value: float) -> str:
    """Format a number with two significant digits: 12, 3.0, 0.032."""
    return f"{value:#.2g}".rstrip(".")


def placeholders(text: str) -> set[str]:
    """Return the placeholder names in a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def preferred(locale: str | None) -> str:
    """Return the initial language for a browser's locale, such as `zh-TW`."""
    return "zh-Hant" if (locale or "").lower().startswith("zh") else "en"


@lru_cache(maxsize=256)
def _catalogue(path: str, changed: int) -> dict[str, str]:
    """Load one catalogue; read again only after a change."""
    return {name: unbroken(text) for name, text in json.loads(Path(path).read_text(encoding="utf-8")).items()}


def together(*sentences: str) -> str:
    """Join sentences with a space, but with none after a Chinese full stop."""
    out = ""
    for sentence in filter(None, sentences):
        out += sentence if not out or out.endswith("。") else f" {sentence}"
    return out


def about(name: str, what: str) -> str:
    """A name and what is said of it, with a colon as their language writes it."""
    return f"{name}{'：' if re.search(HAN, name + what) else ': '}{what}"


def leading(sentence: str) -> str:
    """A sentence that a text goes on after, with the space that belongs there; an empty one stays empty."""
    return sentence if not sentence or sentence.endswith("。") else f"{sentence} "


def columns(text: str) -> int:
    """The width of a text in terminal columns: East Asian characters take two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def marked(text: str) -> str:
    """The Markdown of our texts as HTML: bold, code, links, and letters of formulas."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    text = re.sub(r"\$(.+?)\$", lambda found: f"<i>{_lowered(found[1])}</i>", text)
    return re.sub(r"\[(.+?)\]\((https?://(?:[^()\s]|\([^()\s]*\))+)\)", r'<a href="\2">\1</a>', text)


def _lowered(formula: str) -> str:
    return re.sub(r"_\{(\w+)\}", r"<sub>\1</sub>", formula)
