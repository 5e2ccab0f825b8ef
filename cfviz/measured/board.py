"""The lab's board: what it shows of a model, whatever is measured or asked on it."""

from __future__ import annotations

import hashlib
from typing import Any

from cfviz.figures.plots.lab import stages
from cfviz.framing import Size, as_pair
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import FILLS
from cfviz.words import lookup

TEXTS = (
    "stage", "block", "all_stages", "all_blocks", "kernel", "all_kernels", "head", "all_heads", "bias",
    "mask", "attn", "mlp", "kind", "G", "I", "whole_block", "whole_blocks", "block_short", "attn_short",
    "mask_short", "how_zero", "how_mean", "how_shuffle", "how_replace", "by_number", "cel_title",
    "whole_map", "less", "more", "costs", "costs_points", "moves", "now", "click_add",
    "click_remove", "stop", "click",
    "scale", "scale_points", "scale_share", "points", "measuring", "unmeasured", "point", "board", "empty",
    "switch", "fill", "up",
    "down", "remove", "all_on", "all_off", "clear", "undo", "redo", "undo_keys", "redo_keys", "undone",
    "redone", "undone_part", "redone_part",
)  # fmt: skip


def board_frame(model: CrossFormer, size: Size, lang: str) -> dict[str, Any]:
    """The constant content of the board but for its colours: the model's parts, and words.

    Args:
        model: The model.
        size: Side of the input in pixels, or its height and width.
        lang: Language of the words.
    """
    channels = [d["num_chs"] for d in model.feature_info]
    shape = stages(model.groupings(*as_pair(size)), channels, model.num_heads, model.group_size)
    return {
        "hows": list(FILLS),
        "stages": shape,
        "shape": hashlib.sha256(repr((shape, model.position_bias)).encode()).hexdigest()[:12],
        "bias": {"dpb": "DPB", "rpb": "RPB", "none": "–"}[model.position_bias],
        "text": {name: lookup(lang, f"lab.figure.{name}") for name in TEXTS},
        "lang": lang,
    }
