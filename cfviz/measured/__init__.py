"""Compute the data of figures from a model and a trace, for the pages and the report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cfviz import point_names
from cfviz.analysis import embedding, position_bias
from cfviz.analysis.reach import whole_photo
from cfviz.data import answers
from cfviz.figures.live.embedding import Cel
from cfviz.figures.live.message import digest_of
from cfviz.figures.live.position_bias import BlockBias
from cfviz.figures.plots.architecture import anatomy, feature_colours, readable
from cfviz.figures.plots.lab import head_name
from cfviz.figures.theme import Theme
from cfviz.figures.uris import data_uri
from cfviz.geometry import CEL_KERNELS, Grouping, Kind
from cfviz.models.crossformer import CrossFormer, recorded
from cfviz.models.interventions.language import PARTS, Intervention
from cfviz.models.probes.cost import Cost
from cfviz.models.probes.embedding import Layer
from cfviz.models.probes.position_bias import mlp_of, table_of, trained_side
from cfviz.run import about_answer
from cfviz.trace import Trace
from cfviz.words import Translator, lookup, together, translator

__all__ = [
    "ORDERS",
    "QUICK",
    "USUAL",
    "WHOLE_TEXTS",
    "block_bias",
    "block_biases",
    "cel",
    "coverage",
    "part_name",
    "quick",
    "stage_pictures",
    "surfaces_of",
    "whole_model",
]

QUICK, USUAL = 10e6, 448  # parameters; up to here, a few dozen forwards take seconds, at up to 448 x 448 px
WHOLE_TEXTS = (
    "stage", "map_alt", "photo_label", "cel_title", "blocks", "chip", "params", "macs", "query", "sda",
    "lda", "answer", "answer_none", "hint", "said_sda", "said_lda", "said_whole", "padded", "go_grouping",
    "go_attention", "go_position_bias", "go_predict",
)  # fmt: skip
AT_ONCE = 200_000  # numbers of a map measured together: as many, in float64, as a processor's cache holds
SIDES = range(2, 49)  # of a group: 800 x 1216 px with LDA over the whole map has groups of 25 x 38
ORDERS = ("number", "near", "horizontal", "diagonal", "shifted", "decay", "spread")
# What the reader of the figures of position bias chooses besides block and head: default, allowed values.
BIAS_CHOICES: dict[str, tuple[int, Sequence[int]]] = {
    "raw": (0, (0, 1)), "scale": (0, (0, 1, 2)), "reach": (0, (0, 1)), "order": (0, range(len(ORDERS))),
    "Gh": (14, SIDES), "Gw": (14, SIDES), "less": (0, (0, 1)), "large": (0, (0, 1)),
}  # fmt: skip


def whole_model(
    trace: Trace,
    model: CrossFormer,
    lang: str,
    *,
    title: str,
    labels: Sequence[str],
    pictures: Sequence[str],
    costs: Mapping[str, Cost],
    links: Mapping[str, bool],
    theme: Theme,
) -> dict[str, Any]:
    """Return everything that the figure of the whole model draws, as plain values.

    Args:
        trace: A photo's trace.
        model: The model that was traced.
        lang: The reader's language.
        title: The photo's name.
        labels: The names of the classes in the reader's language.
        pictures: From `stage_pictures`.
        costs: The cost of every part, from `probes.cost.cost`.
        links: By name, whether there is a page to go to.
        theme: The theme around the figure.
    """
    stages = anatomy(trace.groupings, [d["num_chs"] for d in model.feature_info], model.num_heads, costs)
    for s, stage in enumerate(stages):
        body, cel = costs[f"stage.{s}"], costs[f"cel.{s}"]
        stage["picture"] = pictures[s]
        stage["params_text"] = readable(body.params + cel.params)
        stage["macs_text"] = readable(body.macs + cel.macs)
    t = translator(lang)
    top = [[labels[i], p] for i, _, p in trace.top(5)] if trace.weights.predicts else []
    data = {
        "photo": pictures[-1],
        "of": digest_of(trace.crop) if trace.crop else "",
        "photo_alt": t("home.figure.photo_alt", photo=title),
        "stages": stages,
        "top": top,
        "none": trace.shown == (),
        "classes": len(labels),
        "line": "" if trace.shown == () else about_answer(trace, labels, t),  # `none` says it, too
        "known": answers.folded_list(t, labels) if top else "",
        "weights": together(recorded(model).sentence(t, str), recorded(model).terms(t)),
        "links": dict(links),
        "text": {name: lookup(lang, f"home.figure.{name}") for name in WHOLE_TEXTS},
        "css": theme.css(),
    }
    return {"id": hashlib.sha256(repr(data).encode()).hexdigest()[:16], **data}


def coverage(stages: Sequence[Sequence[Grouping]], t: Translator) -> str:
    """One sentence: after how many blocks every token of a model has information from the whole photo.

    Args:
        stages: How every block of every stage partitions its map, as in `CrossFormer.groupings`.
        t: The reader's language.
    """
    found = whole_photo(stages)
    if found is None:
        return t("common.covers_never")
    stage, block = found
    count = sum(len(blocks) for blocks in stages[:stage]) + block + 1
    fields = {"n": count, "all": sum(map(len, stages)), "stage": stage + 1, "block": block + 1}
    return t("common.covers_one" if count == 1 else "common.covers", **fields)


def stage_pictures(trace: Trace, depths: Sequence[int]) -> tuple[str, ...]:
    """Return what each stage made of a photo as a picture, then the crop, as data URIs.

    Args:
        trace: With `point_names.stage_outputs(depths)`.
        depths: The number of blocks of each stage.
    """
    maps = [trace[point] for point in point_names.stage_outputs(depths)]
    assert trace.crop is not None
    uris = [data_uri(Image.fromarray(feature_colours(array))) for array in maps]
    crop = data_uri(trace.crop, "WEBP", lossless=True, method=0)  # 2 ms; by default 40, and a tenth smaller
    return (*uris, crop)


def cel(layer: Layer, tokens: np.ndarray) -> Cel:
    """Measure one embedding layer on one photo, from the concatenated tokens (H, W, C)."""
    H, W, C = tokens.shape
    some = max(1, AT_ONCE // (W * C))
    parts = []
    for x in (tokens[i : i + some] for i in range(0, H, some)):
        normal = embedding.normalised(x, layer.gain, layer.eps)
        parts.append((
            embedding.kernel_norms(x, layer.channels),
            embedding.carried_shares(normal, layer.channels),
            embedding.caused_shares(x, layer.channels, layer.gain),
        ))  # fmt: skip
    norm, carried, caused = (np.concatenate(rows, 1) for rows in zip(*parts, strict=True))
    macs = tuple(n * H * W for n in layer.macs_a_token)
    return Cel(layer.stage, layer.kernels, layer.channels, macs, tokens, norm, carried, caused)


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


def block_biases(model: CrossFormer, baseline: CrossFormer | None = None) -> tuple[BlockBias, ...]:
    """Return the position bias of every block, stage by stage, at the group size used in training.

    Args:
        model: The model.
        baseline: The same network with a learned table, shown beside it; None if there is none.
    """
    kinds = model.groupings(224, 224)
    return tuple(
        block_bias(model, s, b, kinds[s][b].kind, baseline)
        for s, stage in enumerate(model.stages)
        for b, _ in enumerate(stage.block_list)
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
