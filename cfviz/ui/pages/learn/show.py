"""The figure of a step: one of the app's own figures, moved to the step's place and given its question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz.figures.live import attention, dense, embedding, position_bias
from cfviz.figures.plots.lab import board
from cfviz.geometry import Grouping, grouping, map_sizes
from cfviz.lessons.course import Step
from cfviz.lessons.question import Question, Scene, State, block_of, partition_of, token_at
from cfviz.lessons.tensors import CONCAT, attention_block, changed, moved, parts_of, watched
from cfviz.measured import cel
from cfviz.measured.dense import DenseSubject
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import to_url
from cfviz.models.probes.embedding import layer
from cfviz.stats import softmax
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.figures.dense import seen
from cfviz.ui.figures.grouping import show_grouping
from cfviz.ui.figures.lab_board import board_frame, part_address
from cfviz.ui.figures.position_bias import subject_of
from cfviz.ui.session import forms
from cfviz.ui.widgets.figure import (
    DENSE,
    EMBEDDING,
    LAB,
    POSITION_BIAS,
    about_to_appear,
    committed,
    drive,
    living_figure,
)
from cfviz.words import figure_words, percent, short_name

from .scenes import SEGMENTER, labelled

LIMIT = 16_000_000  # bytes of a message: enough for one block of the largest model at the largest size
NONCE = "cfviz.learn.nonce"  # grows whenever a figure reappears, so that it is moved to its place again

# Questions with options that can be chosen in the figure, too.
IN_FIGURE = (
    "farthest_head", "most_channels", "carries_most", "nearest_head", "kernel_matters", "head_matters",
)  # fmt: skip


@dataclass(frozen=True)
class StepState:
    """A step on the screen.

    Attributes:
        step: The step on show.
        scene: The step's subject.
        question: The question asked.
        picked: The current picks, or the answer given.
        open: Whether the question is still open.
        id: A key for this attempt at this step.
        source: A cache key of photo, model and size.
        words: The map's labels for screen readers: "label", "on", "off".
        take: Called with (id, picked) when the reader picks something.
        big: Whether the page is projected.
    """

    step: Step
    scene: Scene
    question: Question
    picked: tuple[str, ...]
    open: bool
    id: str
    source: str
    words: Mapping[str, str]
    take: Callable[[str, list[str]], None]
    big: bool = False

    @property
    def state(self) -> dict[str, Any]:
        """The figure's current state."""
        return {**self.step.state, **({} if self.open else self.step.after)}

    @property
    def head(self) -> int:
        """The head to show, from 0, if heads are asked for: the one picked or, once answered, a right one."""
        fine = self.open or self.question.good.issuperset(self.picked)
        shown = self.picked if fine else sorted(self.question.good, key=int)
        return int(shown[0]) - 1 if shown else 0

    def name(self, *parts: object) -> str:
        """A figure's name, different for every different message."""
        digest = sha256(keys.joined(self.source, *parts).encode()).hexdigest()[:10]
        return f"learn.{self.step.figure}.{digest}"


def show_figure(ctx: Context, now: StepState) -> None:
    """Show the step's figure."""
    FIGURES[now.step.figure](ctx, now)


def _listen(name: str, now: StepState) -> Callable[[], None]:
    def commit() -> None:
        told = committed(name, forms.ANSWER)
        if told and "quiz" in told and "picked" in told:
            now.take(told["quiz"], told["picked"])

    return commit


def _drive(name: str, now: StepState, to: dict[str, Any], quiz: dict[str, Any]) -> None:
    if about_to_appear(name):
        st.session_state[NONCE] = st.session_state.get(NONCE, 0) + 1
    seq = f"{st.session_state.get(NONCE, 0)}.{now.id}.{now.open}.{sorted(to.items())}"
    drive(name, seq, to, {"id": now.id, "open": now.open, "picked": list(now.picked), **quiz})


# ---------------------------------------------------------------- on the photo


def _living(ctx: Context, now: StepState) -> None:
    """Groups on the photo, the model's or made up, with or without attention."""
    units, stride, place = _units(now)
    key = (now.step.figure, *(unit.grouping for unit in units), ctx.lang)
    name = now.name(*key)
    photo = now.scene.trace().crop
    assert photo is not None  # traces of photos have one
    if now.step.figure == "map":
        photo = _middle(photo)
    packed = _packed(now.source, name, ctx.lang, stride, units, photo)
    question, pointed = now.question, now.question.kind in ("token", "tokens")
    heads = now.step.ask == "farthest_head"
    answer = sorted(question.good if pointed else question.marks)
    quiz = {
        "pick": question.kind if pointed else "head" if heads and now.open else None,
        "right": None if now.open else answer,
        "blank": bool(now.state.get("plain")) or (now.open and pointed and now.step.figure == "map"),
        "cold": now.open and pointed,
        "panels": ["heads"] if heads else [] if now.open or not units[0].nbytes else ["readout"],
        "big": now.big,
        "words": dict(now.words),
    }
    to = {**place, "locked": pointed or now.step.figure == "map", "head": now.head if heads else 0}
    _listening = _listen(name, now)
    living_figure(packed, name=name, on_commit=_listening, driver=False)
    _drive(name, now, to, quiz)


