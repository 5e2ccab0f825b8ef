"""A session as one HTML file that opens offline: prediction, interactive figures, and how to reproduce it.

    trace = cfviz.inspect("cat.jpg", model, watch=report.WATCH)
    Path("cat.html").write_text(report.html(trace, model, report.Origin("cat.jpg")), "utf-8")

All numbers come from the trace; the script element `session` contains them at full precision, as JSON.
"""

from __future__ import annotations

import base64
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any, cast
from urllib.parse import urlencode

import numpy as np
from PIL import Image

import cfviz
from cfviz import notebook, point_names, web
from cfviz.analysis.attention_measures import distance, entropy
from cfviz.data import answers
from cfviz.figures import theme
from cfviz.figures.live.embedding import pack
from cfviz.framing import CENTRE, Centre, as_size, centre_code, size_code, size_text
from cfviz.geometry import token_box
from cfviz.measured import cel, quick
from cfviz.measured.operations import figure as operations_figure
from cfviz.measured.operations import how_measured, sentence
from cfviz.measured.survey import Survey, facts_of
from cfviz.measured.survey import figure as survey_figure
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.cost import cost
from cfviz.models.probes.embedding import layer
from cfviz.models.probes.operations import Operations
from cfviz.models.weights.errors import CheckpointError
from cfviz.options import DTYPES
from cfviz.run import about_answer, class_names, frame_of
from cfviz.trace import Trace
from cfviz.words import about, figure_words, percent, quantity, section_words, together, translator

from .parts import (
    amplitude_message,
    bias_message,
    known_message,
    measured_operations,
    parts_ranking,
    ranking_table,
    sum_message,
)

WATCH = (
    *(point_names.attention(point=name) for name in ("q", "k", "bias", "probs")),
    *point_names.embeddings(),
)  # fmt: skip
ADDRESS = "http://localhost:8501"
FIGURES = {
    "attention": web.ATTENTION,
    "embedding": web.EMBEDDING,
    "bias": web.POSITION_BIAS,
    "sum": web.PARTS,
    "known": web.READING,
    "amplitude": web.AMPLITUDE,
    "operations": web.OPERATIONS,
    "survey": web.SURVEY,
}  # in the order of the page
TEMPLATE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class Origin:
    """The origin of a trace, as far as the trace itself does not record it.

    Attributes:
        path: The photo as named on the command line.
        photo: The photo's id in the app's gallery; None for a user's own photo, which no link can carry.
        weights: The value for `--weights`, or None for the default weights; "none" for random ones.
        address: Address of the app, for the link.
    """

    path: str
    photo: str | None = None
    weights: str | None = None
    address: str = ADDRESS


def html(
    trace: Trace,
    model: CrossFormer,
    origin: Origin,
    lang: str = "en",
    parts: bool | None = None,
    survey: Survey | None = None,
    operations: bool | None = None,
) -> str:
    """Build the report as one HTML file.

    Args:
        trace: A trace of a photo, with every point in `WATCH`.
        model: The model that was traced.
        origin: The names of the photo and the weights.
        lang: "en" or "zh-Hant".
        parts: Whether to ablate every part and rank them; None does so only if it is quick.
        survey: What many photos show of the same model, to add as a figure.
        operations: Whether to time the operations of the forward; None does so only if it is quick.

    Raises:
        ValueError: If a point in `WATCH` is missing, the trace has no photo, or the language is unknown;
            if the survey is of another model, other weights or other groups.
    """
    if survey is not None and not survey.is_of(model):
        raise ValueError(
            "the survey is of another model, of other weights or groups than the photo's; make one with "
            "`cfviz survey`"
        )
    check(trace)
    session, t = session_facts(trace, model, origin, lang), section_words("report", lang)
    if parts is not None:
        session["command"] += " --parts" if parts else " --no-parts"
    wanted = quick(model, trace.size) if parts is None else parts
    session["parts"] = parts_ranking(trace, model, lang) if wanted and trace.weights.predicts else []
    colour = model.patch_embed.projs[0].in_channels == 3
    messages = {
        "attention": attention_message(trace, lang),
        "embedding": embedding_message(trace, model, lang) if colour else None,
        "bias": bias_message(model, lang) if model.position_bias != "none" else None,
        "sum": sum_message(trace, model, lang),
        "known": known_message(trace, model, lang),
        "amplitude": amplitude_message(trace, model, lang),
    }
    session["missing"] = [name for name, message in messages.items() if message is None]
    session["slow"] = []
    if parts is not False and not trace.weights.predicts:
        session["missing"].append("parts")
    elif parts is None and not wanted:
        session["slow"].append("parts")
    session["operations"] = None
    if quick(model, trace.size) if operations is None else operations:
        found = measured_operations(trace, model)
        session["operations"] = found.as_dict()
        messages["operations"] = operations_figure(found, lang)
    elif operations is None:
        session["slow"].append("operations")
    if operations is not None:
        session["command"] += " --operations" if operations else " --no-operations"
    session["survey"] = survey is not None
    if survey is not None:
        session["command"] += " --survey survey.safetensors"
        messages["survey"] = survey_figure(survey, lang)
    figures = [(FIGURES[name], message) for name, message in messages.items() if message is not None]
    more = {"survey": "" if survey is None else facts_of(survey, lang)}
    more |= {"operations": said_of(found, lang)} if session["operations"] else {}
    sections = [
        figure_section(name, t, more.get(name, "")) for name in FIGURES if messages.get(name) is not None
    ]
    left = left_out(session, t, lang)
    page = body(trace, session, t, class_names(model, lang), lang, sections, _facts(session, t), left)
    return assembled(trace, session, page, figures, lang)


