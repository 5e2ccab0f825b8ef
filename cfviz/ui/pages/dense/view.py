"""The parts of the page on detectors and segmenters, in the order of their appearance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz.data.coco import as_results
from cfviz.figures.live import dense as live
from cfviz.figures.live.message import Message, original
from cfviz.measured.dense import DenseSubject
from cfviz.measured.scenes import subject_of
from cfviz.models.room import SHARED, check_room
from cfviz.run import about_findings, on_scenes
from cfviz.ui.compute import dense as models
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.figures import dense as answer
from cfviz.ui.figures import scenes
from cfviz.ui.session import forms, photos
from cfviz.ui.session.plain import plain
from cfviz.ui.session.state import DEFAULT_PHOTO
from cfviz.ui.shell.view import send_original
from cfviz.ui.widgets.answer import show_known
from cfviz.ui.widgets.chart import show_hint
from cfviz.ui.widgets.figure import (
    DENSE,
    about_to_appear,
    committed,
    follow_later,
    follow_up,
    living_figure,
    move_to,
)
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import figure_words, together, translator

from .own import upload

NAME, ATTENTION = "dense.figure", "dense.attention"
START, PLACE, PHOTO = "cfviz.dense.start", "cfviz.dense.place", "cfviz.dense.photo"
SHOWS, SORTS = 6, ("score", "size", "class")
SHARP = 1400  # most pixels of a side of the photo that is sent
LOWEST = 5  # per cent: the least threshold
CODE = """
{imports}

{opening}answer = explain({photo}, {model})
found = answer.views[{view}]  # {which}
{found}
"""
BOXES = """
for box, score, label in zip(found.boxes, found.scores, found.labels):  # boxes in pixels of the input
    if score >= {threshold}:
        print(answer.names[label], f"{{score:.1%}}", box.round())
"""
REGIONS = """
for label, share in zip(found.regions.labels, found.regions.shares):  # found.labels: of each pixel
    print(answer.names[label], f"{{share:.1%}} of the photo")
"""
WHY = """
why = answer.why({place})  # with all stages
print(why.logit)
tokens = why.maps  # what each token contributed, one map for each stage
heads = why.heads  # what each head contributed, by stage and block
pixels = why.field  # effective receptive field, in cells of 4 x 4 pixels
"""


def choose_subject(ctx: Context) -> DenseSubject:
    """The chosen model on the chosen photo; the page ends here, in one sentence, without learned weights."""
    there = models.names()
    if not there:
        upload(ctx)
        ctx.stop(ValueError(ctx.t("dense.no_weights")))
    name = ctx.get("net", there[0], there)
    key = "w.dense.net"
    st.session_state[key] = name

    def adopt() -> None:
        if st.session_state[key] in there:
            ctx.put(net=st.session_state[key], box=-1, row=-1, col=-1, held=0, view=0, show=0)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            ctx.t("dense.model"), there, format_func=lambda one: _title(ctx, one), key=key, on_change=adopt
        )
        upload(ctx)
    try:
        net = models.model(name, ctx.settings.device)
    except (ValueError, FileNotFoundError) as error:
        ctx.stop(error)
    number = _choose_scene(ctx) if on_scenes(net) else 0
    of = f"scene {number}" if number else ctx.photo.sha256
    key = keys.joined(name, net.provenance.sha256, ctx.settings.device, of)  # an id has ten of its letters
    subject = subject_of(net, key, ctx.lang, scenes.composed(number) if number else ctx.photo.image)
    try:
        check_room(net.backbone, *subject.input, None, SHARED)
    except ValueError as error:
        ctx.stop(error)
    return subject


def scene_of(ctx: Context) -> int:
    """The number of the scene that the link or the session names; 0 for the photo.

    Who has chosen nothing yet sees a scene, which is what these models have learned to find things in.
    """
    first = scenes.SCENES[0] if ctx.settings.photo == DEFAULT_PHOTO else 0
    return ctx.get("scene", first, (0, *scenes.SCENES))


def _choose_scene(ctx: Context) -> int:
    """The number of the composed scene to show instead of the photo; 0 for the photo."""
    key, t = "w.dense.scene", ctx.t
    chosen = scene_of(ctx)
    if st.session_state.get(PHOTO, ctx.settings.photo) != ctx.settings.photo:  # the reader chose a photo
        chosen = 0
        ctx.put(scene=0)
    st.session_state.update({PHOTO: ctx.settings.photo, key: chosen})

    def adopt() -> None:
        if st.session_state[key] is not None:
            ctx.put(scene=st.session_state[key])

    st.segmented_control(
        t("dense.scene"), (0, *scenes.SCENES), key=key, required=True, on_change=adopt,
        format_func=lambda n: t("dense.scene_n", n=n) if n else t("dense.scene_photo"),
    )  # fmt: skip
    return chosen


def _title(ctx: Context, name: str) -> str:
    return f"{plain(models.title(name))} · {ctx.t(f'common.weights_are_{models.source_of(name)}')}"


def selection_from_link(ctx: Context, subject: DenseSubject) -> dict[str, Any]:
    """The reader's place: threshold in per cent, view, what is shown, order, and the box or pixel held."""
    found = answer.first(subject.source, subject).answer
    boxes = found.views[0].boxes
    (h, w), most = found.size, 0 if boxes is None else len(boxes)
    here = {
        "threshold": ctx.get("threshold", 30, range(LOWEST, 96)),
        "view": ctx.get("view", 0, range(len(left_out(subject)))),
        "show": ctx.get("show", 0, range(len(found.groupings) + 2)),
        "sort": ctx.get("sort", "score", SORTS),
        "box": ctx.get("box", -1, range(most)),
        "row": ctx.get("row", -1, range(0 if boxes is not None else h)),
        "col": ctx.get("col", -1, range(0 if boxes is not None else w)),
        "held": ctx.get("held", 0, (0, 1)),
        "truth": ctx.get("truth", 0, (0, 1)),
    }
    if here["row"] < 0 or here["col"] < 0:
        here["row"] = here["col"] = -1
    if here["box"] < 0 and here["row"] < 0:
        here["held"] = 0
    return here


