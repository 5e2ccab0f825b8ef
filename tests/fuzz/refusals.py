"""A refusal's sentence: it must be complete in both languages."""

from __future__ import annotations

from cfviz.data.header import ImageError
from cfviz.models.weights.errors import CheckpointError
from cfviz.ui.session.plain import GLUE, explain
from cfviz.words import LANGUAGES, NO_BREAK, translator

LONGEST = 2000


def code_of(error: ImageError | CheckpointError) -> str:
    """Check an error's sentences and return its code."""
    for lang in LANGUAGES:
        sentence = explain(translator(lang), error).replace(GLUE, "").replace(NO_BREAK, " ")
        assert sentence, error.code
        assert len(sentence) < LONGEST, f"{error.code}, {len(sentence)} letters: {sentence[:200]}"
        assert all(letter.isprintable() for letter in sentence), repr(sentence)
        assert "Traceback" not in sentence, sentence
    return error.code
