"""What weights were trained on, in the reader's language: the files say it in English."""

from __future__ import annotations

import re

from cfviz.models.weights.checkpoints import UNKNOWN_TRAINING
from cfviz.words import Translator

# key of the translation -> what the training, the authors' entry and a file's own facts write
FORMS = {
    "trained_short": re.compile(r"(?P<data>[\w-]+), a short first training \((?P<passes>[^()]*)\)"),
    "trained_sittings": re.compile(
        r"(?P<data>[\w-]+), a short training in (?P<count>\d+) sittings "
        r"\((?P<before>\d+(?:, \d+)*) and (?P<passes>[^()]*)\)"
    ),
    "trained_authors": re.compile(r"(?P<data>[\w-]+), by the authors \((?P<top>[\d.]+) % top-1 published\)"),
    "trained_epoch": re.compile(r"to epoch (?P<n>[\d.]+), says the file"),
    "trained_best": re.compile(r"to epoch (?P<n>[\d.]+), (?P<top>[\d.]+) % at best, says the file"),
    "trained_unknown": re.compile(re.escape(UNKNOWN_TRAINING)),
}
PASSES = re.compile(r"(?P<n>\d+)(?: of (?P<all>\d+))? epochs(?P<distilled>, distilled)?")


def trained(t: Translator, text: str) -> str:
    """The words of a card or a file in the reader's language; as they are where they have another form."""
    for key, form in FORMS.items():
        if found := form.fullmatch(text):
            fields = found.groupdict()
            if "passes" in fields:
                fields["passes"] = _passes(t, fields["passes"])
            if "before" in fields:
                fields["before"] = fields["before"].replace(", ", t("common.comma"))
            return t(f"common.{key}", **fields)
    return text


def _passes(t: Translator, text: str) -> str:
    """ "9 of 250 epochs, distilled" in the reader's language."""
    found = PASSES.fullmatch(text)
    if found is None:
        return text
    key = "passes_of" if found["all"] else "passes"
    said = t(f"common.{key}", n=found["n"], all=found["all"] or "")
    return t("common.passes_distilled", passes=said) if found["distilled"] else said