def _middle(photo: Image.Image) -> Image.Image:
    """The middle of a photo as a square, on which a made-up square map lies undistorted."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def _units(now: StepState) -> tuple[list[attention.Unit], float, dict[str, int]]:
    """The units to pack, pixels per token, and the figure's place."""
    scene, state = now.scene, now.state
    if now.step.figure == "map":
        side = state["side"]
        both = [grouping(kind, side, side, state["G"], state["I"]) for kind in ("sda", "lda")]
        row, col = token_at(state, side, side)
        units = [attention.Unit(0, b, g) for b, g in enumerate(both)]
        place = {"stage": 0, "block": int(state["kind"] == "lda"), "row": row, "col": col}
        return units, min(scene.sides) / side, place
    s, b, g = attention_block(scene, state)
    row, col = token_at(state, g.H, g.W)
    place = {"stage": s, "block": b, "row": row, "col": col}
    if now.step.figure == "groups":
        return [attention.Unit(s, b, g)], scene.sides[0] / g.H, place
    trace = scene.trace(*watched(s, b, "q", "k", "bias", "probs"))
    unit = next(u for u in attention.units(trace.arrays, trace.groupings) if (u.stage, u.block) == (s, b))
    return [unit], scene.sides[0] / g.H, place


@cached(24, 96 * 2**20)
def _packed(source: str, name: str, lang: str, stride: float, _units: Any, _photo: Any) -> bytes:
    size = (_photo.height, _photo.width)
    strides: Any = {unit.stage: stride for unit in _units}  # not an integer for a made-up map
    return attention.pack(
        _units, size=size, strides=strides, strings=figure_words("attention", lang), photo=_photo, name=name,
        source=source, limit=LIMIT,
    ).data  # fmt: skip


# ---------------------------------------------------------------- the other figures


def _explorer(ctx: Context, now: StepState) -> None:
    g, state = partition_of(now.scene, now.state), now.state
    silent = now.open or now.step.ask == "scores_growth"  # costs shown are for groups, which come later
    show_grouping(ctx.lang, start=_map_state(now.scene, state, g), lesson="ask" if silent else "told")


