"""The origin and training of a model's weights: facts, and the sentence that states them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from cfviz.words import Translator, together, translator

DATASETS = {"imagenet-1k": 1000, "imagenette20": 20}  # whose class names are known, and how many there are
MAKERS = ("run", "authors", "file")
# Notes that a weights file may contain, with their fields: what was done to the weights earlier.
KEPT_NOTES = {
    "averaged": {"name", "others"},
    "one_of_several": {"name", "others"},
    "left_out": {"names"},
    "index_groups": {"groups"},
    "normalised": {"mean", "std"},
}
# Sentences in cards and weights files from before they held fields; still read, since such files exist.
SCENES_OF = "scenes of "  # before the name of the data set whose photos were composed
_FIRST = re.compile(r"(?P<data>[\w-]{1,60}), a short first training \((?P<passes>[^()]{1,80})\)")
_SITTINGS = re.compile(
    r"(?P<data>[\w-]{1,60}), a short training in \w{1,9} sittings "
    r"\((?P<before>\d{1,6}(?:, \d{1,6}){0,50}) and (?P<passes>[^()]{1,80})\)"
)
_PASSES = re.compile(r"(?P<done>\d{1,6})(?: of (?P<planned>\d{1,6}))? epochs(?P<distilled>, distilled)?")


def fitting(dataset: Any, num_classes: Any) -> str | None:
    """Return the name of a data set; None if there is none, or if it has another number of classes.

    Records of older runs name imagenette20 by default, whatever they were trained on.
    """
    name = dataset if isinstance(dataset, str) and dataset else None
    return name if num_classes is None or DATASETS.get(str(name), num_classes) == num_classes else None


@dataclass(frozen=True)
class Training:
    """How weights were trained, as far as is known.

    Attributes:
        by: Source of the training: a "run" of this project, the "authors" of the paper, a "file" that records
            it, or "unknown".
        data: Name of the data set, for a run and for the authors.
        epochs: Epochs of each sitting, oldest first; a file records at most one number.
        planned: Epochs planned for the last sitting; None if all were completed.
        distilled: Whether the last sitting had a teacher.
        onward: Whether the run continued from weights whose own training is unknown.
        top1: Top-1 accuracy in per cent: published by the authors, or the best that a file records.
        box_ap: Average precision of boxes in per cent, published by the authors of a detector.
        miou: Mean intersection over union in per cent, published by the authors of a segmenter.
    """

    by: str
    data: str = ""
    epochs: tuple[float, ...] = ()
    planned: int | None = None
    distilled: bool = False
    onward: bool = False
    top1: float | None = None
    box_ap: float | None = None
    miou: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> Training | None:
        """Read the output of `as_json`; None for anything else, since anyone can write such a file."""
        if not isinstance(value, Mapping) or not value.keys() <= {field.name for field in fields(cls)}:
            return None
        by, data, epochs = value.get("by"), value.get("data", ""), value.get("epochs", ())
        planned = value.get("planned")
        figures = [value.get(name) for name in ("top1", "box_ap", "miou")]
        good = (
            by in MAKERS
            and (isinstance(data, str) and data.isprintable() and len(data) <= 60)
            and (isinstance(epochs, list | tuple) and len(epochs) <= 50 and all(map(_counts, epochs)))
            and (planned is None or _counts(planned))
            and all(figure is None or _counts(figure) for figure in figures)
            and all(isinstance(value.get(name, False), bool) for name in ("distilled", "onward"))
            and bool({"run": data and epochs, "authors": data and any(figures), "file": True}[by])
        )
        return cls(**{**value, "epochs": tuple(epochs)}) if good else None

    @classmethod
    def from_sentence(cls, text: str) -> Training | None:
        """Read the sentence that older cards hold instead of fields; None for any other text."""
        found = _FIRST.fullmatch(text) or _SITTINGS.fullmatch(text)
        passes = found and _PASSES.fullmatch(found["passes"])
        if not found or not passes:
            return None
        before = re.findall(r"\d+", found.groupdict().get("before") or "")
        planned = int(passes["planned"]) if passes["planned"] else None
        epochs = (*map(int, before), int(passes["done"]))
        return cls("run", found["data"], epochs, planned, bool(passes["distilled"]))

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are set, for a card or the header of a weights file."""
        said = {name: value for name, value in asdict(self).items() if value not in ("", (), None, False)}
        return said | ({"epochs": list(self.epochs)} if self.epochs else {})

    def sentence(self, t: Translator | None = None) -> str:
        """State the facts in the reader's language, by default English."""
        t = t or translator("en")
        if self.by == "authors":
            for name in ("box_ap", "miou"):
                if (figure := getattr(self, name)) is not None:
                    return t(f"common.trained_authors_{name}", data=self.data, figure=figure)
            return t("common.trained_authors", data=self.data, top=self.top1)
        if self.by == "unknown":
            return t("common.trained_unknown_origin")
        if self.by == "file":
            if not self.epochs:
                return t("common.trained_unknown")
            key = "trained_epoch" if self.top1 is None else "trained_best"
            return t(f"common.{key}", n=self.epochs[-1], top=f"{self.top1 or 0:.1f}")
        *before, done = (f"{epochs:g}" for epochs in self.epochs)  # six, though 6.0 was counted from steps
        data = self.data
        if data.startswith(SCENES_OF):
            data = t("common.trained_scenes", data=data.removeprefix(SCENES_OF))
        passes = t("common.passes" if self.planned is None else "common.passes_of", n=done, all=self.planned)
        if self.distilled:
            passes = t("common.passes_distilled", passes=passes)
        if self.onward:
            return t("common.trained_onward", data=data, passes=passes)
        if not before:
            return t("common.trained_short", data=data, passes=passes)
        earlier = t("common.comma").join(before)
        return t("common.trained_sittings", data=data, count=len(self.epochs), before=earlier, passes=passes)


