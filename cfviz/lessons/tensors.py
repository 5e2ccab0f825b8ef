"""Questions answered from the model's tensors on the chosen photo: heads, kernels, what the model uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cfviz import point_names
from cfviz.analysis.attention_measures import distance
from cfviz.analysis.embedding import carried_shares, normalised
from cfviz.analysis.position_bias import measures
from cfviz.data import answers
from cfviz.geometry import CEL_KERNELS, Grouping, token_box
from cfviz.measured import surfaces_of
from cfviz.models.interventions.effects import effects
from cfviz.models.interventions.language import Intervention
from cfviz.models.probes import embedding
from cfviz.stats import softmax
from cfviz.words import leading, percent, short_name, signed, translator

from .geometry import channels_of
from .question import (
    YES_NO,
    Question,
    QuestionKind,
    Reason,
    RefusedError,
    Scene,
    State,
    block_of,
    head_options,
    kernel_options,
    needs_bias,
    parse_token,
    token_at,
    token_code,
)

Said = dict[str, dict[str, object]]
CLOSE = 5  # a guess is right if it is among this many of the strongest
CONCAT = point_names.embedding(0)
STEP = {"bfloat16": 2.0**-7, "float16": 2.0**-10}  # relative spacing of neighbouring numbers
EXACT = 1e-5  # the same for float32, where summation order matters more than spacing


def watched(s: int, b: int, *names: str) -> tuple[str, ...]:
    """Points of one block's attention."""
    return tuple(point_names.attention(s, b, name) for name in names)


def attention_block(scene: Scene, state: State) -> tuple[int, int, Grouping]:
    """The block a state names: stage, block, and its partition of the map."""
    groupings = scene.groupings()
    s, b = block_of(groupings, state["stage"], state["kind"])
    return s, b, groupings[s][b]


def stride(scene: Scene, g: Grouping) -> int:
    """A token's side in pixels."""
    return scene.sides[0] // g.H


# ---------------------------------------------------------------- ranks with ties


def slack(scene: Scene, size: float) -> float:
    """How far apart equal values of magnitude `size` may come out in the model's number format."""
    return STEP.get(scene.trace().dtype, EXACT) * float(size)


def ranks(values: np.ndarray, apart: float) -> list[int]:
    """The rank of each value, from 1: one plus the number of values larger by more than `apart`."""
    return [1 + int((values > x + apart).sum()) for x in values]


def firsts(codes: Iterable[str], places: Iterable[int], last: int = 1) -> frozenset[str]:
    """The codes whose rank is at most `last`."""
    return frozenset(code for code, rank in zip(codes, places, strict=True) if rank <= last)


def equals(said: Said, good: frozenset[str], instead: Mapping[str, str]) -> Said:
    """Make the sentence on a right option name that option, if several are right.

    Args:
        said: Option -> the option's own fields.
        good: The right options.
        instead: Field of the question -> the option's own field that replaces it, or "code".
    """
    own = {code: fields | {"code": code} for code, fields in said.items()}
    return {
        code: fields | {name: own[code][field] for name, field in instead.items() if code in good}
        for code, fields in said.items()
    }


# ---------------------------------------------------------------- attention


def head_distances(scene: Scene, s: int, b: int, g: Grouping) -> np.ndarray:
    """The mean attention distance of each head of a block, in pixels, (nH,)."""
    (point,) = watched(s, b, "probs")
    return distance(scene.trace(*watched(s, b, "q", "k", "bias", "probs"))[point], g, stride(scene, g))


def farthest_head(scene: Scene, state: State, after: State) -> Question:
    """The head that attends farthest away, over all tokens of the photo."""
    s, b, g = attention_block(scene, state)
    far = head_distances(scene, s, b, g)
    best, least = int(far.argmax()), int(far.argmin())
    options, shown = head_options(len(far)), [f"{px:.1f}" for px in far]
    good = firsts((o.code for o in options), ranks(far, slack(scene, far[best])))
    fields = {
        "stage": s + 1, "block": b + 1, "n": len(far), "best": best + 1, "px": shown[best],
        "least": least + 1, "least_px": shown[least],
    }  # fmt: skip
    said: Said = {o.code: {"its": px} for o, px in zip(options, shown, strict=True)}
    return Question("one", good, fields, options, equals(said, good, {"best": "code", "px": "its"}))