def left_out(subject: DenseSubject) -> tuple[int | None, ...]:
    """What each view leaves out: nothing, then one stage each, from 0."""
    return (None, *subject.left_out)


@cached(64, 96 * 2**20)
def packed_message(source: str, lang: str, whole: bool, _subject: DenseSubject) -> Message:
    """The figure's message, shared by all who look at the same photo and model.

    Args:
        source: The photo and the model.
        lang: The reader's language.
        whole: With all views; otherwise with the first, which needs a third of the time, and the rest follow.
    """
    found = answer.in_use(source, _subject, int(whole)).answer
    return live.pack(
        replace(found, names=_subject.names),  # in the reader's language
        strings=figure_words("dense", lang), name=NAME, source=source, explained=_subject.explainable,
    )  # fmt: skip


@cached(64, 96 * 2**20)
def packed_others(source: str, lang: str, _subject: DenseSubject) -> bytes:
    """The views that the figure's message named as pending."""
    found = replace(answer.seen(source, _subject).answer, names=_subject.names)
    return live.others(found, name=NAME, source=source)


@cached(64, 64 * 2**20)
def packed_reasons(source: str, _subject: DenseSubject) -> bytes:
    """What the best scores rest on, sent after the figure."""
    return live.reasons(answer.reasons_ahead(source, _subject), name=NAME, source=source)


@cached(64, 16 * 2**20)
def _original(source: str, _subject: DenseSubject) -> bytes:
    """The photo in its own sharpness, for the figure."""
    photo = _subject.photo.copy()
    photo.thumbnail((SHARP, SHARP), Image.Resampling.LANCZOS)
    return original(_subject.seen_pixels, photo)


def show_figure(ctx: Context, subject: DenseSubject) -> None:
    """The figure, then its answers without a stage and what its best scores rest on.

    What is held is explained for itself. A reader who looks at an answer without a stage gets all at once.
    """
    before = st.session_state.get(START)
    if before is not None and before[0][0] != subject.source:  # what was held is not in this photo
        ctx.put(box=-1, row=-1, col=-1, held=0)
    try:
        here = selection_from_link(ctx, subject)
    except ValueError as error:
        ctx.stop(error)
    appears = about_to_appear(NAME)
    kept = st.session_state.get(START)
    fresh = appears or kept is None or kept[0] != (subject.source, ctx.lang)
    if fresh or kept is None:
        kept = st.session_state[START] = ((subject.source, ctx.lang), here)
    begin = kept[1] | {"threshold": kept[1]["threshold"] / 100}
    whole = bool(begin["view"])
    packed = packed_message(subject.source, ctx.lang, whole, subject)
    ctx.computed()

    def commit() -> None:
        told = committed(NAME, forms.DENSE)
        if told:
            at = {name: told.pop(name) for name in ("stage", "block", "head") if name in told}
            ctx.put(
                **{name: int(value) if isinstance(value, bool) else value for name, value in told.items()}
            )
            if at:
                ctx.put(at=f"{at['stage']}.{at['block']}.{at['head']}")

    show_hint(_look(ctx, subject))
    st.caption(_honest(ctx, subject, here, plain))
    DENSE.show(packed.at(begin).data, name=NAME, on_commit=commit)
    send_original(_original(subject.source, subject), "dense.original")
    # The other answers, and what the scores rest on, take longer than the first answer.
    others = (f"{NAME}.views", partial(packed_others, subject.source, ctx.lang, subject))
    reasons = (NAME, partial(packed_reasons, subject.source, subject))
    follow_later(subject.source, *([others] if packed.header["pending"] else []), reasons)
    of = held(here)
    mine = answer.reason_for(subject.source, of, subject) if of and subject.explainable else ()
    name = f"{NAME}.held"
    follow_up(live.reasons(mine, name=name, source=subject.source), name=name)


