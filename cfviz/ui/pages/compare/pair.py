"""Two models on one photo: the choice of models, and the figure in which both share the selected point."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz.figures.live.compare import Layer, pack
from cfviz.framing import Size, as_size, size_code
from cfviz.models.others.opening import OTHERS, fetch_weights, open_other, weights_here
from cfviz.models.others.sides import Outputs, Side
from cfviz.run import placed
from cfviz.ui.compute import cache, keys, models
from cfviz.ui.context import Context
from cfviz.ui.session import forms, state
from cfviz.ui.widgets import chart, weights
from cfviz.ui.widgets.figure import COMPARE, about_to_appear, committed
from cfviz.words import figure_words

NAME = "compare.figure"
START = "cfviz.compare.start"
BASELINE = {"crossformer_nano_rpb": "crossformer_nano"}  # the model each is first compared with
STAGES = range(1, 5)


@dataclass(frozen=True)
class Pair:
    """The page's subject: two models and the photo.

    Attributes:
        a: The model chosen in the sidebar.
        b: The other model.
        image: The input of both models, (3, H, W).
        crop: The same input as pixels.
        keys: For each side, one string of model, weights, number format, device and size.
        photo: The photo's SHA-256.
    """

    a: Side
    b: Side
    image: Any
    crop: Image.Image
    keys: tuple[str, str]
    photo: str

    @property
    def sides(self) -> tuple[tuple[Side, str], ...]:
        """Both sides with their keys."""
        return (self.a, self.keys[0]), (self.b, self.keys[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        height, width = self.image.shape[-2:]
        return int(height), int(width)

    @property
    def size(self) -> Size:
        """The same as in commands and code: one number for a square."""
        return as_size(*self.shape)

    def outputs(self, n: int, stage: int) -> Outputs:
        """One side's outputs on the photo, with the attention of a stage's blocks (from 0)."""
        side, key = self.sides[n]
        return _outputs(key, self.photo, stage, side, self.image)

    def gradient(self, n: int, stage: int, row: int, col: int) -> np.ndarray:
        """How strongly each pixel affects a token of one side, (H, W)."""
        side, key = self.sides[n]
        return _gradient(key, self.photo, stage, row, col, side, self.image)


@cache.cached(entries=12)
def _outputs(key: str, photo: str, stage: int, _side: Side, _image: Any) -> Outputs:
    blocks = len(_side.schemes(*_image.shape[-2:])[stage])
    return _side.outputs(_image, [(stage, b) for b in range(blocks)])


@cache.cached(entries=64)
def _gradient(key: str, photo: str, stage: int, row: int, col: int, _side: Side, _image: Any) -> np.ndarray:
    return _side.gradient(_image, stage, row, col)


# ---------------------------------------------------------------- the choice


def title(name: str) -> str:
    """A model's everyday name."""
    return OTHERS[name].title if name in OTHERS else models.title(name)


def choose_pair(ctx: Context) -> Pair:
    """Let the reader choose two models; the link records both."""
    s, ours = ctx.settings, models.names()
    names = [*ours, *OTHERS]
    other = ctx.get("other", BASELINE.get(s.model, "crossformer_nano_rpb"), names)
    st.session_state.update({"compare.a": s.model, "compare.b": other})
    label = partial(_label, ctx)
    left, right = st.columns(2, gap="large")
    left.selectbox(ctx.t("compare.model_a"), ours, format_func=label, key="compare.a", on_change=_take_a)
    right.selectbox(
        ctx.t("compare.model_b"), names, format_func=label, key="compare.b", on_change=partial(_take_b, ctx)
    )
    a, b = Side(s.model, ctx.need_room_for_attention(), False), side_of(ctx, other)
    if b.trained is None:
        _announce(ctx, b)
    made = ctx.prepared
    both = tuple(_key(ctx, side) for side in (a, b))
    return Pair(a, b, made.tensor, made.crop, both, ctx.photo.sha256)  # type: ignore[arg-type]


def _label(ctx: Context, name: str) -> str:
    if name not in OTHERS:
        return models.marked(ctx.t, name)
    mark = ctx.t("common.weights_are_download") if weights_here(name) is None else ctx.t("compare.trained")
    return f"{title(name)} · {ctx.t('compare.from_timm')} · {mark}"


def _take_a() -> None:
    state.change(model=st.session_state["compare.a"])


def _take_b(ctx: Context) -> None:
    ctx.put(other=st.session_state["compare.b"])


def _key(ctx: Context, side: Side) -> str:
    return keys.joined(keys.weights(ctx.settings, side.model, side.name), keys.framing(ctx.settings))


def side_of(ctx: Context, name: str) -> Side:
    """One of our models or of timm's, with the best weights at hand."""
    s = ctx.settings
    if name not in OTHERS:
        try:
            return Side(name, models.model(replace(s, model=name)), False)
        except ValueError as error:
            ctx.stop(error)
    file = weights_here(name)
    return Side(name, _other(name, s.size, s.device, s.dtype, str(file or "")), True)