def check(trace: Trace) -> None:
    """Check that a report can be made of a trace.

    Raises:
        ValueError: If it has no classes or no photo.
    """
    if not trace.labels:
        raise CheckpointError("no_classes", source=trace.weights.source)
    if trace.crop is None:
        raise ValueError("the trace was made from a tensor; a report needs one made from a photo")


def assembled(
    trace: Trace, session: Mapping[str, Any], body: str, figures: Sequence[tuple[Any, bytes]], lang: str
) -> str:
    """The whole file: a body with empty boxes, the figures that fill them, the numbers of the session."""
    blanks = {
        "LANG": escape(lang),
        "TITLE": escape(f"cfviz: {trace.photo}"),
        "LIGHT": _variables(theme.LIGHT),
        "DARK": _variables(theme.DARK),
        "STYLE": web.style(
            "known/known.css",
            "report/report.css",
            *dict.fromkeys(sheet for figure, _ in figures for sheet in figure.sheets),
        ),
        "BODY": body,
        "SESSION": json.dumps(session, ensure_ascii=False).replace("<", "\\u003c"),
        "FIGURES": web.together(figures),
        "COPY": web.element("report/main.js", "run(document);"),
    }
    return web.filled(TEMPLATE.read_text("utf-8"), blanks)


# ---------------------------------------------------------------- numbers


def session_facts(trace: Trace, model: CrossFormer, origin: Origin, lang: str = "en") -> dict[str, Any]:
    """The contents of the report as plain values: prediction, model, settings, how to reproduce it."""
    whole, facts = cost(model, *trace.size)["total"], answer_facts(trace, class_names(model, lang), lang)
    grouping = {name: _plain_value(trace.settings[name]) for name in ("group_size", "interval", "lda")}
    return facts | {
        "parameters": whole.params,
        "macs": whole.macs,
        "settings": facts["settings"] | grouping,
        "heads": head_measures(trace),
        "command": reproducing_command(trace, origin, lang),
        "link": app_link(trace, origin, lang),
        "lost": lost_settings(trace, origin),
        "code": notebook_code(trace, origin),
    }  # fmt: skip


def answer_facts(trace: Trace, names: Sequence[str], lang: str) -> dict[str, Any]:
    """What is said of any model: its answer, its weights, the settings, what it saw, how long it took."""
    return {
        "photo": trace.photo,
        "top": [[i, names[i], p] for i, _, p in trace.top(5)],
        "probs": trace.probs.tolist(),
        "shown": None if trace.shown is None else list(trace.shown),
        "model": trace.model,
        "weights": {key: getattr(trace.weights, key) for key in ("source", "sha256", "trained", "dataset")},
        "settings": {
            "size": list(trace.size), "mode": trace.settings["mode"], "dtype": trace.dtype,
            "device": trace.device, "lang": lang, "centre": list(centre_of(trace)),
            **({"strokes": strokes} if (strokes := strokes_of(trace)) else {}),
        },
        "framing": frame_of(trace).sentence(translator(lang)),
        "seconds": trace.seconds,
        "versions": software_versions(),
    }  # fmt: skip


def software_versions() -> dict[str, str]:
    """Versions of the software that computed the numbers."""
    others = {name: version(name) for name in ("torch", "timm", "numpy")}
    return {"cfviz": cfviz.__version__, **others, "python": platform.python_version()}