def _look(ctx: Context, subject: DenseSubject) -> str:
    """What to do with the figure; a large model is not asked without its stages, or not explained at all."""
    t, task = ctx.t, subject.model.task
    if subject.quick and subject.explainable:
        return t(f"dense.look_{task}")
    click = t("dense.look_compute" if subject.explainable else "dense.look_hold")
    return together(t(f"dense.look_{task}_plain"), click)


def held(here: dict[str, Any]) -> str | None:
    """The name of the score that the reader holds; None if there is none."""
    if not here["held"]:
        return None
    return f"box.{here['box']}" if here["box"] >= 0 else f"pixel.{here['row']}.{here['col']}"


def _honest(
    ctx: Context, subject: DenseSubject, here: dict[str, Any], safe: Callable[[str], str] | None = None
) -> str:
    """What the weights learned on, and what an answer on this photo is worth.

    Args:
        ctx: The page.
        subject: The model and the photo.
        here: The reader's place.
        safe: Makes names of files harmless in Markdown; None for a text in a file, where there is no sidebar.
    """
    net, t = subject.model, ctx.t
    told = [net.provenance.sentence(t, safe or str), net.provenance.terms(t)]
    if subject.truth is not None:
        told.append(t("dense.on_scene"))
    elif remark := about_findings(net, ctx.photo.sha256, t):
        told.append(remark)
    h, w = subject.fitted.size
    told.append(t("dense.exact" if safe else "dense.exact_file", h=h, w=w))
    found = answer.in_use(subject.source, subject, here["view"]).answer
    return together(*told, scenes.judged(t, found, here["threshold"] / 100, here["view"]))


def show_footer(ctx: Context, subject: DenseSubject) -> None:
    """Below the figure: what the model knows, its code, its findings in COCO's format."""
    t, here = ctx.t, selection_from_link(ctx, subject)
    code = _code(ctx, subject, here)
    show_known(ctx, "", subject.names, "dense")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        take_away(ctx, "dense", code=code)
        if subject.model.task == "detect":
            st.download_button(
                t("dense.coco"), partial(coco_json, subject, here["threshold"] / 100, here["view"]),
                "cfviz-detections.json", "application/json", type="tertiary", icon=":material/data_object:",
                on_click="ignore", help=t("dense.coco_help"),
            )  # fmt: skip
        facts = [_honest(ctx, subject, here), code]
        page = partial(offline_page, subject, here, facts, ctx.lang)
        st.download_button(
            t("dense.offline"), page, "cfviz-dense.html", "text/html", type="tertiary",
            icon=":material/file_save:", on_click="ignore", help=t("dense.offline_help"),
        )  # fmt: skip


def coco_json(subject: DenseSubject, threshold: float, number: int) -> bytes:
    """The boxes of a view from a score on, in COCO's result format and in pixels of the photo."""
    view = answer.seen(subject.source, subject).answer.views[number]
    assert view.boxes is not None  # the button is offered for detectors
    assert view.scores is not None
    vertical, horizontal = subject.fitted.scale
    kept = view.scores >= np.float32(threshold)  # as in the figure
    boxes = view.boxes[kept] / np.array([horizontal, vertical, horizontal, vertical])
    coco = subject.model.provenance.dataset == "coco"
    categories = None if coco else list(range(1, subject.model.num_classes + 1))
    results = as_results(1, boxes, view.scores[kept], view.labels[kept], None, categories)
    return json.dumps(results).encode()


