"""The cost of a window, stage by stage, and how much of it is padding."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cfviz.analysis.position_bias import AttentionLoad, attention_load
from cfviz.models.crossformer import CrossFormer
from cfviz.ui.context import Context
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import together

HEAD = ("stage", "map", "kind", "padded", "waste", "pairs", "macs")
COLUMNS = (
    "stage", "kind", "G", "I", "H", "W", "padded_h", "padded_w", "padding", "pairs", "macs",
)  # fmt: skip


def show_costs(ctx: Context, model: CrossFormer, groups: list[list[Any]], size: int) -> None:
    """A table with a row for each kind of block, and the total in a sentence.

    Args:
        ctx: The page.
        model: The model, whose channels determine the cost.
        groups: How every block partitions its map.
        size: Input side in pixels.
    """
    t = ctx.t
    chart.show_hint(t("position_bias.cost_look"))
    lines = ["| " + " | ".join(t(f"position_bias.cost_{name}") for name in HEAD) + " |"]
    lines.append("|---|--:|---|--:|--:|--:|--:|")
    worst, rows = (0.0, t("position_bias.cost_none")), []
    for s, stage in enumerate(groups):
        for g in dict.fromkeys(stage):
            found = attention_load(g, model.embed_dim * 2**s)
            lines.append(_line(s, g, found))
            padded, share = found.padded, found.waste
            rows.append((s + 1, g.kind, g.G, g.I, g.H, g.W, *padded, share, found.pairs, found.macs))
            text = t("position_bias.cost_worst", s=s + 1, kind=g.kind.upper(), side=g.H, padded=padded[0])
            worst = max(worst, (share, text), key=lambda one: one[0])  # the first stage if equal
    total, plain = (_whole(model, cut) for cut in (groups, model.groupings(224, 224)))
    with st.container(key="pb-costs"):
        st.markdown("\n".join(lines))
    whole = t("position_bias.cost_total", size=size, macs=f"{total / 1e6:.0f}", times=f"{total / plain:.2f}")
    st.markdown(together(worst[1], whole))
    take_away(ctx, "cost", code=_CODE, table=(COLUMNS, rows))


def _line(s: int, g: Any, found: AttentionLoad) -> str:
    kind = f"{g.kind.upper()}, G {g.G}" + (f", I {g.I}" if g.kind == "lda" else "")
    padded = f"{found.padded[0]} × {found.padded[1]}"
    return (
        f"| {s + 1} | {g.H} × {g.W} | {kind} | {padded} | {100 * found.waste:.0f} % "
        f"| {_round(found.pairs)} | {_round(found.macs)} |"
    )


def _round(n: int) -> str:
    """Format a count: 12345678 -> "12.3 M", 4096 -> "4.1 k"."""
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.1f} k"


def _whole(model: CrossFormer, groups: list[list[Any]]) -> int:
    """Multiply-adds of attention in all blocks."""
    return sum(
        attention_load(g, model.embed_dim * 2**s).macs for s, stage in enumerate(groups) for g in stage
    )


_CODE = """
from cfviz.analysis.position_bias import attention_load
from cfviz.geometry import lsda

groups = lsda(64, 64, 1, 7, 8)         # an LDA block of stage 1 at 256 px, G = 7, I = 8
cost = attention_load(groups, channels=48)
cost.padded, cost.waste                # (112, 112), 0.67: two thirds of the tokens are padding
cost.pairs, cost.macs
"""
