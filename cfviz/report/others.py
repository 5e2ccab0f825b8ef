"""The report of a model of timm: its answer, its attention, what a token depends on, its parts and heads."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image, ImageDraw

from cfviz.analysis.receptive_field import summed_over_squares
from cfviz.data.images import load_image
from cfviz.figures.live.attention import pack_trace
from cfviz.figures.live.attention_schemes import SHORT
from cfviz.figures.plots.embedding import heat
from cfviz.framing import as_size, size_code
from cfviz.measured import QUICK
from cfviz.measured import others as measured
from cfviz.measured.operations import figure as operations_figure
from cfviz.models.inputs import input_for
from cfviz.models.others.ablation import effects, parts
from cfviz.models.others.opening import OFFERED
from cfviz.models.others.reading import layers_of, receptive_field
from cfviz.models.probes.operations import operations
from cfviz.notebook import LIMIT
from cfviz.run import class_names, prepared_for
from cfviz.trace import Trace
from cfviz.words import section_words, translator

from .page import (
    FIGURES,
    Origin,
    answer_facts,
    arguments_code,
    assembled,
    body,
    check,
    command_of,
    facts_table,
    figure_section,
    left_out,
    photo_code,
    png_uri,
    said_of,
    unusual,
)
from .parts import check_logits, ranked

SQUARE = 4  # pixels of the input that a cell of the field stands for
Place = tuple[int, int, int, int]  # stage, block, row, column


def html(
    trace: Trace, model: Any, origin: Origin, lang: str = "en", switched: bool | None = None,
    at: Place | None = None, timed: bool | None = None,
) -> str:  # fmt: skip
    """Build the report as one HTML file.

    Args:
        trace: A trace of a photo with the attention of every block.
        model: The model that was traced.
        origin: The names of the photo and the weights.
        lang: "en" or "zh-Hant".
        switched: Whether to switch every part off and rank them; None does so only if it is quick.
        at: The token that is looked at, all from 0; None for the middle of the first stage's second block.
        timed: Whether to time the operations of the forward; None does so only if it is quick.

    Raises:
        ValueError: If the trace has no photo or no classes, or its pixels give other logits.
    """
    check(trace)
    if at is None:
        first = trace.schemes[0]
        at = (0, min(1, len(first) - 1), first[0].H // 2, first[0].W // 2)
    x, t, names = _seen(trace, model), section_words("report", lang), class_names(model, lang, trace.weights)
    session = session_facts(trace, model, origin, lang, at)
    small = session["parameters"] <= QUICK
    rank = (small if switched is None else switched) and trace.weights.predicts
    session["parts"] = _ranking(trace, model, x, lang) if rank else []
    start = dict(zip(("stage", "block", "row", "col"), at, strict=True)) | {"locked": True}
    messages = {"attention": pack_trace(trace, lang, limit=LIMIT, start=start).data}
    sections = [figure_section("attention", t), _depends(trace, model, x, t, at)]
    session["operations"] = None
    if small if timed is None else timed:
        found = operations(model, x)
        session["operations"] = found.as_dict()
        messages["operations"] = operations_figure(found, lang)
        sections.append(figure_section("operations", t, said_of(found, lang)))
    if timed is not None:
        session["command"] += " --operations" if timed else " --no-operations"
    size = f"{session['model']} (timm, {session['family']}), {session['parameters'] / 1e6:.2f} M"
    facts = facts_table(session, t, size, trace.weights.trained_in(translator(lang)))
    session["missing"] = [] if trace.weights.predicts or switched is False else ["parts"]
    slow = {"parts": switched is None and not session["missing"], "operations": timed is None}
    session["slow"] = [name for name, unasked in slow.items() if unasked and not small]
    page = body(trace, session, t, names, lang, sections, facts, left_out(session, t, lang))
    figures = [(FIGURES[name], message) for name, message in messages.items()]
    return assembled(trace, session, page, figures, lang)


def session_facts(trace: Trace, model: Any, origin: Origin, lang: str, at: Place) -> dict[str, Any]:
    """The contents of the report as plain values."""
    s = trace.settings
    return answer_facts(trace, class_names(model, lang, trace.weights), lang) | {
        "family": s["family"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "error": s["error"],
        "at": list(at),
        "heads": [
            {"stage": s_ + 1, "block": b + 1, "kind": SHORT[trace.scheme(s_, b).name], "head": h + 1,
             "distance": float(one.distance[h]), "entropy": float(one.entropy[h])}
            for s_, b, one in measured.heads(trace) for h in range(len(one.distance))
        ],
        "command": command_of(trace, origin, lang),
        "code": _code(trace, origin, at),
        "link": _link(trace, origin, lang, at),
        "lost": [
            *([] if origin.photo else ["photo"]),
            *([] if origin.weights is None and trace.model in OFFERED else ["weights"]),
        ],
    }  # fmt: skip


def _seen(trace: Trace, model: Any) -> Any:
    """What the model saw, (3, H, W), from the pixels that the trace keeps.

    Raises:
        ValueError: If they give other logits than the trace's.
    """
    assert trace.crop is not None  # `html` refuses traces without one
    x = prepared_for(model, load_image(trace.crop), trace.size, "resize").tensor
    check_logits(trace, effects(model, x, [()], layers_of(model, *trace.size))[0])
    return x


def _ranking(trace: Trace, model: Any, x: Any, lang: str) -> list[dict[str, Any]]:
    """Every part switched off alone, ranked by its effect on the answer."""
    layers = layers_of(model, *trace.size)
    return ranked(
        trace, parts(layers), lambda some: effects(model, x, some, layers),
        lambda one: measured.part_name(one, lang),
    )  # fmt: skip


# ---------------------------------------------------------------- how to get here again


def _code(trace: Trace, origin: Origin, at: Place) -> str:
    size, photo, more = as_size(*trace.size), photo_code(trace, origin), arguments_code(unusual(trace))
    file = origin.weights not in (None, "none")
    opener = "open_own" if file else "open_other"
    call = f"{origin.weights!r}, {trace.model!r}, {size}" if file else f"{trace.model!r}, {size}"
    weights = f", weights_here({trace.model!r})" if origin.weights is None else ""
    stage, block, row, col = at
    return f"""import cfviz