def head_measures(trace: Trace) -> list[dict[str, Any]]:
    """Measures of every head, as on the attention page: distance in pixels, entropy in bits."""
    rows = []
    for s, blocks in enumerate(trace.groupings):
        for b, g in enumerate(blocks):
            probs = trace[point_names.attention(s, b)]
            far, wide = distance(probs, g, token_box(s, 0, 0)[2]), entropy(probs, g)
            at = {"stage": s + 1, "block": b + 1, "kind": g.kind.upper()}
            rows += [
                at | {"head": h + 1, "distance": float(d), "entropy": float(e)}
                for h, (d, e) in enumerate(zip(far, wide, strict=True))
            ]
    return rows


def reproducing_command(trace: Trace, origin: Origin, lang: str) -> str:
    """The command that reproduces this report."""
    form = ["--lda", str(trace.settings["lda"])] if _form_is_stated(trace, origin) else []
    return command_of(trace, origin, lang, form)


def command_of(trace: Trace, origin: Origin, lang: str, more: Sequence[str] = ()) -> str:
    """The command for the report of any model; `more` stands for options of its own."""
    parts = ["python", "-m", "cfviz", "report", origin.path, "--model", trace.model]
    parts += ["--weights", origin.weights] if origin.weights else []
    parts += ["--size", size_code(trace.size), "--dtype", trace.dtype, "--mode", str(trace.settings["mode"])]
    if (centre := centre_of(trace)) != CENTRE:
        parts += ["--centre", centre_code(centre)]
    parts += ["--brush", strokes] if (strokes := strokes_of(trace)) else []
    parts += [*more, "--device", trace.device, "--lang", lang, "--out", "report.html"]
    return " ".join(map(quote, parts))


def centre_of(trace: Trace) -> Centre:
    """Where the photo was cropped."""
    return cast(Centre, trace.settings.get("centre", CENTRE))


def strokes_of(trace: Trace) -> str:
    """What was painted over the input, as in a link; empty if nothing was."""
    return str(trace.settings.get("strokes", ""))


def lost_settings(trace: Trace, origin: Origin) -> list[str]:
    """The settings that a link cannot carry: any of "photo", "weights" and "dtype"."""
    carried = {
        "photo": origin.photo is not None,
        "weights": trace.weights.source in ("bundled", "official"),
        "dtype": trace.dtype in DTYPES,
    }
    return [name for name, there in carried.items() if not there]


def app_link(trace: Trace, origin: Origin, lang: str) -> str:
    """A link to the app with these settings, except those in `lost_settings`."""
    usual = {"dtype": "float32", "mode": "crop", "centre": centre_code(CENTRE)}
    query = {"model": trace.model, "size": size_code(trace.size), "lang": lang}
    query |= {"photo": origin.photo or "", "dtype": trace.dtype, "mode": str(trace.settings["mode"])}
    query |= {"centre": centre_code(centre_of(trace))}
    query |= {"lda": "whole"} if trace.settings["lda"] == "whole" else {}
    if not query["photo"]:
        query["centre"] = usual["centre"]  # it belongs to the photo
    missing = [*lost_settings(trace, origin), *(name for name in usual if query[name] == usual[name])]
    query = {name: value for name, value in query.items() if name not in missing}
    strokes = strokes_of(trace)
    page, query = ("lab", query | {"brush": strokes}) if strokes else ("attention", query)
    return f"{origin.address.rstrip('/')}/{page}?{urlencode(query)}"


def _form_is_stated(trace: Trace, origin: Origin) -> bool:
    """Whether to state the form of long distance attention: a file of weights may imply either."""
    return bool(trace.settings["lda"] != "regions" or origin.weights not in (None, "official", "none"))


def notebook_code(trace: Trace, origin: Origin) -> str:
    """Notebook code that computes the same numbers and draws the same figure."""
    given = {None: "", "none": ", weights=None"}.get(origin.weights, f", weights={origin.weights!r}")
    size, photo = as_size(*trace.size), photo_code(trace, origin)
    more = arguments_code(unusual(trace) | {"device": trace.device})
    more += f", lda={trace.settings['lda']!r}" if _form_is_stated(trace, origin) else ""
    return f"""import cfviz
from cfviz.report import WATCH

model = cfviz.create_model({trace.model!r}{given})
trace = cfviz.inspect({photo}, model, {size}, WATCH{more})
for index, name, probability in trace.top(5):
    print(f"{{name:30}} {{probability:.1%}}")
trace  # at the end of a cell: the figure that moves"""


def unusual(trace: Trace) -> dict[str, Any]:
    """The number format, the mode and the centre as arguments of `inspect`, where they are not its own."""
    usual = {"dtype": "float32", "mode": "crop", "centre": CENTRE}
    given = {"dtype": trace.dtype, "mode": str(trace.settings["mode"]), "centre": centre_of(trace)}
    return {name: value for name, value in given.items() if value != usual[name]}