def offline_page(subject: DenseSubject, here: dict[str, Any], facts: list[str], lang: str) -> bytes:
    """The figure with all that it explains, as a page that needs no server; made without the session."""
    packed = packed_message(subject.source, lang, True, subject)
    packed = packed.at(here | {"threshold": here["threshold"] / 100}, figure_words("dense", lang))
    given = answer.reasons_ahead(subject.source, subject)
    if (of := held(here)) is not None and subject.explainable:
        given += answer.reason_for(subject.source, of, subject)
    rest = live.reasons(given, name=NAME, source=subject.source)
    return live.html(packed, rest, translator(lang)("dense.title"), facts, lang).encode()


def _code(ctx: Context, subject: DenseSubject, here: dict[str, Any]) -> str:
    """The lines of Python that find what is in sight, and what is held."""
    net, imports, opening = subject.model, ["from cfviz.measured.dense import explain"], ""
    name, source = net.pretrained_cfg["architecture"], net.provenance.source
    model, photo = f'"{name}"', photos.named(ctx.settings.photo)
    if source != "bundled":
        imports.insert(0, "import cfviz")
        model = f'cfviz.create_model("{name}", weights={source!r})'
    if subject.truth is not None:
        photo, opening = "photo", scenes.code(scene_of(ctx)) + "\n"
    left = left_out(subject)[here["view"]]
    found = (BOXES if net.task == "detect" else REGIONS).format(threshold=here["threshold"] / 100)
    code = CODE.format(
        imports="\n".join(imports), opening=opening, photo=photo, model=model, view=here["view"],
        which="with all stages" if left is None else f"without stage {left + 1}", found=found.strip(),
    )  # fmt: skip
    if here["box"] >= 0:
        code += WHY.format(place=f"box={here['box']}")
    elif here["row"] >= 0:
        code += WHY.format(place=f"pixel=({here['row']}, {here['col']})")
    return code


# ------------------------------------------------------------------ attention


def show_attention(ctx: Context, subject: DenseSubject) -> None:
    """The attention of the backbone where the reader holds a box or a pixel."""
    t, found = ctx.t, answer.first(subject.source, subject).answer
    here = selection_from_link(ctx, subject)
    st.header(t("dense.attention_title"), anchor=False)
    if not subject.explainable:
        h, w = subject.input
        st.info(t("dense.too_large", h=h, w=w), icon=":material/memory:")
        return
    of = held(here)
    if of is None:
        st.caption(t("dense.attention_hold"))
        return
    (why,) = answer.reason_for(subject.source, of, subject)
    place = attention_place(ctx, why, here, found)
    at = {name: place[name] + 1 for name in ("stage", "block", "head")}
    show_hint(together(t("dense.attention_look", **at), t("dense.attention_all") if here["view"] else ""))
    try:
        packed = answer.attention_message(subject.source, subject, ATTENTION)
    except ValueError as error:
        st.info(str(error), icon=":material/memory:")
        return
    kept = st.session_state.get(PLACE)
    if about_to_appear(ATTENTION) or kept is None or kept[0] != subject.source:
        kept = st.session_state[PLACE] = [subject.source, place, place]
    elif kept[2] != place:
        move_to(ATTENTION, **place)
        kept[2] = place
    living_figure(packed.at(kept[1], figure_words("attention", ctx.lang)).data, name=ATTENTION)


def attention_place(
    ctx: Context, why: live.Reason, here: dict[str, Any], found: live.Answer
) -> dict[str, Any]:
    """Where to look: the head that the reader chose, else the one that speaks most for the score.

    The token is that of the pixel, or of the middle of the box.
    """
    heads = [
        (s, b, h)
        for s, blocks in enumerate(why.heads)
        for b, one in enumerate(blocks)
        for h in range(len(one))
    ]
    named = {f"{s}.{b}.{h}": (s, b, h) for s, b, h in heads}
    best = max(heads, key=lambda at: float(why.heads[at[0]][at[1]][at[2]]))
    s, b, h = named.get(ctx.get("at", "", named), best)
    row, col = here["row"], here["col"]
    if here["box"] >= 0:
        boxes = found.views[0].boxes
        assert boxes is not None  # boxes can be held where there are some
        x1, y1, x2, y2 = boxes[here["box"]]
        row, col = (y1 + y2) / 2, (x1 + x2) / 2
    g = found.groupings[s][0]
    stride = found.input[0] // g.H
    return {
        "stage": s, "block": b, "head": h, "locked": True,
        "row": min(int(row // stride), g.H - 1), "col": min(int(col // stride), g.W - 1),
    }  # fmt: skip
