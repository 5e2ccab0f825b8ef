"""The attention page's computations, cached by their inputs and shared by all readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cfviz import point_names
from cfviz.analysis import attention_measures
from cfviz.analysis.receptive_field import agreement, smallest_area, summed_over_squares
from cfviz.analysis.relevance import (
    beats_chance,
    ranking_masks,
    relevance,
    relevance_order,
    weighted_attention,
)
from cfviz.analysis.rollout import Kernels, Layer, layers_until, one_token, rollout
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import cooled_blocks
from cfviz.models.probes import gradients
from cfviz.run import inspect
from cfviz.trace import Trace
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session.state import Settings

POINTS = ("q", "k", "v", "bias", "probs", "out")
WATCH = tuple(point_names.attention(point=point) for point in POINTS)
VECTORS = tuple(point_names.attention(point=point) for point in ("q", "k", "bias"))
CELL, STEPS, ORDERS = 16, 14, 5  # pixels of a cell, steps of a curve, random orders


@dataclass(frozen=True)
class AttentionSubject:
    """The page's subject: a model, perhaps with its weights shuffled, and its prediction on the photo.

    Attributes:
        model: The model.
        trace: The model's prediction, with the attention of every block.
        image: The model's input, (3, H, W).
        source: A cache key that stands for all of the above.
        shuffled: Whether the weights were shuffled.
        whole: Whether the trace keeps all attention weights; otherwise it has queries, keys and biases only.
    """

    model: CrossFormer
    trace: Trace
    image: Any
    source: str
    shuffled: bool
    whole: bool = True

    @property
    def crop(self) -> Image.Image:
        """The pixels the model saw."""
        assert self.trace.crop is not None  # traces of photos have them
        return self.trace.crop


def subject_of(ctx: Context, shuffled: bool = False) -> AttentionSubject:
    """The chosen model on the chosen photo."""
    whole = ctx.keeps_attention
    watch = WATCH if whole else VECTORS
    trace = ctx.trace(*watch)
    s, photo = ctx.settings, ctx.photo
    source = keys.on_photo(s, ctx.model, photo)
    image = ctx.prepared.tensor
    if not shuffled:
        return AttentionSubject(ctx.model, trace, image, source, False, whole)
    model, trace = _shuffled(source, watch, ctx.model, photo, s)
    return AttentionSubject(model, trace, image, keys.joined(source, "shuffled"), True, whole)


@cached(3)
def _shuffled(
    source: str, watch: tuple[str, ...], _model: CrossFormer, _photo: Any, _settings: Settings
) -> tuple[Any, Trace]:
    model = gradients.shuffled(_model)
    s = _settings
    return model, inspect(_photo, model, s.size, watch, dtype=s.dtype, mode=s.mode, centre=s.centre)


@cached(256)
def fidelity(source: str, _subject: AttentionSubject) -> float:
    """The largest fidelity error of any block."""
    worst = 0.0
    for s, b, _ in _blocks(_subject.trace):
        proj = _subject.model.stages[s].block_list[b].attn.proj
        probs, v, out = (_subject.trace[point_names.attention(s, b, name)] for name in ("probs", "v", "out"))
        worst = max(worst, attention_measures.fidelity(probs, v, _numpy(proj.weight), _numpy(proj.bias), out))
    return worst


def _blocks(trace: Trace) -> list[tuple[int, int, Any]]:
    return [(s, b, g) for s, blocks in enumerate(trace.groupings) for b, g in enumerate(blocks)]


def _numpy(weight: Any) -> np.ndarray:
    return weight.detach().float().cpu().numpy()


@cached(256)
def head_measures(source: str, _subject: AttentionSubject) -> list[dict[str, Any]]:
    """Every head of every block: its place, distance (px), entropy (bits) and position's share (%)."""
    trace, rows = _subject.trace, []
    for s, b, g in _blocks(trace):
        q, k, bias, probs = (trace[point_names.attention(s, b, name)] for name in ("q", "k", "bias", "probs"))
        content = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
        far = attention_measures.distance(probs, g, 4 * 2**s)
        wide = attention_measures.entropy(probs, g)
        position = 100 * attention_measures.position_share(content, bias, g)
        for h in range(len(far)):
            rows.append(
                {"stage": s + 1, "block": b + 1, "kind": g.kind.upper(), "head": h + 1,
                 "distance": float(far[h]), "entropy": float(wide[h]),
                 "position": round(float(position[h]), 1) + 0.0}
            )  # fmt: skip
    return rows


