"""Questions answered by counting alone, without tensors: groups, padding, offsets, the squares of kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cfviz.analysis.reach import multiply_adds, reach
from cfviz.framing import size_text
from cfviz.geometry import (
    CEL_KERNELS,
    Grouping,
    cel_box,
    cel_channels,
    grouping,
    map_sizes,
    offsets,
    token_box,
)
from cfviz.geometry.schemes import crossformer, vit
from cfviz.measured import coverage
from cfviz.models.crossformer import CrossFormer
from cfviz.words import Translator, leading, translator

from .question import (
    YES_NO,
    Question,
    QuestionKind,
    Reason,
    Scene,
    State,
    block_of,
    kernel_options,
    members,
    needs_bias,
    number_options,
    parse_token,
    partition_of,
    thousands,
    token_at,
    token_code,
)


def count_tokens(scene: Scene, state: State, after: State) -> Question:
    """How many tokens a stage has."""
    g = partition_of(scene, state)
    (height, width), n = scene.sides, g.H * g.W
    options = number_options([n, g.H, n // 4, height * width])
    fields = {
        "height": height, "width": width, "stride": height // g.H, "H": g.H, "W": g.W, "n": thousands(n),
    }  # fmt: skip
    return Question("one", frozenset([str(n)]), fields, options)


def scores_growth(scene: Scene, state: State, after: State) -> Question:
    """How much the number of global attention scores grows with the map."""

    def scores(side: int) -> int:
        everyone = vit(side, side)
        return everyone.queries.size * everyone.keys.shape[1]

    side, side2 = state["side"], after.get("side", state["side"])
    one, two = scores(side), scores(side2)
    fields = {
        "side": side, "n": thousands(side**2), "scores": thousands(one), "side2": side2,
        "n2": thousands(side2**2), "scores2": thousands(two), "times": f"{two / one:g}",
    }  # fmt: skip
    right = round(two / one)
    options = number_options([2, 4, 8, 16, right], prefix="× ")
    return Question("one", frozenset([str(right)]), fields, options)


def group(scene: Scene, state: State, after: State) -> Question:
    """The tokens that share the query's group."""
    g = partition_of(scene, state)
    row, col = token_at(state, g.H, g.W)
    mine = members(g, row, col) - {token_code(row, col)}

    def why(r: int, c: int) -> Reason:
        if g.kind == "sda":
            top, left = row // g.G * g.G, col // g.G * g.G
            last = (min(top + g.G, g.H) - 1, min(left + g.G, g.W) - 1)
            return "reason.outside", {
                "row": r, "col": c, "top": top, "left": left, "bottom": last[0], "right": last[1],
            }  # fmt: skip
        down, across = abs(r - row), abs(c - col)
        if down % g.I or across % g.I:
            return "reason.lattice", {"row": r, "col": c, "down": down, "across": across, "I": g.I}
        return "reason.other_group", {"row": r, "col": c}

    fields = {"row": row, "col": col, "G": g.G, "I": g.I, "side": g.H, "n": len(mine), "all": len(mine) + 1}
    return Question(
        "tokens", mine, fields, why=_reasons(g, mine, why), free=frozenset([token_code(row, col)])
    )


def _reasons(g: Grouping, good: frozenset[str], why: Callable[[int, int], Reason]) -> dict[str, Reason]:
    """The sentence on each token of a map that is not to be picked."""
    every = ((r, c) for r in range(g.H) for c in range(g.W))
    return {token_code(r, c): why(r, c) for r, c in every if token_code(r, c) not in good}


def saving(scene: Scene, state: State, after: State) -> Question:
    """The multiply-adds of global attention as a multiple of those of grouped attention."""
    g = partition_of(scene, state)
    s, _ = block_of(scene.groupings(state.get("size")), state["stage"], state["kind"])
    channels = scene.model.feature_info[s]["num_chs"]
    everyone, groups = (multiply_adds(one, channels) for one in (vit(g.H, g.W), crossformer(g)))
    times = round(everyone.attention / groups.attention)
    fields = {
        "H": g.H, "W": g.W, "n": thousands(g.H * g.W), "G": g.G, "N": g.N, "times": thousands(times),
        "layer": thousands(round(everyone.total / groups.total)),
    }  # fmt: skip
    return Question(
        "one", frozenset([str(times)]), fields, number_options([2, g.G, times, g.H * g.W], suffix=" ×")
    )


