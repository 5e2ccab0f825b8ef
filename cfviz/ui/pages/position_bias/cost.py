"""The cost of a window, stage by stage, and of all windows side by side: padding, pairs, new offsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from cfviz.analysis.position_bias import AttentionLoad, attention_load, untrained_pairs
from cfviz.framing import Size, as_pair, size_text
from cfviz.geometry import Grouping
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.position_bias import trained_side
from cfviz.ui.context import Context
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import percent, together

HEAD = ("stage", "map", "kind", "padded", "waste", "pairs", "macs", "new")
BESIDE = ("window", "largest", "waste", "pairs", "macs", "times", "new")
COLUMNS = (
    "window", "stage", "kind", "Gh", "Gw", "I", "H", "W", "padded_h", "padded_w", "padding", "pairs", "macs",
    "untrained_pairs",
)  # fmt: skip
Groups = Sequence[Sequence[Grouping]]  # of every block, by stage


@dataclass(frozen=True)
class Load:
    """What attention does in some blocks together.

    Attributes:
        waste: Share of all tokens of the padded maps that are padding, 0 to 1.
        pairs: Query-key pairs per head.
        macs: Multiply-adds of the attention.
        new: Share of the pairs of tokens whose offset training never showed, 0 to 1; None if not known.
        largest: The largest groups.
    """

    waste: float
    pairs: int
    macs: int
    new: float | None
    largest: Grouping


def load_of(model: CrossFormer, groups: Groups) -> Load:
    """The load of all blocks together."""
    found = [(s, g, attention_load(g, model.embed_dim * 2**s)) for s, g in _blocks(groups)]
    tokens, padded = sum(g.H * g.W for _, g, _ in found), sum(g.Hp * g.Wp for _, g, _ in found)
    pairs, macs = sum(load.pairs for *_, load in found), sum(load.macs for *_, load in found)
    # weighted by the pairs of tokens, padding left out, as each share is
    weights = [_token_pairs(g) for _, g, _ in found]
    shares = [new_pairs(model, s, g) for s, g, _ in found]
    known = [w * x for w, x in zip(weights, shares, strict=True) if x is not None]
    new = sum(known) / sum(weights) if len(known) == len(shares) else None
    largest = max((g for _, g, _ in found), key=lambda g: g.N)
    return Load(1 - tokens / padded, pairs, macs, new, largest)


def new_pairs(model: CrossFormer, stage: int, g: Grouping) -> float | None:
    """The share of a block's pairs whose offset training never showed; None if that is not known."""
    side = trained_side(model, stage, g.kind)
    return None if side is None else untrained_pairs(g, side)


def _token_pairs(g: Grouping) -> int:
    """Pairs of tokens that share a group, padding left out."""
    return int((g.valid.sum(1) ** 2).sum())


def _blocks(groups: Groups) -> Iterator[tuple[int, Grouping]]:
    return ((s, g) for s, stage in enumerate(groups) for g in stage)


