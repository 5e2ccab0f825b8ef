"""The report of a model of timm: its answer, its attention, what a token depends on, its parts and heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from shlex import quote
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image, ImageDraw

from cfviz import web
from cfviz.analysis.lab import answer_changes, by_magnitude
from cfviz.analysis.receptive_field import summed_over_squares
from cfviz.data.images import load_image
from cfviz.figures.live.attention import pack_trace
from cfviz.figures.live.attention_schemes import SHORT
from cfviz.figures.plots.embedding import heat
from cfviz.framing import CENTRE, as_size, centre_code, size_code
from cfviz.measured import QUICK
from cfviz.measured import others as measured
from cfviz.models.inputs import input_for
from cfviz.models.others.ablation import effects, parts
from cfviz.models.others.opening import OFFERED
from cfviz.models.others.reading import layers_of, receptive_field
from cfviz.models.weights.errors import CheckpointError
from cfviz.notebook import LIMIT
from cfviz.run import about_answer, class_names, frame_of, prepared_for
from cfviz.trace import Trace
from cfviz.words import section_words, translator

from .page import (
    Origin,
    again,
    answers_table,
    assembled,
    centre_of,
    facts_table,
    heads_table,
    no_answer,
    png_uri,
    software_versions,
    strokes_of,
)
from .parts import CLOSE, ranking_table

SQUARE = 4  # pixels of the input that a cell of the field stands for
Place = tuple[int, int, int, int]  # stage, block, row, column


def html(
    trace: Trace, model: Any, origin: Origin, lang: str = "en", switched: bool | None = None,
    at: Place | None = None,
) -> str:  # fmt: skip
    """Build the report as one HTML file.

    Args:
        trace: A trace of a photo with the attention of every block.
        model: The model that was traced.
        origin: The names of the photo and the weights.
        lang: "en" or "zh-Hant".
        switched: Whether to switch every part off and rank them; None does so only if it is quick.
        at: The token that is looked at, all from 0; None for the middle of the first stage's second block.

    Raises:
        ValueError: If the trace has no photo or no classes, or its pixels give other logits.
    """
    if not trace.labels:
        raise CheckpointError("no_classes", source=trace.weights.source)
    if trace.crop is None:
        raise ValueError("the trace was made from a tensor; a report needs one made from a photo")
    if at is None:
        first = trace.schemes[0]
        at = (0, min(1, len(first) - 1), first[0].H // 2, first[0].W // 2)
    x, t, names = _seen(trace, model), section_words("report", lang), class_names(model, lang, trace.weights)
    session = session_facts(trace, model, origin, lang, at)
    small = session["parameters"] <= QUICK if switched is None else switched
    session["parts"] = _ranking(trace, model, x, lang) if small and trace.weights.predicts else []
    start = dict(zip(("stage", "block", "row", "col"), at, strict=True)) | {"locked": True}
    figures = [(web.ATTENTION, pack_trace(trace, lang, limit=LIMIT, start=start).data)]
    body = _body(trace, model, x, session, t, names, lang, at)
    return assembled(trace, session, body, figures, lang)


def session_facts(trace: Trace, model: Any, origin: Origin, lang: str, at: Place) -> dict[str, Any]:
    """The contents of the report as plain values."""
    weights, s = trace.weights, trace.settings
    names = class_names(model, lang, weights)
    return {
        "photo": trace.photo,
        "top": [[i, names[i], p] for i, _, p in trace.top(5)],
        "probs": trace.probs.tolist(),
        "shown": None if trace.shown is None else list(trace.shown),
        "model": trace.model,
        "family": s["family"],
        "weights": {key: getattr(weights, key) for key in ("source", "sha256", "trained", "dataset")},
        "parameters": sum(p.numel() for p in model.parameters()),
        "error": s["error"],
        "settings": {
            "size": list(trace.size), "mode": s["mode"], "dtype": trace.dtype, "device": trace.device,
            "lang": lang, "centre": list(centre_of(trace)),
            **({"strokes": strokes} if (strokes := strokes_of(trace)) else {}),
        },
        "framing": frame_of(trace).sentence(translator(lang)),
        "seconds": trace.seconds,
        "versions": software_versions(),
        "at": list(at),
        "heads": [
            {"stage": s_ + 1, "block": b + 1, "kind": SHORT[trace.scheme(s_, b).name], "head": h + 1,
             "distance": float(one.distance[h]), "entropy": float(one.entropy[h])}
            for s_, b, one in measured.heads(trace) for h in range(len(one.distance))
        ],
        "command": _command(trace, origin, lang),
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
    again_ = effects(model, x, [()], layers_of(model, *trace.size))[0]
    apart = float(np.abs(again_ - trace.logits).max())
    if trace.dtype == "float32" and apart > CLOSE:
        raise ValueError(f"the trace's pixels give logits {apart:.2g} away from its own")
    return x


def _ranking(trace: Trace, model: Any, x: Any, lang: str) -> list[dict[str, Any]]:
    """Every part switched off alone, ranked by its effect on the answer."""
    layers = layers_of(model, *trace.size)
    every = parts(layers)
    after = effects(model, x, [(one,) for one in every], layers)
    moved, probs, winners = answer_changes(after, trace.logits)
    points = 100 * (probs - trace.probs.max())
    return [
        {"part": every[i].to_url(), "name": measured.part_name(every[i], lang), "points": float(points[i]),
         "change": float(moved[i]), "p": float(probs[i]), "first": int(winners[i])}
        for i in by_magnitude(points)
    ]  # fmt: skip


# ---------------------------------------------------------------- how to get here again


def _arguments(trace: Trace) -> dict[str, Any]:
    size = as_size(*trace.size)
    usual = {"dtype": "float32", "mode": "crop", "centre": CENTRE}
    given = {"dtype": trace.dtype, "mode": str(trace.settings["mode"]), "centre": centre_of(trace)}
    return {"size": size, **{name: value for name, value in given.items() if value != usual[name]}}


def _command(trace: Trace, origin: Origin, lang: str) -> str:
    words = ["python", "-m", "cfviz", "report", origin.path, "--model", trace.model]
    words += ["--weights", origin.weights] if origin.weights else []
    words += ["--size", size_code(trace.size), "--dtype", trace.dtype, "--mode", str(trace.settings["mode"])]
    words += ["--centre", centre_code(centre)] if (centre := centre_of(trace)) != CENTRE else []
    words += ["--brush", strokes] if (strokes := strokes_of(trace)) else []
    words += ["--device", trace.device, "--lang", lang, "--out", "report.html"]
    return " ".join(map(quote, words))


def _code(trace: Trace, origin: Origin, at: Place) -> str:
    given = _arguments(trace)
    size, strokes = given.pop("size"), strokes_of(trace)
    file = origin.weights not in (None, "none")
    opener = "open_own" if file else "open_other"
    call = f"{origin.weights!r}, {trace.model!r}, {size}" if file else f"{trace.model!r}, {size}"
    weights = f", weights_here({trace.model!r})" if origin.weights is None else ""
    photo = f"cfviz.load_image({origin.path!r}).brushed({strokes!r})" if strokes else repr(origin.path)
    more = "".join(f", {name}={value!r}" for name, value in given.items())
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
    query |= {name: str(value) for name, value in _arguments(trace).items() if name in ("dtype", "mode")}
    if trace.model in OFFERED:
        query |= {"timm": trace.model, "t_stage": str(at[0] + 1), "t_block": str(at[1] + 1)}
        query |= {"t_row": str(at[2]), "t_col": str(at[3]), "t_held": "1"}
    return f"{origin.address.rstrip('/')}/attention?{urlencode(query | {'open': 'others'})}"


# ---------------------------------------------------------------- words and pictures


def _body(
    trace: Trace, model: Any, x: Any, session: Mapping[str, Any], t: Mapping[str, str],
    labels: Sequence[str], lang: str, at: Place,
) -> str:  # fmt: skip
    random = not trace.weights.predicts
    warn = f'<p class="rp-warn">{escape(t["random"])}</p>' if random else ""
    ranks = ranking_table(session["parts"], labels, t) if session["parts"] else ""
    note = escape(t["parts_look"].format(n=len(session["parts"])))
    size = f"{session['model']} (timm, {session['family']}), {session['parameters'] / 1e6:.2f} M"
    trained = trace.weights.trained_in(translator(lang))
    answer = (
        answers_table(session, t, labels, about_answer(trace, labels, translator(lang)), lang)
        if trace.weights.predicts
        else no_answer(lang)
    )
    return "\n".join([
        f'<h1>{escape(trace.photo or "cfviz")}</h1><p class="rp-lede">{escape(t["lede"])}</p>{warn}',
        f'<div class="rp-top"><img alt="{escape(t["crop"])}" src="{png_uri(trace.crop)}">{answer}</div>',
        f'<h2>{escape(t["attention"])}</h2><p class="rp-note">{escape(t["attention_look"])}</p>'
        '<section><div class="cf-host"></div></section>',
        _depends(trace, model, x, t, at),
        f'<h2>{escape(t["parts"])}</h2><p class="rp-note">{note}</p>{ranks}' if ranks else "",
        f"<h2>{escape(t['heads'])}</h2><details><summary>{escape(t['heads_look'])}</summary>",
        heads_table(session, t) + "</details>",
        f"<h2>{escape(t['made'])}</h2>{facts_table(session, t, size, trained)}",
        f"<h2>{escape(t['again'])}</h2>{again(session, t)}",
    ])  # fmt: skip


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