def cut_neighbours(scene: Scene, state: State, after: State) -> Question:
    """The direct neighbours that lie in another group."""
    g = partition_of(scene, state)
    row, col = token_at(state, g.H, g.W)
    beside = [(row + dr, col + dc) for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    near = frozenset(token_code(r, c) for r, c in beside if 0 <= r < g.H and 0 <= c < g.W)
    mine = members(g, row, col)

    def why(r: int, c: int) -> Reason:
        same = token_code(r, c) in mine
        return f"reason.{'same_window' if same else 'no_neighbour'}", {"row": r, "col": c}

    lost = near - mine
    fields = {"row": row, "col": col, "G": g.G, "n": len(lost), "near": len(near)}
    return Question(
        "tokens", lost, fields, why=_reasons(g, lost, why), free=frozenset([token_code(row, col)])
    )


def reached(scene: Scene, state: State, after: State) -> tuple[np.ndarray, np.ndarray, Grouping]:
    """The tokens that can reach the query after one block of the state's kind, and after one of each kind."""
    near = partition_of(scene, {**state, "kind": "sda"})
    far = partition_of(scene, {**state, "kind": "lda"})
    row, col = token_at(state, near.H, near.W)
    found = reach([crossformer(near), crossformer(far)], row, col, 2)
    return found[1], found[2], far


def reach_two(scene: Scene, state: State, after: State) -> Question:
    """How many tokens have reached one token after a block of each kind."""
    one, two, far = reached(scene, state, after)
    row, col = token_at(state, far.H, far.W)
    long = np.zeros_like(one)
    for text in members(far, row, col):
        long[parse_token(text)] = True
    sums = [int(one.sum()), int((one | long).sum()), int(two.sum()), far.H * far.W]
    fields: dict[str, object] = {
        "row": row, "col": col, "G": far.G, "I": far.I, "near": sums[0], "union": sums[1], "n": sums[2],
        "all": sums[3], "long": int(long.sum()),
    }  # fmt: skip
    t = translator(scene.lang)
    fields |= {"model": leading(_first_stage(scene, t)), "covers": coverage(scene.groupings(), t)}
    marks = frozenset(token_code(int(r), int(c)) for r, c in np.argwhere(two))
    return Question("one", frozenset([str(sums[2])]), fields, number_options([*sums, far.G]), marks=marks)


def _first_stage(scene: Scene, t: Translator) -> str:
    """One sentence: how much of its map a token in the middle of the model's first stage has heard of."""
    groups = scene.groupings()[0]
    layers = [crossformer(g) for g in groups]
    found = reach(layers, layers[0].H // 2, layers[0].W // 2, len(layers))[-1]
    far = next((g for g in groups if g.kind == "lda"), None)
    fields: dict[str, object] = {"map": thousands(found.size), "first": thousands(int(found.sum()))}
    if far is None:
        return t("learn.gap_near", **fields)
    wide = max(far.I / far.Gh, far.I / far.Gw) > 1
    return t(f"learn.gap_{'wide' if wide else 'none'}", I=far.I, G=far.G, blocks=len(groups), **fields)


def _outer(box: tuple[int, int, int, int], inner: tuple[int, int, int, int]) -> bool:
    """Whether one box extends beyond another."""
    return box[0] < inner[0] or box[1] < inner[1] or box[2] > inner[2] or box[3] > inner[3]


def _embedding_token(scene: Scene, state: State) -> tuple[int, int]:
    return token_at(state, *map_sizes(*scene.sides)[0])


def kernels_outside(scene: Scene, state: State, after: State) -> Question:
    """How many kernels of the first embedding layer read beyond the token's own square."""
    row, col = _embedding_token(scene, state)
    own = token_box(0, row, col)
    past = [k for k in CEL_KERNELS[0] if _outer(cel_box(0, k, row, col), own)]
    total = len(CEL_KERNELS[0])
    fields = {
        "row": row, "col": col, "n": len(past), "all": total, "side": own[2] - own[0],
        "largest": max(CEL_KERNELS[0]), "list": tuple(size_text(k) for k in past) or "–",
    }  # fmt: skip
    return Question("one", frozenset([str(len(past))]), fields, number_options(range(total + 1)))


def kernels_past_edge(scene: Scene, state: State, after: State) -> Question:
    """Which kernels read beyond the edge of the photo."""
    row, col = _embedding_token(scene, state)
    photo = (0, 0, *scene.sides)
    boxes = {k: cel_box(0, k, row, col) for k in CEL_KERNELS[0]}
    past = [k for k, box in boxes.items() if _outer(box, photo)]
    fields = {
        "row": row, "col": col, "top": token_box(0, row, col)[0], "n": len(past),
        "list": tuple(size_text(k) for k in past) or "–",
    }  # fmt: skip
    why: dict[str, Reason] = {str(k): ("reason.kernel_edge", {"k": str(k)}) for k in boxes}
    return Question("many", frozenset(map(str, past)), fields, kernel_options(), why=why)


def most_channels(scene: Scene, state: State, after: State) -> Question:
    """Which kernel of the first embedding layer contributes the most channels."""
    channels = dict(zip(CEL_KERNELS[0], channels_of(scene.model), strict=True))
    most = max(channels, key=lambda k: channels[k])
    large = max(channels)
    cost = {k: k * k * 3 * n for k, n in channels.items()}
    each = sum(channels.values()) // len(channels)
    fields = {
        "k": most, "channels": channels[most], "all": sum(channels.values()), "large": large,
        "large_channels": channels[large], "cost": thousands(cost[large]),
        "even": thousands(large**2 * 3 * each), "each": each, "small_cost": thousands(cost[most]),
    }  # fmt: skip
    said = {str(k): {"its": n} for k, n in channels.items()}
    return Question("one", frozenset([str(most)]), fields, kernel_options(), said)


def channels_of(model: CrossFormer) -> tuple[int, ...]:
    """Output channels of the kernels of the first embedding layer."""
    return cel_channels(model.feature_info[0]["num_chs"], CEL_KERNELS[0])


def count_offsets(scene: Scene, state: State, after: State) -> Question:
    """How many different offsets two tokens can have, in the groups of training, which are shown."""
    needs_bias(scene, "dpb", "rpb")
    s, _ = block_of(scene.groupings(), state["stage"], state["kind"])
    G = int(scene.model.group_size[s])
    n = len(offsets(G, G))
    fields = {"G": G, "far": G - 1, "side": 2 * G - 1, "n": thousands(n), "pairs": thousands(G**4)}
    return Question("one", frozenset([str(n)]), fields, number_options([n, 2 * G - 1, G * G, G**4]))


def padding(scene: Scene, state: State, after: State) -> Question:
    """Whether a stage's map has to be padded at another input size."""
    both = {**state, **after}
    size = both["size"]
    g, (s, _) = partition_of(scene, both), block_of(scene.groupings(size), both["stage"], both["kind"])
    now = partition_of(scene, state)
    fields = {
        "now": state.get("size", scene.size), "now_H": now.H, "now_W": now.W, "stage": s + 1, "size": size,
        "H": g.H, "W": g.W, "G": g.G, "I": g.I, "step": g.step, "Hp": g.Hp, "Wp": g.Wp,
        "extra": thousands(g.Hp * g.Wp - g.H * g.W), "whole": g.H // g.step, "rest": g.H % g.step,
    }  # fmt: skip
    return Question("one", frozenset(["yes" if g.padded else "no"]), fields, YES_NO)


def whole_group(scene: Scene, state: State, after: State) -> Question:
    """How many tokens a group over the whole map has once the map has grown."""
    side, side2 = state["side"], after.get("side", state["side"])
    G, I = state["G"], state["I"]  # noqa: E741
    regions, whole = grouping("lda", side2, side2, G, I), grouping("lda", side2, side2, G, I, "whole")
    costs = [multiply_adds(crossformer(g), 1).attention for g in (regions, whole)]
    fields = {
        "side": side, "side2": side2, "G": G, "I": I, "region": regions.N, "n": thousands(whole.N),
        "wide": whole.G, "times": f"{costs[1] / costs[0]:g}",
    }  # fmt: skip
    options = number_options([regions.N, 2 * regions.N, whole.N, side2**2])
    return Question("one", frozenset([str(whole.N)]), fields, options)


def unseen_offsets(scene: Scene, state: State, after: State) -> Question:
    """The share of offsets in a window twice the training width that training never contained."""
    needs_bias(scene, "dpb")
    s, _ = block_of(scene.groupings(), state["stage"], state["kind"])
    G = int(scene.model.trained_group[s])
    known, all_ = len(offsets(G, G)), len(offsets(2 * G, 2 * G))
    share, size = round(100 * (1 - known / all_)), int(scene.model.group_size[s])
    wider = translator(scene.lang)("learn.trained_wider", size=size, G=G) if size < G else ""
    fields = {
        "own": wider,
        "stage": s + 1, "G": G, "wide": 2 * G, "far": G - 1, "known": thousands(known),
        "all": thousands(all_), "missing": thousands(all_ - known), "share": share,
    }  # fmt: skip
    return Question("one", frozenset([str(share)]), fields, number_options([0, 25, 50, share], suffix=" %"))


_STAGE = frozenset(["stage", "kind"])
GEOMETRY: dict[str, QuestionKind] = {
    "count_tokens": QuestionKind(
        count_tokens, ("height", "width", "stride", "H", "W", "n"), ("groups", "attention")
    ),
    "scores_growth": QuestionKind(
        scores_growth, ("side", "n", "scores", "side2", "n2", "scores2", "times"), ("explorer",),
        needs=frozenset(["side"]),
    ),
    "group": QuestionKind(group, ("row", "col", "G", "I", "side", "n", "all"), ("map",)),
    "saving": QuestionKind(saving, ("H", "W", "n", "G", "N", "times", "layer"), ("explorer",), needs=_STAGE),
    "cut_neighbours": QuestionKind(cut_neighbours, ("row", "col", "G", "n", "near"), ("map",)),
    "reach": QuestionKind(
        reach_two,
        ("row", "col", "G", "I", "near", "union", "n", "all", "long", "model", "covers"), ("map",),
    ),
    "kernels_outside": QuestionKind(
        kernels_outside, ("row", "col", "n", "all", "side", "largest", "list"), ("embedding",)
    ),
    "kernels_past_edge": QuestionKind(kernels_past_edge, ("row", "col", "top", "n", "list"), ("embedding",)),
    "most_channels": QuestionKind(
        most_channels,
        ("k", "channels", "all", "large", "large_channels", "cost", "even", "each", "small_cost"),
        ("embedding",), ("its",),
    ),
    "count_offsets": QuestionKind(count_offsets, ("G", "far", "side", "n", "pairs"), ("bias",)),
    "padding": QuestionKind(
        padding,
        ("now", "now_H", "now_W", "stage", "size", "H", "W", "G", "I", "step", "Hp", "Wp", "extra", "whole",
         "rest"),
        ("explorer",), needs=frozenset(["stage", "size"]),
    ),
    "whole_group": QuestionKind(
        whole_group, ("side", "side2", "G", "I", "region", "n", "wide", "times"), ("explorer",),
        needs=frozenset(["side", "G", "I"]),
    ),
    "unseen_offsets": QuestionKind(
        unseen_offsets, ("own", "stage", "G", "wide", "far", "known", "all", "missing", "share"), ("bias",)
    ),
}  # fmt: skip
