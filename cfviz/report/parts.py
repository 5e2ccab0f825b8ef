"""A report's sections on the model's parts: every head's position bias, and a ranking by ablation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np

from cfviz.analysis.lab import answer_changes, by_magnitude
from cfviz.data.images import Prepared, load_image, prepare
from cfviz.figures.live.position_bias import pack
from cfviz.figures.theme import DIVERGING
from cfviz.measured import block_biases, part_name
from cfviz.measured.amplitude import as_streams, measured
from cfviz.measured.amplitude import figure as amplitude_figure
from cfviz.measured.amplitude import points as amplitude_points
from cfviz.measured.blocks import figure as blocks_figure
from cfviz.measured.logit import figure
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.effects import effects, parts
from cfviz.models.probes.linear import probes_for
from cfviz.models.probes.logit_parts import logit_parts
from cfviz.models.probes.operations import Operations, operations
from cfviz.run import class_names, forward
from cfviz.stats import softmax
from cfviz.trace import Trace
from cfviz.words import figure_words, percent, signed

SHOWN = 20  # parts in the report's table
CLOSE = 1e-3  # largest difference allowed between logits computed here and the trace's


# ---------------------------------------------------------------- position bias


def bias_message(model: CrossFormer, lang: str) -> bytes:
    """The message for the figure of all heads' position biases, at the group size used in training."""
    blocks = block_biases(model)
    strings = figure_words("position_bias", lang)
    start = {"block": min(len(model.stages[0].block_list), len(blocks) - 1), "head": 0}
    return pack(blocks, "surfaces", strings=strings, start=start)


# ---------------------------------------------------------------- the logit as a sum


def sum_message(trace: Trace, model: CrossFormer, lang: str) -> bytes | None:
    """The message for the figure of the predicted logit's parts; None if it cannot be split."""
    if not trace.weights.predicts:
        return None
    seen = seen_in(trace)
    try:
        found = logit_parts(model, seen.tensor, trace.top(1)[0][0])
    except ValueError:  # another head, or a number format too coarse to add up in
        return None
    if abs(found.logit - float(trace.logits[found.target])) > CLOSE:
        return None  # the pixels in eight bits give another logit than the trace's
    return figure(found, seen.crop, class_names(model, lang), lang)


def known_message(trace: Trace, model: CrossFormer, lang: str) -> bytes | None:
    """The message for the figure of what each block knows; None without probes of these weights."""
    probes = probes_for(model) if trace.weights.predicts else None
    if probes is None or trace.weights.sha256 != probes.weights:
        return None
    seen = seen_in(trace)
    arrays, _ = forward(model, seen.tensor, probes.points)
    if float(np.abs(arrays["logits"] - trace.logits).max()) > CLOSE:
        return None
    whole = replace(trace, arrays=arrays)
    return blocks_figure(whole, probes, class_names(model, lang), lang, trace.top(1)[0][0])


def amplitude_message(trace: Trace, model: CrossFormer, lang: str) -> bytes | None:
    """The message for the figure of how large the numbers grow; None if they are not all finite."""
    seen = seen_in(trace)
    arrays, _ = forward(model, seen.tensor, amplitude_points(model))
    if float(np.abs(arrays["logits"] - trace.logits).max()) > CLOSE:
        return None
    whole = as_streams(trace, model, arrays=arrays)
    try:
        blocks, without = measured(whole, model, seen.tensor)
    except ValueError:
        return None
    return amplitude_figure(blocks, without, whole, lang)


def measured_operations(trace: Trace, model: CrossFormer) -> Operations:
    """Record and time the operations of a forward on what the model saw."""
    return operations(model, seen_in(trace).tensor)


def seen_in(trace: Trace) -> Prepared:
    """What the model saw, from the pixels that the trace keeps."""
    assert trace.crop is not None  # every trace of a photo has one
    return prepare(load_image(trace.crop), trace.size, mode="resize")


# ---------------------------------------------------------------- every part taken away


def parts_ranking(trace: Trace, model: CrossFormer, lang: str) -> list[dict[str, Any]]:
    """Ablate every part, one at a time, as in the lab, and rank the parts by effect on the answer.

    Args:
        trace: A trace of a photo.
        model: The model that was traced.
        lang: Language of the parts' names.

    Raises:
        ValueError: If a forward of the trace's pixels does not reproduce the trace's logits.
    """
    x = seen_in(trace).tensor
    return ranked(
        trace, parts(model, "zero", trace.size), lambda some: effects(model, x, some),
        lambda one: part_name(one, lang),
    )  # fmt: skip


def ranked(
    trace: Trace,
    every: Sequence[Any],
    logits_of: Callable[[list[tuple[Any, ...]]], np.ndarray],
    name_of: Callable[[Any], str],
) -> list[dict[str, Any]]:
    """Take every part away, one at a time, and rank the parts by effect on the answer.

    Args:
        trace: A trace of a photo.
        every: The parts.
        logits_of: Returns the logits of the trace's pixels without the parts of each tuple.
        name_of: Names a part in the reader's language.

    Raises:
        ValueError: If the logits of the trace's pixels with all parts are not the trace's.
    """
    plain, *changed = logits_of([(), *((one,) for one in every)])
    check_logits(trace, plain)
    moved, probs, winners = answer_changes(np.stack(changed), plain)
    points = 100 * (probs - softmax(plain).max())
    return [
        {"part": every[i].to_url(), "name": name_of(every[i]), "points": float(points[i]),
         "change": float(moved[i]), "p": float(probs[i]), "first": int(winners[i])}
        for i in by_magnitude(points)
    ]  # fmt: skip


def check_logits(trace: Trace, again: np.ndarray) -> None:
    """Check that a forward of the trace's pixels, in eight bits, gives the trace's logits.

    Raises:
        ValueError: If it does not.
    """
    apart = float(np.abs(again - trace.logits).max())
    if trace.dtype == "float32" and apart > CLOSE:
        raise ValueError(f"the trace's pixels give logits {apart:.2g} away from its own")


def ranking_table(rows: Sequence[Mapping[str, Any]], labels: Sequence[str], t: Mapping[str, str]) -> str:
    """The top parts of a ranking as an HTML table, each with a bar left or right of zero."""
    top = max(abs(rows[0]["points"]), 1e-9)
    columns = ("part", "points", "change", "p_after", "first_after")
    head = "".join(f"<th>{escape(t[name])}</th>" for name in columns)
    lines = []
    for row in rows[:SHOWN]:
        share = 50 * row["points"] / top
        left, colour = min(50.0, 50 + share), DIVERGING[2] if share < 0 else DIVERGING[8]
        bar = f'<i style="margin-left:{left:.2f}%;width:{abs(share):.2f}%;background:{colour}"></i>'
        points, change = signed(row["points"], 1), signed(row["change"])
        lines.append(
            f'<tr data-part="{escape(row["part"])}" data-points="{row["points"]!r}">'
            f"<td>{escape(row['name'])}</td>"
            f'<td class="rp-n">{points}</td><td class="rp-n">{change}</td>'
            f'<td class="rp-n">{percent(row["p"])}</td>'
            f'<td>{escape(labels[row["first"]])}</td><td class="rp-bar">{bar}</td></tr>'
        )
    return (
        f'<div class="rp-scroll"><table class="rp-parts"><thead><tr>{head}<th></th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
