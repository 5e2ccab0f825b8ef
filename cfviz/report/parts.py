"""What a report says of a model's parts: every head's position bias, and which part the answer needs most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from cfviz.analysis.lab import answers, ranked
from cfviz.data.images import load_image, prepare
from cfviz.figures.live import position_bias as bias_figure
from cfviz.figures.plots.predictions import percent
from cfviz.figures.theme import DIVERGING
from cfviz.measured import block_bias, part_name
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.effects import effects, parts
from cfviz.trace import Trace
from cfviz.words import figure_words, signed

SHOWN = 20  # parts in the report's table
CLOSE = 1e-3  # of a logit: how near the trace the forwards of this module must come


# ---------------------------------------------------------------- position bias


def bias_message(model: CrossFormer, lang: str) -> bytes:
    """The message of the figure of all heads' biases, at the size the groups were trained with."""
    kinds = model.groupings(224, 224)
    blocks = [
        block_bias(model, s, b, kinds[s][b].kind)
        for s, stage in enumerate(model.stages)
        for b, _ in enumerate(stage.each)
    ]
    strings = figure_words("position_bias", lang)
    start = {"block": min(len(model.stages[0].each), len(blocks) - 1), "head": 0}
    return bias_figure.pack(blocks, "surfaces", strings=strings, start=start)


# ---------------------------------------------------------------- every part taken away


def ranking(trace: Trace, model: CrossFormer, lang: str) -> list[dict[str, Any]]:
    """Every part taken away, one at a time, the one that the answer needs most first, as the lab does it.

    Args:
        trace: Of a photo.
        model: The model that made it.
        lang: Of the parts' names.

    Raises:
        ValueError: If the trace's pixels do not give the trace's answer again.
    """
    assert trace.crop is not None  # traces of photos have one
    x = prepare(load_image(trace.crop), trace.size, mode="resize").tensor
    every = parts(model, "zero", trace.size)
    plain, *changed = effects(model, x, [(), *((one,) for one in every)])
    apart = float(np.abs(plain - trace.logits).max())
    if trace.dtype == "float32" and apart > CLOSE:
        raise ValueError(f"the trace's pixels give logits {apart:.2g} away from its own")
    moved, probs, winners = answers(np.stack(changed), plain)
    return [
        {"part": every[i].to_url(), "name": part_name(every[i], lang), "change": float(moved[i]),
         "p": float(probs[i]), "first": int(winners[i])}
        for i in ranked(moved)
    ]  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]], labels: Sequence[str], t: Mapping[str, str]) -> str:
    """The first parts of a ranking as HTML, each with a bar to its side of zero."""
    top = max(abs(rows[0]["change"]), 1e-9)
    head = "".join(f"<th>{escape(t[name])}</th>" for name in ("part", "change", "p_after", "first_after"))
    lines = []
    for row in rows[:SHOWN]:
        share = 50 * row["change"] / top
        left, colour = min(50.0, 50 + share), DIVERGING[2] if share < 0 else DIVERGING[8]
        bar = f'<i style="margin-left:{left:.2f}%;width:{abs(share):.2f}%;background:{colour}"></i>'
        change = signed(row["change"])
        lines.append(
            f'<tr data-part="{escape(row["part"])}" data-change="{row["change"]!r}">'
            f"<td>{escape(row['name'])}</td>"
            f'<td class="rp-n">{change}</td><td class="rp-n">{percent(row["p"])}</td>'
            f'<td>{escape(labels[row["first"]])}</td><td class="rp-bar">{bar}</td></tr>'
        )
    return (
        f'<div class="rp-scroll"><table class="rp-parts"><thead><tr>{head}<th></th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
