"""What the figure of a step shows, before and after the answer: the same on every page that has the figure.

The figures and their questions are those of `cfviz/web`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfviz.figures.plots.lab import board
from cfviz.geometry import Grouping, grouping, map_sizes
from cfviz.models.interventions.language import Intervention, part_address, to_url
from cfviz.models.probes.embedding import layer
from cfviz.stats import softmax
from cfviz.words import percent, short_name

from .course import Step
from .pixels import SEGMENTER
from .question import Question, Scene, State, block_of, partition_of, place, token_at
from .tensors import attention_block, changed, moved, parts_of

# Questions with options that can be chosen in the figure, too.
IN_FIGURE = (
    "farthest_head", "most_channels", "carries_most", "nearest_head", "kernel_matters", "head_matters",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """Where a figure is sent, and what it is asked.

    Attributes:
        to: The figure's own state.
        quiz: The question in the form that the figure's code expects, without what was picked.
        by: Option -> what differs in `to` while this option is on show.
    """

    to: Mapping[str, Any]
    quiz: Mapping[str, Any]
    by: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def at(self, question: Question, picked: Sequence[str], open: bool) -> dict[str, Any]:
        """The figure's state with the option on show: the one picked or, once answered, a right one."""
        fine = open or question.good.issuperset(picked)
        shown = list(picked) if fine else sorted(question.good, key=place)
        return {**self.to, **(self.by.get(shown[0], {}) if shown else {})}


def state_of(step: Step, open: bool) -> dict[str, Any]:
    """The state of a step's figure."""
    return {**step.state, **({} if open else step.after)}


def order(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    """What the figure of a step shows while the question is open, or once it is answered."""
    return _ORDERS[step.figure](step, scene, question, open)


def made_up(state: State) -> tuple[Grouping, Grouping]:
    """The groups of both kinds on a made-up square map."""
    side, G, I = state["side"], state["G"], state["I"]  # noqa: E741
    return grouping("sda", side, side, G, I), grouping("lda", side, side, G, I)


def _living(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    """Groups on the photo, the model's or made up, with or without attention."""
    state, pointed, heads = state_of(step, open), question.kind in ("token", "tokens"), _heads(step, question)
    made, attention = step.figure == "map", step.figure == "attention"
    right = sorted(question.good if pointed else question.marks)
    quiz = {
        "pick": question.kind if pointed else "head" if heads and open else None,
        "right": None if open else right,
        "blank": bool(state.get("plain")) or (open and pointed and made),
        "cold": open and pointed,
        "panels": ["heads"] if heads else ["readout"] if attention and not open else [],
    }
    if made:
        s, b, g = 0, int(state["kind"] == "lda"), made_up(state)[0]
    else:
        s, b, g = attention_block(scene, state)
    row, col = token_at(state, g.H, g.W)
    to = {"stage": s, "block": b, "row": row, "col": col, "locked": pointed or made, "head": 0}
    return Order(to, quiz, heads)


def _heads(step: Step, question: Question) -> dict[str, dict[str, Any]]:
    """Option -> the head to show, if heads are asked for."""
    asked = step.ask in ("farthest_head", "nearest_head")
    return {option.code: {"head": int(option.code) - 1} for option in question.options} if asked else {}


def _explorer(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    state = state_of(step, open)
    silent = open or step.ask == "scores_growth"  # costs shown are for groups, which come later
    return Order(map_state(scene, state, partition_of(scene, state)), {"lesson": "ask" if silent else "told"})


def map_state(scene: Scene, state: State, g: Grouping) -> dict[str, Any]:
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


def _embedding(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    row, col = token_at(state_of(step, open), *map_sizes(*scene.sides)[0])
    kernels, shares = layer(scene.model, 0).kernels, step.ask == "carries_most"
    pick = "kernel" if question.kind == "one" and question.options[0].key == "option.kernel" else None
    show = {"most_channels": "facts", "carries_most": "shares"}.get(step.ask, "")
    by = {str(k): {"kernel": n} for n, k in enumerate(kernels)} if shares else {}
    to = {"row": row, "col": col, "kernel": None, "stay": not shares or open}
    return Order(to, {"pick": pick, "show": show}, by)


def _bias(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    state, heads = state_of(step, open), _heads(step, question)
    to: dict[str, Any] = {"block": 0} | ({"head": 0} if heads else {})
    if state["part"] == "resized":
        s, _, _ = attention_block(scene, state)
        G = int(scene.model.trained_group[s] or scene.model.group_size[s]) * (1 if open else 2)
        to |= {"Gh": G, "Gw": G}
    return Order(to, {"pick": "head" if heads else None}, heads)


def _board(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    """The parts asked about; once answered, in colours that show what each does to the answer's logit."""
    parts, swap = parts_of(step.ask, scene, step.state), step.ask == "kind_swap"
    places = [part_address(part) for part in parts]
    codes = [] if swap else [option.code for option in question.options]
    first = scene.trace().top(1)[0][0]
    to = {
        "effects": None, "top": 1.0, "do": "", "how": "zero", "measured": "zero", "unit": "logit", "seq": 0,
        "waits": False, "label": short_name(scene.labels[first]),
    }  # fmt: skip
    if not open:
        to |= _effects(scene, parts, places) | {"do": to_url(parts) if swap else ""}
    at = dict(zip(codes, places, strict=not swap))
    return Order(to, {"open": open and not swap, "places": places, "at": at})


def _effects(scene: Scene, parts: Sequence[Intervention], places: Sequence[str]) -> dict[str, Any]:
    logits, first = changed(scene, parts), scene.trace().top(1)[0][0]
    probs = [percent(float(p)) for p in softmax(logits)[:, first]]
    winners = ["" if w == first else short_name(scene.labels[int(w)]) for w in logits.argmax(-1)]
    return board(places, np.asarray(moved(scene, parts)), probs, winners)


def _scene(step: Step, scene: Scene, question: Question, open: bool) -> Order:
    """What the segmenter answers; only once answered, also without each stage, beginning with a right one."""
    _, told = scene.segmented(step.state["scene"])
    views, best = told.answer.views, min(map(int, question.good))
    to = {} if open else {"view": [view.without for view in views].index(best - 1)}
    return Order(to, {"views": 1 if open else len(views)})


_ORDERS = {
    "map": _living, "groups": _living, "attention": _living, "explorer": _explorer, "embedding": _embedding,
    "bias": _bias, "board": _board, "scene": _scene,
}  # fmt: skip


def sandbox(step: Step, scene: Scene, open: bool) -> tuple[str, dict[str, str]]:
    """The page outside the lessons that shows the same figure, and the parameters of its link."""
    state, kind = state_of(step, open), step.figure
    if kind in ("map", "explorer"):
        g = partition_of(scene, state)
        shown = map_state(scene, state, g)
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
    return "lab", {"do": to_url(parts_of(step.ask, scene, state)[:1])}
