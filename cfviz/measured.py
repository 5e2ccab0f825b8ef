"""Compute the data of figures from a model and a trace, for the pages and the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from cfviz.analysis import embedding, position_bias
from cfviz.figures.live.embedding import Cel
from cfviz.figures.live.position_bias import BlockBias
from cfviz.figures.plots.lab import head_name
from cfviz.geometry import CEL_KERNELS, Kind
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import PARTS, Intervention
from cfviz.models.probes.embedding import Layer
from cfviz.models.probes.position_bias import mlp_of, table_of, trained_side
from cfviz.words import lookup

QUICK, USUAL = 10e6, 448  # parameters; up to here, a few dozen forwards take seconds, at up to 448 x 448 px
ORDERS = ("number", "near", "horizontal", "diagonal", "shifted", "decay", "spread")


def cel(layer: Layer, tokens: np.ndarray) -> Cel:
    """Measure one embedding layer on one photo, from the concatenated tokens (H, W, C)."""
    H, W, _ = tokens.shape
    return Cel(
        layer.stage, layer.kernels, layer.channels, tuple(n * H * W for n in layer.macs_a_token), tokens,
        embedding.kernel_norms(tokens, layer.channels),
        embedding.carried_shares(embedding.normalised(tokens, layer.gain, layer.eps), layer.channels),
        embedding.caused_shares(tokens, layer.channels, layer.gain),
    )  # fmt: skip


def block_bias(
    model: CrossFormer, s: int, b: int, kind: Kind, baseline: CrossFormer | None = None
) -> BlockBias:
    """Return the position bias of one block: surfaces, MLP and measures of every head."""
    pos, G = model.stages[s].block_list[b].attn.pos, model.group_size[s]
    surfaces = surfaces_of(pos, G)
    found = position_bias.measures(surfaces)
    heads = range(len(surfaces))
    far = np.hypot(*np.indices((2 * G - 1, 2 * G - 1)) - (G - 1))
    return BlockBias(
        s,
        b,
        kind,
        G,
        surfaces,
        mlp_of(pos),
        None if baseline is None else surfaces_of(baseline.stages[s].block_list[b].attn.pos, G),
        [found.character(h) for h in heads],
        {by: position_bias.head_order(found, by).tolist() for by in ORDERS},
        [_measures(found, h) for h in heads],
        float(far.mean()),
        trained_side(model, s, "lda" if b % 2 else "sda"),  # whatever it is on a map as small as 224 px has
    )


def surfaces_of(pos: Any, G: int) -> np.ndarray:
    """Return the bias of every head as a surface over all offsets: float32 (nH, 2G-1, 2G-1)."""
    table = table_of(pos, G).detach().float().cpu().numpy()
    return np.ascontiguousarray(table.T.reshape(-1, 2 * G - 1, 2 * G - 1))


def _measures(found: position_bias.Measures, h: int) -> dict[str, Any]:
    decay = float(found.decay[h])
    return {
        "spread": float(found.spread[h]),
        "shift": float(np.hypot(*found.centre[h])),
        "distance": float(found.distance[h]),
        "decay": None if np.isnan(decay) else decay,
        "centre": [float(x) for x in found.centre[h]],
        "nearness": float(found.nearness[h]),
        "anisotropy": float(found.anisotropy[h]),
        "diagonality": float(found.diagonality[h]),
    }


def quick(model: CrossFormer, size: tuple[int, int]) -> bool:
    """Whether all parts of a model can be ablated in seconds, so that it is done without asking.

    Args:
        model: The model.
        size: Height and width of the input in pixels; the time grows with its area.
    """
    weights = sum(weight.numel() for weight in model.parameters())
    return weights * max(1, size[0] * size[1] / USUAL**2) <= QUICK


def part_name(part: Intervention, lang: str) -> str:
    """Name a part for an axis or a table, in the reader's language: "3.2 head 5"."""
    words = {f"part_{one}": lookup(lang, f"lab.part_{one}") or one for one in PARTS}
    index = part.index
    if part.part == "kernel" and index is not None:
        index = CEL_KERNELS[part.stage or 0][index]
    name = head_name(words, part.part, part.stage or 0, part.block, index)
    return f"{name} → {part.how.upper()}" if part.part == "kind" else name