def show_costs(
    ctx: Context, model: CrossFormer, groups: Groups, size: Size, windows: Mapping[str, Groups]
) -> None:
    """A table with a row for each kind of block, the total in a sentence, and the other windows beside it.

    Args:
        ctx: The page.
        model: The model, whose channels determine the cost.
        groups: How every block partitions its map.
        size: Of the input, in pixels.
        windows: The same for other windows at this size, by their codes.
    """
    t = ctx.t
    chart.show_hint(t("position_bias.cost_look"))
    lines = ["| " + " | ".join(t(f"position_bias.cost_{name}") for name in HEAD) + " |"]
    lines.append("|---|--:|---|--:|--:|--:|--:|--:|")
    worst = (0.0, t("position_bias.cost_none"))
    for s, stage in enumerate(groups):
        for g in dict.fromkeys(stage):
            found = attention_load(g, model.embed_dim * 2**s)
            lines.append(_line(ctx, s, g, found, new_pairs(model, s, g)))
            text = t(
                "position_bias.cost_worst", s=s + 1, kind=g.kind.upper(), map=size_text((g.H, g.W)),
                padded=size_text(found.padded),
            )  # fmt: skip
            worst = max(worst, (found.waste, text), key=lambda one: one[0])  # the first stage if equal
    total, plain = load_of(model, groups).macs, load_of(model, model.groupings(224, 224)).macs
    with st.container(key="pb-costs"):
        st.markdown("\n".join(lines))
    fields = {"size": size_text(size), "macs": f"{total / 1e6:.0f}", "times": f"{total / plain:.2f}"}
    whole = t("position_bias.cost_total", **fields)
    st.markdown(together(worst[1], whole))
    _beside(ctx, model, size, windows, plain)
    rows = [row for name, some in windows.items() for row in _rows(name, model, some)]
    H, W = as_pair(size)
    take_away(ctx, "cost", code=_CODE.format(height=H, width=W), table=(COLUMNS, rows))


def _beside(ctx: Context, model: CrossFormer, size: Size, windows: Mapping[str, Groups], plain: int) -> None:
    """One row per window at this size."""
    t = ctx.t
    chart.show_hint(t("position_bias.beside_look", size=size_text(size)))
    lines = ["| " + " | ".join(t(f"position_bias.cost_{name}") for name in BESIDE) + " |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, groups in windows.items():
        found = load_of(model, groups)
        lines.append(
            f"| {t(f'position_bias.window_{name}')} | {size_text((found.largest.Gh, found.largest.Gw))} "
            f"| {percent(found.waste, 0)} | {_round(found.pairs)} | {_round(found.macs)} "
            f"| {found.macs / plain:.2f} | {share_text(ctx, found.new)} |"
        )
    with st.container(key="pb-beside"):
        st.markdown("\n".join(lines))


def _line(ctx: Context, s: int, g: Grouping, found: AttentionLoad, new: float | None) -> str:
    sides = f"G {g.Gh}" if g.Gh == g.Gw else size_text((g.Gh, g.Gw))
    kind = f"{g.kind.upper()}, {sides}" + (f", I {g.I}" if g.kind == "lda" else "")
    return (
        f"| {s + 1} | {size_text((g.H, g.W))} | {kind} | {size_text(found.padded)} "
        f"| {percent(found.waste, 0)} | {_round(found.pairs)} | {_round(found.macs)} "
        f"| {share_text(ctx, new)} |"
    )


def share_text(ctx: Context, share: float | None) -> str:
    """A share in per cent; a small one is not rounded to none."""
    if share is None:
        return ctx.t("position_bias.cost_unknown")
    return "0" if share == 0 else percent(share, 0)


def _rows(name: str, model: CrossFormer, groups: Groups) -> Iterator[tuple[object, ...]]:
    for s, stage in enumerate(groups):
        for g in dict.fromkeys(stage):
            found = attention_load(g, model.embed_dim * 2**s)
            new = new_pairs(model, s, g)
            place = (name, s + 1, g.kind, g.Gh, g.Gw, g.I, g.H, g.W)
            yield (*place, *found.padded, found.waste, found.pairs, found.macs, new)


def _round(n: int) -> str:
    """Format a count: 12345678 -> "12.3 M", 4096 -> "4.1 k"."""
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.1f} k"


_CODE = """
from cfviz.analysis.position_bias import attention_load, untrained_pairs
from cfviz.geometry import lsda, map_sizes

H, W = map_sizes({height}, {width})[0]  # tokens of stage 1
for lda in ("regions", "whole"):
    groups = lsda(H, W, 1, 7, 8, lda)  # its LDA block with G = 7, I = 8
    cost = attention_load(groups, channels=48)
    print(groups.size, cost.padded, cost.waste, cost.pairs, cost.macs)
    print(untrained_pairs(groups, 7))  # the share of pairs farther apart than in training
"""