def _layers(
    subject: AttentionSubject, attention: Callable[[int, int], np.ndarray], last: tuple[int, int]
) -> tuple[list[list[Layer]], list[Kernels]]:
    """The blocks up to the one at `last`, each with the result of `attention`, and the layers between."""
    cooled = cooled_blocks(subject.model)
    return layers_until(
        subject.trace.groupings,
        last,
        attention,
        lambda name: _numpy(subject.model.get_parameter(name)),
        cooled,
    )


@cached(256)
def dependence(source: str, _subject: AttentionSubject, s: int, b: int, row: int, col: int) -> dict[str, Any]:
    """Rollout and gradient of one token after a block, both over the first stage's tokens."""
    trace = _subject.trace
    stages, merging = _layers(_subject, lambda s, b: trace[point_names.attention(s, b)].mean(1), (s, b))
    g = trace.grouping(s, b)
    flow = rollout(one_token(g.H, g.W, row, col), stages, merging)[0]
    gradient = gradients.receptive_field(_subject.model, _subject.image, point_names.block(s, b), row, col)
    pooled = summed_over_squares(gradient, 4)
    return {
        "rollout": flow,
        "gradient": pooled,
        "agreement": agreement(flow, gradient, 4),
        "areas": (smallest_area(flow), smallest_area(pooled)),
    }


@cached(256)
def relevance_maps(source: str, _subject: AttentionSubject, target: int) -> dict[str, Any]:
    """Two relevance maps for one class, and how much of the rise the integral misses."""
    by_block = gradients.attention_gradients(_subject.model, _subject.image, target)
    last = max((s, b) for s, b, _ in _blocks(_subject.trace))

    def attention(s: int, b: int) -> np.ndarray:
        return weighted_attention(*by_block[point_names.attention(s, b)])

    stages, merging = _layers(_subject, attention, last)
    given, missing = gradients.integrated_gradients(_subject.model, _subject.image, target)
    return {
        "attention": summed_over_squares(relevance(stages, merging).repeat(4, 0).repeat(4, 1), CELL),
        "integrated": np.maximum(summed_over_squares(given, CELL), 0),
        "missing": missing,
    }


@cached(256)
def deletion_and_insertion(source: str, _subject: AttentionSubject, target: int) -> dict[str, Any]:
    """Deletion and insertion of both maps and of random orders: curves, and which map beats chance."""
    maps = relevance_maps(source, _subject, target)
    shape = maps["attention"].shape
    blank = gradients.blurred(_subject.image)

    def both(ranking: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = ranking_masks(ranking, shape, CELL, STEPS)
        ways = (gradients.replaced(_subject.image, blank, m) for m in (hidden, ~hidden))
        deletion, insertion = (gradients.class_probability(_subject.model, x, target) for x in ways)
        return deletion, insertion

    rng = np.random.default_rng(0)
    tries = [both(rng.permutation(shape[0] * shape[1])) for _ in range(ORDERS)]
    chance = (np.stack([d for d, _ in tries]), np.stack([i for _, i in tries]))
    lines = {name: both(relevance_order(maps[name])) for name in ("attention", "integrated")}
    return {
        "lines": lines, "chance": chance,
        "beats": {name: beats_chance(*line, *chance) for name, line in lines.items()},
    }  # fmt: skip
