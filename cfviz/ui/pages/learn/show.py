"""The figure of a step: one of the app's own figures, moved to the step's place and given its question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import streamlit as st
from PIL import Image

from cfviz.figures.live import attention, dense, embedding, position_bias
from cfviz.lessons.course import Step
from cfviz.lessons.figures import Order, made_up, order, state_of
from cfviz.lessons.question import Question, Scene
from cfviz.lessons.tensors import CONCAT, attention_block, watched
from cfviz.measured import cel
from cfviz.measured.dense import DenseSubject
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.embedding import layer
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.figures.dense import seen
from cfviz.ui.figures.grouping import show_grouping
from cfviz.ui.figures.lab_board import board_frame
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
from cfviz.words import figure_words

from .scenes import labelled

LIMIT = 16_000_000  # bytes of a message: enough for one block of the largest model at the largest size
NONCE = "cfviz.learn.nonce"  # grows whenever a figure reappears, so that it is moved to its place again


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

    @property
    def state(self) -> dict[str, Any]:
        """The figure's current state."""
        return state_of(self.step, self.open)

    @property
    def order(self) -> Order:
        """Where the figure is sent, and what it is asked."""
        return order(self.step, self.scene, self.question, self.open)

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


def _drive(name: str, now: StepState, **more: Any) -> None:
    """Send the figure to the step's place and ask it the step's question, with what only the page knows."""
    if about_to_appear(name):
        st.session_state[NONCE] = st.session_state.get(NONCE, 0) + 1
    asked = now.order
    to = asked.at(now.question, now.picked, now.open)
    seq = f"{st.session_state.get(NONCE, 0)}.{now.id}.{now.open}.{sorted(to.items())}"
    drive(name, seq, to, {"id": now.id, "open": now.open, "picked": list(now.picked), **asked.quiz, **more})


# ---------------------------------------------------------------- on the photo


def _living(ctx: Context, now: StepState) -> None:
    """Groups on the photo, the model's or made up, with or without attention."""
    units, stride = _units(now)
    key = (now.step.figure, *(unit.grouping for unit in units), ctx.lang)
    name = now.name(*key)
    photo = now.scene.trace().crop
    assert photo is not None  # traces of photos have one
    if now.step.figure == "map":
        photo = _middle(photo)
    packed = _packed(now.source, name, ctx.lang, stride, units, photo)
    living_figure(packed, name=name, on_commit=_listen(name, now), driver=False)
    _drive(name, now, words=dict(now.words))


def _middle(photo: Image.Image) -> Image.Image:
    """The middle of a photo as a square, on which a made-up square map lies undistorted."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def _units(now: StepState) -> tuple[list[attention.Unit], float]:
    """The units to pack, and pixels per token."""
    scene, state = now.scene, now.state
    if now.step.figure == "map":
        units = [attention.Unit(0, b, g) for b, g in enumerate(made_up(state))]
        return units, min(scene.sides) / state["side"]
    s, b, g = attention_block(scene, state)
    if now.step.figure == "groups":
        return [attention.Unit(s, b, g)], scene.sides[0] / g.H
    trace = scene.trace(*watched(s, b, "q", "k", "bias", "probs"))
    unit = next(u for u in attention.units(trace.arrays, trace.groupings) if (u.stage, u.block) == (s, b))
    return [unit], scene.sides[0] / g.H


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
    show_grouping(ctx.lang, start=dict(now.order.to), lesson=now.order.quiz["lesson"])


def _embedding(ctx: Context, now: StepState) -> None:
    name = now.name(ctx.lang)
    trace = now.scene.trace(CONCAT)
    data = _embedding_packed(now.source, name, ctx.lang, now.scene.model, trace)
    EMBEDDING.show(data, name=name, on_commit=_listen(name, now))
    _drive(name, now)


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
    _drive(name, now)


def _board(ctx: Context, now: StepState) -> None:
    asked = now.order
    at: Mapping[str, str] = asked.quiz["at"]  # option -> place
    back = {place: code for code, place in at.items()}

    def commit() -> None:
        told = committed(name, forms.ANSWER) or {}
        picked = [back[one] for one in told.get("picked", ()) if one in back]
        if "quiz" in told and picked:
            now.take(told["quiz"], picked)

    name = now.name(now.step.ask)
    quiz = {
        "id": now.id, "open": asked.quiz["open"], "places": asked.quiz["places"],
        "picked": [at[code] for code in now.picked if code in at],
        "right": [] if now.open else [at[code] for code in now.question.good if code in at],
    }  # fmt: skip
    LAB.show({**board_frame(ctx), **asked.to, "quiz": quiz}, name=name, on_commit=commit)


def _scene(ctx: Context, now: StepState) -> None:
    subject, _ = labelled(now.state["scene"], ctx.lang)
    name = now.name(ctx.lang)
    DENSE.show(_scene_packed(subject.source, name, ctx.lang, now.open, now, subject), name=name)


@cached(12, 32 * 2**20)
def _scene_packed(
    source: str, name: str, lang: str, asked: bool, _now: StepState, _subject: DenseSubject
) -> bytes:
    told, order = seen(source, _subject).answer, _now.order
    return dense.pack(
        replace(told, views=told.views[: order.quiz["views"]], names=_subject.names),
        strings=figure_words("dense", lang), start=order.to, name=name, source=f"{source} {asked}",
        explained=False,
    ).data  # fmt: skip


FIGURES: dict[str, Callable[[Any, StepState], None]] = {
    "map": _living, "groups": _living, "attention": _living, "explorer": _explorer, "embedding": _embedding,
    "bias": _bias, "board": _board, "scene": _scene,
}  # fmt: skip
