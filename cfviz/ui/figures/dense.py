"""What a detector or segmenter answers and what its scores rest on, computed once for all readers."""

from __future__ import annotations

from cfviz import point_names
from cfviz.figures.live import attention
from cfviz.figures.live.dense import Reason
from cfviz.geometry import token_box
from cfviz.measured.dense import (
    DenseSubject,
    Seen,
    first_answer,
    maps_of,
    names_ahead,
    reasons_for,
    with_others,
)
from cfviz.models.dense.pipeline import picture
from cfviz.models.probes import dense as probes
from cfviz.run import share_cores
from cfviz.ui.compute.cache import cached
from cfviz.words import figure_words

ATTENTION_BYTES = 9_000_000  # of the attention figure's message: all blocks of nano at 224 x 448 px
ATTENTION = ("q", "k", "bias", "probs")


@cached(8)
def _maps(source: str, _subject: DenseSubject) -> probes.Maps:
    """The backbone's maps of the photo, for the answers that follow the first."""
    share_cores()
    return maps_of(_subject)


@cached(64, 128 * 2**20)
def first(source: str, _subject: DenseSubject) -> Seen:
    """The model's answer on the photo; those without a stage are pending."""
    share_cores()
    maps = _maps(source, _subject) if _subject.left_out else maps_of(_subject)  # large ones are not kept
    return first_answer(_subject, maps)


@cached(64, 128 * 2**20)
def seen(source: str, _subject: DenseSubject) -> Seen:
    """The model's answer on the photo, and its answers without each stage if that is quick."""
    begun = first(source, _subject)
    share_cores()
    return with_others(_subject, _maps(source, _subject), begun) if begun.answer.pending else begun


def in_use(source: str, subject: DenseSubject, view: int) -> Seen:
    """The answer with the view that the reader looks at; the first of them needs no other."""
    return seen(source, subject) if view else first(source, subject)


@cached(64, 96 * 2**20)
def reasons_ahead(source: str, _subject: DenseSubject) -> tuple[Reason, ...]:
    """What the best scores rest on: the best boxes, or the largest regions that are no ground."""
    if not _subject.quick:
        return ()
    found = first(source, _subject)
    share_cores()
    return reasons_for(_subject, found, names_ahead(_subject, found))


@cached(512, 96 * 2**20)
def reason_for(source: str, of: str, _subject: DenseSubject) -> tuple[Reason, ...]:
    """What one score rests on."""
    found = first(source, _subject)
    share_cores()
    return reasons_for(_subject, found, [of])


# ------------------------------------------------------------------ attention


@cached(8, 64 * 2**20)
def attention_message(source: str, _subject: DenseSubject, _name: str) -> attention.Packed:
    """The attention figure's message for this photo, with as many blocks as fit.

    Raises:
        ValueError: If not even one block fits.
    """
    share_cores()
    model, fitted, (H, W) = _subject.model, _subject.fitted, _subject.input
    patterns = [point_names.attention(point=point) for point in ATTENTION]
    arrays = probes.backbone_arrays(model, fitted, patterns)
    groupings = _subject.groupings
    return attention.pack(
        attention.units(arrays, groupings),
        size=(H, W),
        strides={s: token_box(s, 0, 0)[2] for s in range(len(groupings))},
        strings=figure_words("attention", "en"),
        photo=picture(fitted),
        start={"stage": len(groupings) - 1, "block": 0},
        name=_name,
        source=source,
        limit=ATTENTION_BYTES,
    )
