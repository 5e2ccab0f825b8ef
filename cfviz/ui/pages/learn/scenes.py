"""The scenes of the lessons, and what the bundled segmenter answers on them."""

from __future__ import annotations

from cfviz.lessons.pixels import SEGMENTER
from cfviz.measured.dense import DenseSubject, Seen
from cfviz.measured.scenes import subject_of
from cfviz.ui.compute import dense as models
from cfviz.ui.figures.dense import seen
from cfviz.ui.figures.scenes import composed

DEVICE = "cpu"  # nano is small, and the answer is the same for everybody


def labelled(number: int, lang: str = "en") -> tuple[DenseSubject, Seen]:
    """A scene by its number, and what the bundled segmenter answers on it, also without each stage."""
    net = models.model(SEGMENTER, DEVICE)
    subject = subject_of(net, f"{SEGMENTER} {DEVICE} scene {number}", lang, composed(number))
    return subject, seen(subject.source, subject)