def strongest_token(scene: Scene, state: State, after: State) -> Question:
    """The tokens one token attends to most, in the first head of a block."""
    s, b, g = attention_block(scene, state)
    (point,) = watched(s, b, "probs")
    row, col = token_at(state, g.H, g.W)
    group, slot = g.group_of(row, col)
    weights = scene.trace(*watched(s, b, "q", "k", "bias", "probs"))[point][group, 0, slot]
    order = [int(k) for k in np.argsort(-weights, kind="stable") if g.members[group, k] >= 0]
    names = [token_code(*divmod(int(g.members[group, k]), g.W)) for k in order]
    top, values = parse_token(names[0]), weights[order]
    places = ranks(values, slack(scene, values[min(CLOSE, len(values)) - 1]))
    fields = {
        "row": row, "col": col, "keys": len(names), "close": min(CLOSE, len(names)),
        "best_row": top[0], "best_col": top[1], "best": percent(float(values[0])),
        "even": percent(1 / len(names)),
    }  # fmt: skip
    said: Said = {
        name: {"rank": rank, "its": percent(float(x))}
        for name, rank, x in zip(names, places, values, strict=True)
    }

    nowhere: dict[str, object] = {"rank": "–", "its": percent(0.0)}
    outside = [(r, c) for r in range(g.H) for c in range(g.W) if token_code(r, c) not in said]
    others: Said = {token_code(r, c): nowhere for r, c in outside}
    why: dict[str, Reason] = {
        token_code(r, c): ("reason.other_group", {"row": r, "col": c}) for r, c in outside
    }
    return Question("token", firsts(names, places, CLOSE), fields, said=others | said, why=why)


# ---------------------------------------------------------------- embedding and position bias


def carries_most(scene: Scene, state: State, after: State) -> Question:
    """The kernel whose channels carry the largest share of one token."""
    tokens = scene.trace(CONCAT)[CONCAT]
    row, col = token_at(state, *tokens.shape[:2])
    layer, channels = embedding.layer(scene.model, 0), channels_of(scene.model)
    shares = carried_shares(normalised(tokens[row, col], layer.gain, layer.eps), channels)
    best, options = int(shares.argmax()), kernel_options()
    good = firsts((o.code for o in options), ranks(shares, slack(scene, shares[best])))
    said: Said = {
        o.code: {"its": percent(float(x)), "wide": percent(n / sum(channels))}
        for o, x, n in zip(options, shares, channels, strict=True)
    }
    strongest = said[options[best].code]
    fields = {
        "row": row, "col": col, "k": options[best].code, "share": strongest["its"], "part": strongest["wide"],
        "side": token_box(0, 0, 0)[2],
    }  # fmt: skip
    instead = {"k": "code", "share": "its", "part": "wide"}
    return Question("one", good, fields, options, equals(said, good, instead))


def nearest_head(scene: Scene, state: State, after: State) -> Question:
    """The head whose position bias most favours nearby keys, in the groups of training, which are shown."""
    needs_bias(scene, "dpb", "rpb")
    s, b, _ = attention_block(scene, state)
    G = int(scene.model.group_size[s])
    found = measures(surfaces_of(scene.model.stages[s].block_list[b].attn.pos, G))
    best, far, options = int(found.nearness.argmax()), found.distance, head_options(len(found.distance))
    good = firsts((o.code for o in options), ranks(found.nearness, slack(scene, 1.0)))
    fields = {
        "stage": s + 1, "block": b + 1, "n": len(far), "G": G, "best": best + 1,
        "tokens": f"{far[best]:.2f}",
        "even": f"{far[best] / max(1e-9, 1 - found.nearness[best]):.2f}",
    }  # fmt: skip
    said: Said = {o.code: {"its": f"{x:.2f}"} for o, x in zip(options, far, strict=True)}
    return Question("one", good, fields, options, equals(said, good, {"best": "code", "tokens": "its"}))


# ---------------------------------------------------------------- what the model uses


def changed(scene: Scene, parts: Sequence[Intervention]) -> np.ndarray:
    """The logits with each of the parts changed on its own, (n, classes)."""
    key = ("lesson effects", *(part.to_url() for part in parts))
    return scene.kept(key, lambda: effects(scene.model, scene.image(), [(part,) for part in parts]))


def moved(scene: Scene, parts: Sequence[Intervention]) -> np.ndarray:
    """How much each change moves the answer's logit, (n,)."""
    before = scene.trace().logits
    top = int(before.argmax())
    return changed(scene, parts)[:, top].astype(np.float64) - before[top]


def effect_ranks(scene: Scene, by: np.ndarray) -> list[int]:
    """The ranks of parts by the size of their `moved` values; differences within rounding are ties."""
    logit = float(scene.trace().logits.max())
    return ranks(np.abs(by), slack(scene, max(abs(logit), float(np.abs(logit + by).max()))))


