"""The page on position bias: the summary, and the three figures that live in the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from cfviz.figures.live.message import opened
from cfviz.figures.live.position_bias import pack
from cfviz.measured import BIAS_CHOICES, SIDES
from cfviz.ui.compute.cache import cached
from cfviz.ui.compute.models import model_code
from cfviz.ui.context import Context
from cfviz.ui.figures.position_bias import BiasSubject, block_name
from cfviz.ui.session import forms, state
from cfviz.ui.session.photos import photo_code
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import POSITION_BIAS, about_to_appear, committed
from cfviz.ui.widgets.section import shown
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import figure_words

FAINT = 0.1  # a bias with a smaller range changes no attention weight by more than a factor of 1.11
START = "cfviz.position_bias.start"
MOVED = "cfviz.position_bias.moved"  # to another block or head, since the page was drawn


# ---------------------------------------------------------------- the summary


def show_summary(ctx: Context, subject: BiasSubject, plain: str, verdict: Sequence[str]) -> None:
    """The page's findings.

    Args:
        ctx: The page.
        subject: The model's position bias.
        plain: When DPB beats a table, in plain words; may be empty.
        verdict: The same with intervals and tests; may be empty.
    """
    t = ctx.t
    spreads = [max(m["spread"] for m in block.measures) for block in subject.blocks]
    best = int(np.argmax(spreads))
    strongest = subject.blocks[best]
    head = max(range(len(strongest.table)), key=lambda h: strongest.measures[h]["spread"])
    lines = [
        t(
            "position_bias.short_strong",
            block=block_name(ctx, strongest),
            h=head + 1,
            character=t(f"position_bias.figure.is_{strongest.characters[head]}"),
            spread=f"{spreads[best]:.2f}",
            factor=f"{float(f'{np.exp(min(spreads[best], 50)):.3g}'):,.10g}",
        )
    ]
    flat = [block for block, spread in zip(subject.blocks, spreads, strict=True) if spread < FAINT]
    if flat:
        most = max(max(m["spread"] for m in block.measures) for block in flat)
        names = t("common.comma").join(block_name(ctx, block) for block in flat)
        fields = {"blocks": names, "spread": f"{most:.2g}", "factor": f"{np.exp(most):.6g}"}
        lines.append(t("position_bias.short_flat", **fields))
    st.subheader(t("position_bias.short_title"), anchor=False)
    if plain:
        chart.show_hint(plain)
    st.markdown("\n".join(f"- {line}" for line in [*lines, *verdict]))


# ---------------------------------------------------------------- the figures


def selection_from_link(ctx: Context, subject: BiasSubject) -> dict[str, int]:
    """Block, head and choices from the link, clipped to what exists; the link counts from 1."""
    stages = sorted({s for s, _ in subject.places})
    s = ctx.get("stage", 2, [s + 1 for s in stages]) - 1
    depth = sum(stage == s for stage, _ in subject.places)
    b = ctx.get("block", 1, range(1, depth + 1)) - 1
    number = subject.places.index((s, b))
    head = ctx.get("head", 1, range(1, len(subject.blocks[number].table) + 1)) - 1
    choices = {name: ctx.get(name, default, allowed) for name, (default, allowed) in BIAS_CHOICES.items()}
    for name, side in zip(("Gh", "Gw"), _groups_here(subject, s, b), strict=True):
        choices[name] = ctx.get(name, side, SIDES)
    return {"block": number, "head": head, **choices}


def _groups_here(subject: BiasSubject, s: int, b: int) -> tuple[int, int]:
    """The sides of a block's groups in the chosen input; the usual ones if those are no larger than G."""
    g = subject.model.groupings(*subject.size)[s][b]
    if max(g.Gh, g.Gw) <= subject.model.group_size[s]:
        return BIAS_CHOICES["Gh"][0], BIAS_CHOICES["Gw"][0]
    return min(max(g.Gh, SIDES[0]), SIDES[-1]), min(max(g.Gw, SIDES[0]), SIDES[-1])


def write_selection(ctx: Context, subject: BiasSubject, to: Mapping[str, Any] | None) -> None:
    """Write the choices made in a figure to the link, except those still at their defaults."""
    if not to or to["block"] >= len(subject.places):
        return
    s, b = subject.places[to["block"]]
    usual = {name: default for name, (default, _) in BIAS_CHOICES.items()}
    usual["Gh"], usual["Gw"] = _groups_here(subject, s, b)
    told = {
        name: int(to[name])
        for name, default in usual.items()
        if name in to and (to[name] != default or ctx.get(name, default, BIAS_CHOICES[name][1]) != to[name])
    }
    ctx.put(stage=s + 1, block=b + 1, head=to["head"] + 1, **told)


@cached(256, 32 * 2**20)
def packed_message(weights: str, part: str, _subject: BiasSubject) -> bytes:
    """One figure's message, packed once per model, for any reader and starting place."""
    strings = figure_words("position_bias", "en")
    return pack(_subject.blocks, part, strings=strings, source=weights)