def arguments_code(given: Mapping[str, Any]) -> str:
    """Further arguments of a call, as code."""
    return "".join(f", {name}={value!r}" for name, value in given.items())


def photo_code(trace: Trace, origin: Origin) -> str:
    """The photo as code, with what was painted over it."""
    strokes = strokes_of(trace)
    return f"cfviz.load_image({origin.path!r}).brushed({strokes!r})" if strokes else repr(origin.path)


# ---------------------------------------------------------------- figures


def attention_message(trace: Trace, lang: str) -> bytes:
    """The attention figure's message, with as many blocks as fit in a file."""
    return notebook.pack(trace, lang).data


def embedding_message(trace: Trace, model: CrossFormer, lang: str) -> bytes:
    """The embedding figure's message: each kernel's contribution to each token."""
    strings = figure_words("embedding", lang)
    cels = [cel(layer(model, s), trace[point_names.embedding(s)]) for s in range(4)]
    row, col = int(0.4 * cels[0].tokens.shape[0]), int(0.45 * cels[0].tokens.shape[1])
    assert trace.crop is not None  # `html` refuses traces without one
    return pack(cels, photo=trace.crop, strings=strings, start={"row": row, "col": col})


# ---------------------------------------------------------------- words on the page


def said_of(found: Operations, lang: str) -> str:
    """What is said of the operations: where the time goes, and how it was measured."""
    return together(sentence(found, lang).replace("**", ""), how_measured(found, lang))


def figure_section(name: str, t: Mapping[str, str], more: str = "") -> str:
    """A heading, what to look at and an empty box for the figure of that name in `FIGURES`."""
    return (
        f'<h2>{escape(t[name])}</h2><p class="rp-note">{escape(together(t[name + "_look"], more))}</p>'
        f'<section><div class="{FIGURES[name].host}"></div></section>'
    )


def body(
    trace: Trace,
    session: Mapping[str, Any],
    t: Mapping[str, str],
    labels: Sequence[str],
    lang: str,
    sections: Sequence[str],
    facts: str,
    left: str,
) -> str:
    """The page's body, of any model.

    Args:
        trace: The trace.
        session: The contents as plain values.
        t: The report's words.
        labels: Names of the classes.
        lang: "en" or "zh-Hant".
        sections: What stands between the answer and the ranking of parts, as HTML.
        facts: How the report was made, as HTML.
        left: What the report does not have, as HTML.
    """
    random = trace.weights.trained is None
    warn = f'<p class="rp-warn">{escape(t["random"])}</p>' if random else ""
    ranks = ranking_table(session["parts"], labels, t) if session["parts"] else ""
    note = escape(t["parts_look"].format(n=len(session["parts"])))
    parts = [
        f'<h1>{escape(trace.photo or "cfviz")}</h1><p class="rp-lede">{escape(t["lede"])}</p>{warn}',
        f'<div class="rp-top"><img alt="{escape(t["crop"])}" src="{png_uri(trace.crop)}">',
        (
            no_answer(lang)
            if not trace.weights.predicts
            else answers_table(session, t, labels, about_answer(trace, labels, translator(lang)), lang)
        )
        + "</div>",
        *sections,
        f'<h2>{escape(t["parts"])}</h2><p class="rp-note">{note}</p>{ranks}' if ranks else "",
        f"<h2>{escape(t['heads'])}</h2><details><summary>{escape(t['heads_look'])}</summary>",
        heads_table(session, t) + "</details>",
        left,
        f"<h2>{escape(t['made'])}</h2>{facts}",
        f"<h2>{escape(t['again'])}</h2>{again(session, t)}",
    ]
    return "\n".join(parts)


def no_answer(lang: str) -> str:
    """In place of an answer: why there is none."""
    return f'<div><p class="rp-note">{escape(translator(lang)("answer.random"))}</p></div>'


def answers_table(
    session: Mapping[str, Any], t: Mapping[str, str], labels: Sequence[str], line: str, lang: str
) -> str:
    """The likeliest classes, what is known about the first, and a list of all classes."""
    rows = "".join(
        f'<tr data-class="{i}" data-p="{p!r}"><td>{escape(name)}</td><td class="rp-n">{percent(p)}</td>'
        f'<td class="rp-bar"><i style="width:{100 * p:.2f}%"></i></td></tr>'
        for i, name, p in session["top"]
    )
    known = answers.folded_list(translator(lang), labels)
    notes = "".join(
        f'<p class="rp-note">{escape(text)}</p>' for text in (session["framing"], line, t["answers_look"])
    )
    return f'<div><table class="rp-answers">{rows}</table>{notes}{known}</div>'