def answer_fields(scene: Scene) -> dict[str, object]:
    """Fields for the model's current answer; `known` is a sentence on one that cannot be or is not right.

    Raises:
        RefusedError: If the weights are random, so that the model has none.
    """
    if not scene.trace().weights.predicts:
        raise RefusedError("refusal.random")
    trace = scene.trace()
    index, _, p = trace.top(1)[0]
    known = answers.aside(translator(scene.lang), scene.labels, index, trace.shown)
    return {"label": short_name(scene.labels[index]), "p": percent(p), "known": leading(known)}


def kernel_parts() -> list[Intervention]:
    """One intervention per kernel of the first embedding layer, setting it to zero."""
    return [Intervention("kernel", 0, index=i) for i in range(len(CEL_KERNELS[0]))]


def kernel_matters(scene: Scene, state: State, after: State) -> Question:
    """The kernel without which the answer's logit moves most."""
    by = moved(scene, kernel_parts())
    best, options = int(np.abs(by).argmax()), kernel_options()
    good = firsts((o.code for o in options), effect_ranks(scene, by))
    fields = answer_fields(scene) | {"k": CEL_KERNELS[0][best], "by": signed(by[best])}
    said: Said = {o.code: {"its": signed(x)} for o, x in zip(options, by, strict=True)}
    return Question("one", good, fields, options, equals(said, good, {"k": "code", "by": "its"}))


def swap_part(scene: Scene) -> Intervention:
    """The intervention that turns the model's first long distance block into a short distance one."""
    s, b = block_of(scene.groupings(), 1, "lda")
    return Intervention("kind", s, b, how="sda")


def kind_swap(scene: Scene, state: State, after: State) -> Question:
    """Whether the answer changes if the first long distance block attends only to nearby tokens."""
    part = swap_part(scene)
    logits = changed(scene, [part])[0]
    first, now = int(scene.trace().logits.argmax()), int(logits.argmax())
    probs = softmax(logits[None])[0]
    fields = answer_fields(scene) | {
        "stage": (part.stage or 0) + 1, "block": (part.block or 0) + 1, "now": short_name(scene.labels[now]),
        "q": percent(float(probs[now])),
    }  # fmt: skip
    return Question("one", frozenset(["yes" if now != first else "no"]), fields, YES_NO)


def head_parts(scene: Scene, state: State) -> list[Intervention]:
    """One intervention per head of a state's block, setting it to zero."""
    s, b, _ = attention_block(scene, state)
    return [Intervention("head", s, b, index=h) for h in range(scene.model.num_heads[s])]


def head_matters(scene: Scene, state: State, after: State) -> Question:
    """The head without which the answer's logit moves most."""
    s, b, g = attention_block(scene, state)
    by = moved(scene, head_parts(scene, state))
    best, places, options = int(np.abs(by).argmax()), effect_ranks(scene, by), head_options(len(by))
    far = int(head_distances(scene, s, b, g).argmax())
    good = firsts((o.code for o in options), places)
    fields = answer_fields(scene) | {
        "stage": s + 1, "block": b + 1, "n": len(by), "best": best + 1, "by": signed(by[best]),
        "far": far + 1, "far_rank": places[far],
    }  # fmt: skip
    said: Said = {
        o.code: {"its": signed(x), "rank": rank} for o, x, rank in zip(options, by, places, strict=True)
    }
    return Question("one", good, fields, options, equals(said, good, {"best": "code", "by": "its"}))


def parts_of(ask: str, scene: Scene, state: State) -> list[Intervention]:
    """The parts that a question on the board is about."""
    if ask == "head_matters":
        return head_parts(scene, state)
    return [swap_part(scene)] if ask == "kind_swap" else kernel_parts()


_STAGE = frozenset(["stage", "kind"])
TENSORS: dict[str, QuestionKind] = {
    "farthest_head": QuestionKind(
        farthest_head, ("stage", "block", "n", "best", "px", "least", "least_px"), ("attention",), ("its",)
    ),
    "strongest_token": QuestionKind(
        strongest_token, ("row", "col", "keys", "close", "best_row", "best_col", "best", "even"),
        ("attention",), ("rank", "its"),
    ),
    "carries_most": QuestionKind(
        carries_most, ("row", "col", "k", "share", "part", "side"), ("embedding",), ("its",)
    ),
    "nearest_head": QuestionKind(
        nearest_head, ("stage", "block", "n", "G", "best", "tokens", "even"), ("bias",), ("its",)
    ),
    "kernel_matters": QuestionKind(kernel_matters, ("label", "p", "known", "k", "by"), ("board",), ("its",)),
    "kind_swap": QuestionKind(kind_swap, ("label", "p", "known", "stage", "block", "now", "q"), ("board",)),
    "head_matters": QuestionKind(
        head_matters, ("label", "p", "known", "stage", "block", "n", "best", "by", "far", "far_rank"),
        ("board",), ("its", "rank"), _STAGE,
    ),
}  # fmt: skip