def _map_state(scene: Scene, state: State, g: Grouping) -> dict[str, Any]:
    """A map's state as the grouping figures expect it."""
    channels, interval, G, form = 96, g.I, state.get("G"), state.get("form", "regions")
    if "side" not in state:
        s, _ = block_of(scene.groupings(state.get("size")), state["stage"], state["kind"])
        channels = scene.model.feature_info[s]["num_chs"]
        interval = max(one.I for one in scene.groupings(state.get("size"))[s])
        G, form = scene.model.group_size[s], scene.model.lda
    row, col = min(20, g.H // 2), min(20, g.W // 2)
    return {
        "h": g.H, "w": g.W, "g": G, "i": interval, "form": form, "kind": g.kind, "c": channels,
        "row": row, "col": col,
    }  # fmt: skip


def _embedding(ctx: Context, now: StepState) -> None:
    name = now.name(ctx.lang)
    trace = now.scene.trace(CONCAT)
    data = _embedding_packed(now.source, name, ctx.lang, now.scene.model, trace)
    row, col = token_at(now.state, *trace[CONCAT].shape[:2])
    EMBEDDING.show(data, name=name, on_commit=_listen(name, now))
    pick = "kernel" if now.question.kind == "one" and now.question.options[0].key == "option.kernel" else None
    chosen = [k for k in embedding_kernels(now) if str(k) in now.picked][:1]
    kernel = embedding_kernels(now).index(chosen[0]) if chosen and now.step.ask == "carries_most" else None
    to = {"row": row, "col": col, "kernel": kernel, "stay": now.step.ask != "carries_most" or now.open}
    show = {"most_channels": "facts", "carries_most": "shares"}.get(now.step.ask, "")
    _drive(name, now, to, {"pick": pick, "show": show})


def embedding_kernels(now: StepState) -> list[int]:
    """Sides of the kernels of the first embedding layer."""
    return list(layer(now.scene.model, 0).kernels)


@cached(12, 32 * 2**20)
def _embedding_packed(source: str, name: str, lang: str, _model: CrossFormer, _trace: Any) -> bytes:
    made = cel(layer(_model, 0), _trace[CONCAT])
    return embedding.pack([made], photo=_trace.crop, strings=figure_words("embedding", lang), name=name)


def _bias(ctx: Context, now: StepState) -> None:
    subject = subject_of(ctx)
    s, b, _ = attention_block(now.scene, now.state)
    block, part = subject.blocks[subject.places.index((s, b))], now.state["part"]
    name = now.name(part, s, b, ctx.lang)
    strings = figure_words("position_bias", ctx.lang)
    data = position_bias.pack([block], part, strings=strings, source=name, name=name)
    POSITION_BIAS.show(data, name=name, on_commit=_listen(name, now))
    to: dict[str, Any] = {"block": 0}
    if part == "resized":
        G = (block.trained or block.G) * (1 if now.open else 2)
        to |= {"Gh": G, "Gw": G}
    elif now.step.ask == "nearest_head":
        to["head"] = now.head
    _drive(name, now, to, {"pick": "head" if now.step.ask == "nearest_head" else None})


def _board(ctx: Context, now: StepState) -> None:
    parts = parts_of(now.step.ask, now.scene, now.state)
    places = [part_address(part) for part in parts]
    codes = [option.code for option in now.question.options]
    swap = now.step.ask == "kind_swap"
    at = {} if swap else dict(zip(codes, places, strict=True))
    back = {place: code for code, place in at.items()}
    found: dict[str, Any] = {"effects": None, "top": 1.0}
    if not now.open:
        found = _effects(ctx, now, parts, places)

    def commit() -> None:
        told = committed(name, forms.ANSWER) or {}
        picked = [back[one] for one in told.get("picked", ()) if one in back]
        if "quiz" in told and picked:
            now.take(told["quiz"], picked)

    name = now.name(now.step.ask)
    quiz = {
        "id": now.id, "open": now.open and not swap, "places": places,
        "picked": [at[code] for code in now.picked if code in at],
        "right": [] if now.open else [at[code] for code in now.question.good if code in at],
    }  # fmt: skip
    data = board_frame(ctx) | found
    data |= {
        "do": to_url(parts) if swap and not now.open else "", "how": "zero", "seq": 0, "measured": "zero",
        "unit": "logit", "waits": False, "label": short_name(ctx.labels[now.scene.trace().top(1)[0][0]]),
        "quiz": quiz,
    }  # fmt: skip
    LAB.show(data, name=name, on_commit=commit)


def _effects(ctx: Context, now: StepState, parts: list[Any], places: list[str]) -> dict[str, Any]:
    """The parts' colours: the effect of each on the answer's logit."""
    logits, first = changed(now.scene, parts), now.scene.trace().top(1)[0][0]
    probs = [percent(float(p)) for p in softmax(logits)[:, first]]
    winners = ["" if w == first else short_name(ctx.labels[int(w)]) for w in logits.argmax(-1)]
    return board(places, np.asarray(moved(now.scene, parts)), probs, winners)


def _scene(ctx: Context, now: StepState) -> None:
    """What the segmenter answers; only once answered, also without each stage, beginning with a right one."""
    subject, _ = labelled(now.state["scene"], ctx.lang)
    name = now.name(ctx.lang)
    DENSE.show(_scene_packed(subject.source, name, ctx.lang, now.open, now, subject), name=name)


@cached(12, 32 * 2**20)
def _scene_packed(
    source: str, name: str, lang: str, asked: bool, _now: StepState, _subject: DenseSubject
) -> bytes:
    told = seen(source, _subject).answer
    views = told.views[:1] if asked else told.views
    best = min(map(int, _now.question.good))
    start = {} if asked else {"view": [view.without for view in views].index(best - 1)}
    return dense.pack(
        replace(told, views=views, names=_subject.names), strings=figure_words("dense", lang), start=start,
        name=name, source=f"{source} {asked}", explained=False,
    ).data  # fmt: skip


FIGURES: dict[str, Callable[[Any, StepState], None]] = {
    "map": _living, "groups": _living, "attention": _living, "explorer": _explorer, "embedding": _embedding,
    "bias": _bias, "board": _board, "scene": _scene,
}  # fmt: skip


# ---------------------------------------------------------------- the full pages, at the same place


def sandbox(now: StepState) -> tuple[str, dict[str, str]]:
    """The page outside the lessons that shows the same figure, and the parameters of its link."""
    scene, state, kind = now.scene, now.state, now.step.figure
    if kind in ("map", "explorer"):
        g = partition_of(scene, state)
        shown = _map_state(scene, state, g)
        row, col = token_at(state, g.H, g.W) if "token" in state else (shown["row"], shown["col"])
        interval = state.get("I", shown["i"])
        query = {"map": f"{g.H}x{g.W}", "g": shown["g"], "i": interval, "form": shown["form"]}
        query |= {"kind": state["kind"], "q": f"{row}.{col}"}
        return "grouping", {key: str(value) for key, value in query.items()}
    if kind in ("groups", "attention"):
        s, b, g = attention_block(scene, state)
        row, col = token_at(state, g.H, g.W)
        counted = {"stage": s + 1, "block": b + 1, "row": row, "col": col, "held": 1}
        return "attention", {key: str(value) for key, value in counted.items()}
    if kind == "embedding":
        row, col = token_at(state, *map_sizes(*scene.sides)[0])
        return "embedding", {"cel": "1", "measure": "carried", "row": str(row), "col": str(col)}
    if kind == "scene":
        return "dense", {"net": SEGMENTER, "scene": str(state["scene"])}
    if kind == "bias":
        s, b, _ = attention_block(scene, state)
        return "position_bias", {"stage": str(s + 1), "block": str(b + 1)}
    return "lab", {"do": to_url(parts_of(now.step.ask, scene, state)[:1])}