def show_figure(ctx: Context, subject: BiasSubject, part: str, first: bool = False) -> None:
    """One of the three figures, with its sentence, code and data.

    Args:
        ctx: The page.
        subject: The model's position bias.
        part: Which of the figures.
        first: Whether the reader waits for this figure: it is painted before the rest of the page arrives.
    """
    chart.show_hint(ctx.t(f"position_bias.{part}_look"))
    begun = f"{START}.{part}"
    if about_to_appear(f"position_bias.{part}") or st.session_state[begun][0] != subject.weights:
        st.session_state[begun] = subject.weights, selection_from_link(ctx, subject)
    _figure(ctx, subject, part, st.session_state[begun][1], first)


@st.fragment
def _figure(ctx: Context, subject: BiasSubject, part: str, start: Mapping[str, Any], first: bool) -> None:
    name = f"position_bias.{part}"
    appears = about_to_appear(name)

    def commit() -> None:
        before = selection_from_link(ctx, subject)
        write_selection(ctx, subject, committed(name, forms.BIAS))
        after = selection_from_link(ctx, subject)
        st.session_state[MOVED] = any(before[what] != after[what] for what in ("block", "head"))

    words = figure_words("position_bias", ctx.lang)
    data = opened(packed_message(subject.weights, part, subject)).at(start, words).data
    POSITION_BIAS.show(data, name=name, on_commit=commit)
    if appears and first:
        chart.let_the_browser_paint()
    table = _table(subject) if part == "surfaces" else None
    take_away(ctx, part, code=_code(ctx, subject, part), table=table)
    if st.session_state.pop(MOVED, False) and shown(ctx, "answer"):
        state.redraw()  # the answers show the same block and head


def _code(ctx: Context, subject: BiasSubject, part: str) -> str:
    """The calls behind a figure, for the block on screen."""
    here = selection_from_link(ctx, subject)
    s, b = subject.places[here["block"]]
    photo = photo_code(ctx.settings.photo)
    fields = {"s": s, "b": b, "kind": "lda" if b % 2 else "sda", "Gh": here["Gh"], "Gw": here["Gw"]}
    return CODE[part].format(model=model_code(subject.model), photo=photo, **fields)


def _table(subject: BiasSubject) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    columns = ("stage", "block", "kind", "head", "character", "spread", "distance", "decay", "down", "right")
    rows: list[tuple[Any, ...]] = []
    for block in subject.blocks:
        for h, m in enumerate(block.measures):
            where = (block.stage + 1, block.block + 1, block.kind, h + 1, block.characters[h])
            rows.append((*where, m["spread"], m["distance"], m["decay"], *m["centre"]))
    return columns, rows


CODE = {
    "surfaces": """
import cfviz
from cfviz.analysis.position_bias import measures, surface
from cfviz.data.samples import sample

point = "layers.{s}.blocks.{b}.attn.bias"
model = {model}
trace = cfviz.inspect({photo}, model, watch=point)
found = surface(trace[point])          # nH, 2G-1, 2G-1: dh and dw from -(G-1) to G-1, query minus key
about = measures(found)                # spread, centre, distance, nearness, anisotropy, decay of every head
[about.character(head) for head in range(len(found))]
""",
    "made": """
import numpy as np
from einops import rearrange
from cfviz.analysis.position_bias import pair_bias

G = 7
# as the authors do it: the tokens' coordinates, their differences, shifted and made into one index
place = np.stack(np.meshgrid(np.arange(G), np.arange(G), indexing="ij")).reshape(2, -1)   # 2, N
apart = place[:, :, None] - place[:, None, :]                                             # 2, N, N
index = (apart[0] + G - 1) * (2 * G - 1) + apart[1] + G - 1                               # N, N
index[0]                                                        # 84, 83, 82 ... 2, 1, 0

# as cfviz does it, one axis at a time: a pair (q, k) is a pair of rows and a pair of columns
d = np.arange(G)[:, None] - np.arange(G) + G - 1                                          # G, G
ours = rearrange(d[:, None, :, None] * (2 * G - 1) + d[None, :, None, :], "a b c d -> (a b) (c d)")
assert (ours == index).all()

table = np.random.default_rng(0).normal(size=((2 * G - 1) ** 2, 3))   # one row per offset, as from the MLP
bias = rearrange(table[index], "q k h -> h q k")                      # nH, N, N: added to the logits
assert (bias == pair_bias(table.T.reshape(3, 2 * G - 1, 2 * G - 1))).all()
""",
    "resized": """
import cfviz
from cfviz.analysis.position_bias import untrained_offsets
from cfviz.models.probes.position_bias import bias_table, table_of, trained_side

model = {model}
pos, trained, G = model.layers[{s}].blocks[{b}].attn.pos, model.group_size[{s}], ({Gh}, {Gw})
table = table_of(pos, trained)                    # (2*trained-1)^2, nH: at the trained group size
own = bias_table(pos, "own", trained, G)          # (2Gh-1)*(2Gw-1), nH: from the DPB, or a table resized
resized = bias_table(pos, "bicubic", trained, G)  # or "clamp", "cut", "none"; a DPB also "rescaled"
(own - resized).abs().max()
known = trained_side(model, {s}, "{kind}")  # the largest groups of training; None if that is not recorded
untrained_offsets(*G, known or max(G)).mean()  # the share of offsets never seen in training
""",
}
