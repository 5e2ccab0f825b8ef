"""Safe Markdown from untrusted text: file names, values from links, a file's description of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cfviz.data.header import ImageError
from cfviz.models.weights.errors import CheckpointError
from cfviz.words import Translator

LIMIT = 200  # letters
WHOLE = 1000  # of a fact in an error, which is at most 400 letters long when it is raised
GLUE = "\u2060"  # word joiner: invisible; splits text that would be read as a link or an icon


def plain(text: object, limit: int = LIMIT) -> str:
    """Markdown that shows this text and nothing else: no tag, link, picture, formula, icon or style.

    Escaping is not enough: once the escapes are resolved, anything that looks like an address or an emoji's
    name is still replaced.

    Args:
        text: Any object; unprintable characters become spaces.
        limit: The number of letters after which the text is cut.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    line = re.sub(r"(?i)(www)(?=\.)|([:@])(?=\S)|(-)(?=>)|(<)(?=-)", rf"\g<0>{GLUE}", line)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", line)


def plain_fields(fields: Mapping[str, object], limit: int = LIMIT) -> dict[str, object]:
    """The fields of a sentence with all text made plain, as by `plain`; numbers stay as they are."""
    return {name: plain(value, limit) if isinstance(value, str) else value for name, value in fields.items()}


def file_title(name: str, otherwise: str) -> str:
    """A file's name reduced to letters, digits and a few harmless characters: titles also stand in figures.

    Args:
        name: The name of one of the reader's own files.
        otherwise: The title if nothing remains.
    """
    return re.sub(r"[^\w .+-]", "", name)[:80].strip() or otherwise


def explain(t: Translator, error: BaseException) -> str:
    """The sentence for an error, in the reader's language if the error has a code; errors may be nested."""
    if not isinstance(error, ImageError | CheckpointError):
        return t("errors.refused", reason=plain(error, WHOLE))
    within = {name: value for name, value in error.fields.items() if isinstance(value, BaseException)}
    fields = plain_fields(error.fields, WHOLE) | {name: explain(t, value) for name, value in within.items()}
    section = "images.error" if isinstance(error, ImageError) else "errors.checkpoint"
    return t(f"{section}_{error.code}", **fields)