@cache.cached(entries=3)
def _other(name: str, size: Size, device: str, dtype: str, file: str) -> Any:
    return placed(open_other(name, size, weights_here(name) if file else None), device, dtype)


def _announce(ctx: Context, side: Side) -> None:
    """Announce that the second model has random weights, and offer trained ones if there are any."""
    name = title(side.name)
    st.warning(ctx.t("compare.random", model=name), icon=":material/casino:")
    if side.other:
        label = ctx.t("compare.timm_get", model=name, accuracy=OTHERS[side.name].top1)
        weights.fetch(ctx, side.name, label, lambda job: fetch_weights(side.name))
    elif side.name != ctx.settings.model:  # the banner already offers that model's weights
        weights.offer(ctx, side.name)


# ---------------------------------------------------------------- the figure


def selection_from_link(ctx: Context, pair: Pair) -> dict[str, Any]:
    """The reader's place, all counted from 0; the link counts stages and blocks from 1."""
    stage = ctx.get("stage", 1, STAGES) - 1
    at: dict[str, Any] = {"stage": stage}
    for name, (side, _) in zip("ab", pair.sides, strict=True):
        blocks = len(side.schemes(*pair.shape)[stage])
        at[name] = ctx.get(f"block_{name}", blocks, range(1, blocks + 1)) - 1
    tokens = _tokens(pair, stage)
    of = _pair_of(ctx.get("of", size_code(tokens), lambda text: _pair_of(text) is not None)) or tokens
    for name, share, n, then in zip(("row", "col"), (0.45, 0.55), tokens, of, strict=True):
        chosen = ctx.get(name, int(share * n), lambda n: n >= 0)
        at[name] = min(n - 1, int((chosen + 0.5) * n / then))  # the same place in the photo
    at["held"] = ctx.get("held", 0, (0, 1)) == 1
    return at


def _tokens(pair: Pair, stage: int) -> tuple[int, int]:
    """Height and width of a stage's map, in tokens."""
    height, width = pair.shape
    return height // (4 * 2**stage), width // (4 * 2**stage)


def _pair_of(text: str) -> tuple[int, int] | None:
    """The size of the map in which a link's token was chosen, in tokens: "48x160", or "56" for a square."""
    found = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", text)
    return found and (int(found[1]), int(found[2] or found[1]))


def show_pair(ctx: Context, pair: Pair, at: dict[str, Any]) -> None:
    """Both photos; a click or the choice of a stage or block updates the link."""
    if about_to_appear(NAME) or START not in st.session_state:
        tour = not at["held"] and "row" not in st.query_params
        st.session_state[START] = {"row": at["row"], "col": at["col"], "held": at["held"], "tour": tour}
    start = tuple(st.session_state[START].items())
    data = _packed(pair.keys, pair.photo, at["stage"], (at["a"], at["b"]), start, ctx.lang, pair, ctx.t)
    chart.show_hint(ctx.t("compare.figure_look"))
    COMPARE.show(data, name=NAME, on_commit=partial(_commit, ctx, pair))


@cache.cached(entries=16)
def _packed(
    keys: tuple[str, str], photo: str, stage: int, blocks: tuple[int, int], start: tuple[Any, ...], lang: str,
    _pair: Pair, _t: Callable[..., str],
) -> bytes:  # fmt: skip
    layers = [_layer(_pair, n, stage, block, _t) for n, block in enumerate(blocks)]
    strings = figure_words("compare", lang)
    return pack(layers, photo=_pair.crop, stage=stage, strings=strings, start=dict(start), name=NAME)


def _layer(pair: Pair, n: int, stage: int, block: int, t: Callable[..., str]) -> Layer:
    side, _ = pair.sides[n]
    schemes = side.schemes(*pair.shape)[stage]
    scheme = schemes[block]
    probs = pair.outputs(n, stage).probs[stage, block] if side.trained else None
    names = [t("compare.block", n=b + 1, kind=t(f"compare.kind_{one.name}")) for b, one in enumerate(schemes)]
    note = t(f"compare.note_{scheme.name}")
    if not side.trained:
        note += t("compare.note_random")
    return Layer(title(side.name), scheme, probs, 0 if probs is None else probs.shape[1], block, names, note)


def _commit(ctx: Context, pair: Pair) -> None:
    to = committed(NAME, forms.COMPARE)
    if to is None:
        return
    stage = to["stage"]
    H, W = _tokens(pair, stage)
    row = min(H - 1, int((to["row"] + 0.5) * H / to["H"]))
    col = min(W - 1, int((to["col"] + 0.5) * W / to["W"]))
    values = {"stage": stage + 1, "row": row, "col": col, "of": size_code((H, W)), "held": int(to["held"])}
    if "block" in to and "side" in to:
        values[f"block_{'ab'[to['side']]}"] = to["block"] + 1
    ctx.put(**values)