from cfviz.models.others.opening import {opener}{", weights_here" if weights else ""}

model = {opener}({call}{weights})
trace = cfviz.inspect({photo}, model, {size}{more})
print(trace.top(5))
print(trace.attention({stage}, {block}, {row}, {col}).mean)
trace  # at the end of a cell: the figure that moves"""


def _link(trace: Trace, origin: Origin, lang: str, at: Place) -> str:
    query = {"size": size_code(trace.size), "lang": lang}
    query |= {"photo": origin.photo} if origin.photo else {}
    query |= {name: str(value) for name, value in unusual(trace).items() if name != "centre"}
    if trace.model in OFFERED:
        query |= {"timm": trace.model, "t_stage": str(at[0] + 1), "t_block": str(at[1] + 1)}
        query |= {"t_row": str(at[2]), "t_col": str(at[3]), "t_held": "1"}
    return f"{origin.address.rstrip('/')}/attention?{urlencode(query | {'open': 'others'})}"


# ---------------------------------------------------------------- pictures


def _depends(trace: Trace, model: Any, x: Any, t: Mapping[str, str], at: Place) -> str:
    """What the token depends on: the pixels that change it and, where it is defined, rollout."""
    stage, block, row, col = at
    said = {"stage": stage + 1, "block": block + 1, "row": row, "col": col}
    stride = trace.strides[stage]
    mark = ((col + 0.5) * stride, (row + 0.5) * stride)
    layer = layers_of(model, *trace.size)[stage][block]
    field = receptive_field(model, input_for(model, x[None]), layer, row, col)
    H, W = (side // SQUARE * SQUARE for side in field.shape)
    shown = [("field", summed_over_squares(field[:H, :W], SQUARE), SQUARE)]
    if not trace.settings["mixes"]:
        shown.insert(0, ("rollout", measured.rollout(trace, model, *at).map, trace.strides[0]))
    figures = "".join(
        f'<figure class="rp-map"><img alt="{escape(t[name])}" src="{_over(trace, values, cell, mark)}">'
        f"<figcaption><b>{escape(t[name])}</b> {escape(t[f'{name}_look'])}</figcaption></figure>"
        for name, values, cell in shown
    )
    look = escape(t["depends_look"].format(**said))
    return f'<h2>{escape(t["depends"])}</h2><p class="rp-note">{look}</p><div class="rp-maps">{figures}</div>'


def _over(trace: Trace, values: np.ndarray, cell: int, mark: tuple[float, float]) -> str:
    """A map over the grey photo as a picture; a ring marks the token."""
    assert trace.crop is not None  # `html` refuses traces without one
    top = float(np.percentile(values, 99.5)) or float(values.max()) or 1.0
    (colours,), _ = heat([np.minimum(values, top)])
    wide, high = trace.crop.size
    large = Image.fromarray(colours).resize(
        (values.shape[1] * cell, values.shape[0] * cell), Image.Resampling.NEAREST
    )
    whole = trace.crop.convert("L").convert("RGB")
    whole.paste(Image.blend(whole, _on(large, (wide, high)), 0.72))
    pen = ImageDraw.Draw(whole)
    for colour, width, r in (("#14181D", 4, 6), ("#FFFFFF", 2, 5)):
        pen.ellipse((mark[0] - r, mark[1] - r, mark[0] + r, mark[1] + r), outline=colour, width=width)
    return png_uri(whole)


def _on(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture on a canvas of another size, at its upper left corner."""
    whole = Image.new("RGB", size, "white")
    whole.paste(picture)
    return whole
