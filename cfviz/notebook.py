"""Show a trace in a notebook: the prediction, and the living figure of the watched points."""

from __future__ import annotations

from html import escape

from cfviz.data import answers
from cfviz.figures.live import attention
from cfviz.provenance import Training
from cfviz.run import about_answer
from cfviz.trace import Trace
from cfviz.words import translator

LIMIT = 48_000_000  # bytes of a figure in a file or a cell; an app page sends less at once


def pack(trace: Trace, lang: str = "en") -> attention.Packed:
    """Pack a trace for the living figure; blocks whose attention was not watched show only groups.

    Raises:
        ValueError: If one block alone is too large.
    """
    return attention.pack_trace(trace, lang, limit=LIMIT)


def show(trace: Trace) -> str:
    """Return HTML for a notebook cell: the top five classes, the origin of the weights, the figure."""
    height, width = trace.size
    weights = trace.weights
    plainly = {"random": "random, untrained weights", "unknown": "weights of unknown origin"}
    told = f"weights: {weights.source}, {weights.trained}"
    if weights.training == Training("file"):
        told = f"weights: {weights.source}, whose training is not recorded in the file"
    trained = plainly.get(weights.source, told)
    facts = f"{trace.model}, {height} x {width} px, {trace.dtype} on {trace.device}; {trained}"
    facts = ". ".join([facts, *(note.sentence().rstrip(".") for note in weights.notes)])
    title = escape(trace.photo or "tensor")
    table = f"<p><b>{title}</b><br><small>{escape(facts)}</small></p>{_answer(trace)}"
    try:
        data = pack(trace)
    except ValueError as error:  # no block was watched, or one alone is too large
        return f"{table}<p><small>{escape(str(error))}</small></p>"
    return table + attention.notebook(data, title=f"cfviz: {trace.photo}")


def page(trace: Trace, lang: str = "en") -> str:
    """Return a self-contained page with the living figure, to save and open offline."""
    return attention.html(pack(trace, lang), title=f"cfviz: {trace.photo}", lang=lang)


def _answer(trace: Trace) -> str:
    """The top five classes, what is known about the first, and a list of all; nothing for random weights."""
    if not trace.labels or not trace.weights.predicts:
        return ""
    rows = "".join(
        f'<tr><td style="text-align:right">{p:.1%}</td><td style="text-align:left">{escape(name)}</td></tr>'
        for _, name, p in trace.top(5)
    )
    line = escape(about_answer(trace, trace.labels, translator("en")))
    return f"<table>{rows}</table><p><small>{line}</small></p>{_classes(trace)}"


def _classes(trace: Trace) -> str:
    """The list of classes; the code for it if there are many, since a cell cannot search a list."""
    if len(trace.labels) > answers.LONG:
        return f"<p><small>All {len(trace.labels):,} classes: <code>trace.labels</code></small></p>"
    return answers.folded_list(translator("en"), trace.labels)