def _counts(value: Any) -> bool:
    """Whether a value is a plain, non-negative number below a million."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and isfinite(value) and 0 <= value < 1e6


@dataclass(frozen=True)
class Note:
    """One sentence about weights.

    Attributes:
        code: The end of the catalogue key `common.weights_note_CODE`.
        fields: Placeholder names and values, as pairs.
    """

    code: str
    fields: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, code: str, **fields: str) -> Note:
        """Make a note from keyword arguments."""
        return cls(code, tuple(fields.items()))

    @classmethod
    def from_json(cls, value: Any) -> Note | None:
        """Read the output of `as_json`; None for anything else, since anyone can write such a file."""
        if not isinstance(value, Mapping) or not isinstance(code := value.get("code"), str):
            return None
        told = {name: text for name, text in value.items() if name != "code"}
        good = told.keys() == KEPT_NOTES.get(code) and all(isinstance(text, str) for text in told.values())
        return cls.of(code, **told) if good else None

    def as_json(self) -> dict[str, str] | None:
        """Return the note for the header of a weights file; None if loading the weights produces it again."""
        return {"code": self.code, **dict(self.fields)} if self.code in KEPT_NOTES else None

    def sentence(self, t: Translator | None = None) -> str:
        """State the note in the reader's language, by default English."""
        return (t or translator("en"))(f"common.weights_note_{self.code}", **dict(self.fields))


@dataclass(frozen=True)
class Provenance:
    """The origin of a model's weights.

    Attributes:
        source: "bundled", "official", a file name, a repository id, "random", or "unknown".
        sha256: SHA-256 of the file, if there is one.
        trained: Short English description of the training; None for random weights.
        dataset: Data set whose class names the outputs stand for: "imagenet-1k", "imagenette20", or None.
        training: The facts behind `trained`; None if the file describes the training in its own words.
        classes: Class names in output order, if the file records them.
        notes: Remarks for the reader on how the weights were extracted from the file.
    """

    source: str = "random"
    sha256: str | None = None
    trained: str | None = None
    dataset: str | None = None
    training: Training | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()

    @classmethod
    def unknown(cls) -> Provenance:
        """Return the provenance of weights of unrecorded origin."""
        training = Training("unknown")
        return cls("unknown", trained=training.sentence(), training=training)

    @property
    def predicts(self) -> bool:
        """Whether a prediction means anything: neither the weights nor the classifier are random."""
        return self.trained is not None and all(note.code != "new_head" for note in self.notes)

    def trained_in(self, t: Translator) -> str:
        """Return `trained` in the reader's language; a file's own words stay as they are."""
        return self.training.sentence(t) if self.training else self.trained or ""

    def terms(self, t: Translator) -> str:
        """Explain the words of `sentence` that a newcomer does not know; nothing if there are none."""
        training = self.training
        if training is None or training.by != "run":
            return ""
        known = training.data.removeprefix(SCENES_OF) == "imagenette20"
        return together(
            t("common.trained_imagenette20") if known else "",
            t("common.trained_distilled") if training.distilled else "",
        )

    def sentence(self, t: Translator, plain: Callable[[str], str] = str) -> str:
        """State where the weights come from, and what was done to them, in the reader's language.

        Args:
            t: The reader's language.
            plain: Applied to whatever a file says about itself, where the sentence is for Markdown or HTML.
        """
        if self.trained is None:
            return t("common.weights_random")
        key = {"bundled": "weights_bundled", "unknown": "weights_unknown"}.get(self.source, "weights_other")
        if key == "weights_other" and self.training == Training("file"):
            key = "weights_unrecorded"
        line = t(f"common.{key}", source=plain(self.source), trained=plain(self.trained_in(t)))
        return together(line, *(plain(note.sentence(t)) for note in self.notes))
