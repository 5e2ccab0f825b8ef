"""Files that are left out, in words: how many, which ones, and why, in either language.

Results keep each reason in English, as `reason` and `cfviz.data.header` write it; `in_words` finds the text
that it was written from and says the same in the reader's language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from string import Formatter
from typing import Any

from cfviz.words import NO_BREAK, section_words, translator

FIRST = 3  # files that a sentence names
LISTED = 20  # files that a list names
TEXTS = {"jobs": "left_", "images": "error_"}  # what entries of a folder are, and what is wrong with photos


def reason(code: str, **fields: object) -> str:
    """Why an entry of a folder is left out, in English: what results keep.

    Args:
        code: The end of a key `jobs.left_<code>`.
        **fields: Values for the text's placeholders.
    """
    return translator("en")(f"jobs.left_{code}", **fields)


def in_words(kept: str, lang: str) -> str:
    """Say a reason in a language, without its full stop; one that is none of our texts stays as it is.

    Args:
        kept: From `reason`, or the sentence of an `ImageError`.
        lang: "en" or "zh-Hant".
    """
    plain = kept.replace(NO_BREAK, " ")
    for key, pattern in _patterns():
        if found := pattern.fullmatch(plain):
            return translator(lang)(key, **found.groupdict()).rstrip(".。")
    return kept.rstrip(".")


def sentence(
    skipped: Mapping[str, str],
    lang: str,
    first: int = FIRST,
    write: Callable[[str], str] = str,
) -> str:
    """The sentence on the files that a result leaves out; empty if there are none.

    Args:
        skipped: Maps each file to the reason.
        lang: "en" or "zh-Hant".
        first: How many of them to name.
        write: Makes a name or a reason fit for where the sentence is shown.
    """
    if not skipped:
        return ""
    t = translator(lang)
    named = [
        t("jobs.skipped_one", name=write(name), why=write(in_words(why, lang)))
        for name, why in list(skipped.items())[:first]
    ]
    key = "jobs.skipped" if len(skipped) <= first else "jobs.skipped_more"
    fields = {"n": len(skipped), "names": t("common.comma").join(named), "more": len(skipped) - first}
    return t(key, **fields)


def told(files: Mapping[str, Any]) -> str:
    """What became of a folder's files, for a terminal: one line, and one for each of the first left out.

    Args:
        files: The numbers of `files` found, `used` and `not_chosen`; `skipped` maps each other file to the
            reason.
    """
    left, skipped = files["not_chosen"], files["skipped"]
    first = f"{files['used']} of {files['files']} files used"
    first += f", {left} left out by the limit" if left else ""
    if not skipped:
        return first
    lines = [f"  {name}: {why}" for name, why in list(skipped.items())[:LISTED]]
    if len(skipped) > LISTED:
        lines.append(f"  and {len(skipped) - LISTED} more")
    return "\n".join([f"{first}, {len(skipped)} skipped:", *lines])


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Each text that may be a reason, as a pattern that finds what its placeholders stood for."""
    found = []
    for section, start in TEXTS.items():
        for name, text in section_words(section).items():
            if name.startswith(start):
                found.append((f"{section}.{name}", _pattern(text.replace(NO_BREAK, " "))))
    return found


def _pattern(text: str) -> re.Pattern[str]:
    parts = ((re.escape(said), name) for said, name, *_ in Formatter().parse(text))
    return re.compile("".join(said + (f"(?P<{name}>.+)" if name else "") for said, name in parts))