def left_out(session: Mapping[str, Any], t: Mapping[str, str], lang: str) -> str:
    """What this report does not have, and why."""
    why, comma = {"missing": "left_out", "slow": "left_slow"}, translator(lang)("common.comma")
    lines = [
        t[key].format(names=comma.join(t[name] for name in session[which]))
        for which, key in why.items()
        if session[which]
    ]
    lines += [] if session.get("survey", True) else [t["left_survey"]]
    return "".join(f'<p class="rp-note">{escape(line)}</p>' for line in lines)


def heads_table(session: Mapping[str, Any], t: Mapping[str, str]) -> str:
    """Every head's measures as a table."""
    names = ("stage", "block", "kind", "head", "distance", "entropy")
    head = "".join(f"<th>{escape(t[name])}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{r['stage']}</td><td>{r['block']}</td><td>{r['kind']}</td><td>{r['head']}</td>"
        f"<td>{quantity(format(r['distance'], '.1f'), 'px')}</td>"
        f"<td>{quantity(format(r['entropy'], '.2f'), 'bit')}</td></tr>"
        for r in session["heads"]
    )
    return f'<div class="rp-scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _facts(session: Mapping[str, Any], t: Mapping[str, str]) -> str:
    s, trained = session["settings"], session["weights"]["trained"]
    size = f"{session['parameters'] / 1e6:.2f} M, {session['macs'] / 1e9:.2f} GFLOPs"
    groups = f"; G {s['group_size']}, I {s['interval']}" + (", lda=whole" if s["lda"] == "whole" else "")
    table = facts_table(session, t, f"{session['model']}, {size}", trained, groups)
    return f'{table}<p class="rp-note">{escape(t["flops_note"])}</p>'


def facts_table(
    session: Mapping[str, Any], t: Mapping[str, str], model: str, trained: str | None, groups: str = ""
) -> str:
    """How the report was made, as a table; `groups` is said after the other settings."""
    weights, s = session["weights"], session["settings"]
    rows = {
        "model": model,
        "weights": about(weights["source"], trained or t["random"]),
        "sha256": weights["sha256"] or "–",
        "settings": f"{quantity(size_text(s['size']), 'px')}, {s['mode']}, {s['dtype']}, {s['device']}"
        + groups
        + (f", brush {s['strokes']}" if "strokes" in s else ""),
        "seconds": quantity(f"{1000 * session['seconds']:.0f}", "ms"),
        "versions": ", ".join(f"{name} {number}" for name, number in session["versions"].items()),
    }
    lines = "".join(
        f"<tr><th>{escape(t[key])}</th><td>{escape(text)}</td></tr>" for key, text in rows.items()
    )
    return f'<table class="rp-facts">{lines}</table>'


def again(session: Mapping[str, Any], t: Mapping[str, str]) -> str:
    """The command, the code and the link that lead here."""
    blocks = "".join(
        f'<div class="rp-code"><header><span>{escape(t[name])}</span><button type="button" data-copy '
        f'data-copied="{escape(t["copied"])}">{escape(t["copy"])}</button></header>'
        f'<pre id="rp-{name}">{escape(session[name])}</pre></div>'
        for name in ("command", "code")
    )
    url = escape(session["link"])
    there = f'<p>{escape(t["link"])} <a href="{url}">{url}</a></p>'
    return f"{blocks}{there}{_carried(session, t)}"


def _carried(session: Mapping[str, Any], t: Mapping[str, str]) -> str:
    """A sentence on what the link restores, or what it does not."""
    if not session["lost"]:
        return f'<p class="rp-note">{escape(t["link_note"])}</p>'
    s, source = session["settings"], session["weights"]["source"]
    fields = {
        "model": session["model"], "source": source, "dtype": s["dtype"],
    }  # fmt: skip
    keys = ["random" if name == "weights" and source == "random" else name for name in session["lost"]]
    lines = "".join(f"<li>{escape(t[f'lost_{key}'].format(**fields))}</li>" for key in keys)
    return f'<div class="rp-note"><p>{escape(t["link_lost"])}</p><ul>{lines}</ul></div>'


def png_uri(picture: Image.Image | None) -> str:
    """A picture, as an address that holds it."""
    out = io.BytesIO()
    assert picture is not None  # `html` refuses traces without the pixels that the model saw
    picture.convert("RGB").save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _variables(colours: theme.Theme) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.css().items())


def _plain_value(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else value
