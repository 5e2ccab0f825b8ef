"""Which family of timm's models weights belong to, judging by the names of their parameters.

Of a file, only names are looked at: one of another family is called by its name before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first that fits: a name which, among the families that can be read, only this one has.
MARKS = {
    "Swin": r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table",
    "Swin V2": r"layers\.0\.blocks\.0\.attn\.logit_scale",
    "Twins": r"patch_embeds\.0\.proj\.weight",
    "PVT v2": r"(stages\.0\.blocks\.|block1\.)0\.mlp\.dwconv\..+",
    "MaxViT": r"stages\.0\.blocks\.0\.attn_grid\..+",
    "ViT": r"blocks\.0\.attn\.qkv\.weight",
}
_NAMES = re.compile(r"(swin|swinv2|twins|pvt_v2|maxvit|vit|deit3?)_.+")  # timm's, of models of these families
_BLOCK = (
    re.compile(  # all that a block of a plain ViT can have: others begin in the same way (BEiT, CaiT, EVA)
        r"blocks\.0\.(norm[12]|ls[12]|mlp\.(fc[12]|norm)|attn\.(qkv|proj|q_norm|k_norm|norm|gate))\.\w+"
    )
)
_WRAPPERS = re.compile(r"((module|_orig_mod|model|net|network|backbone|encoder)\.)+")


def family_in(names: Iterable[str]) -> str:
    """Return the family that parameters of these names belong to, such as "Swin V2"; empty for none."""
    bare = [_WRAPPERS.sub("", name, count=1) if _WRAPPERS.match(name) else name for name in names]
    found = next((family for family, mark in MARKS.items() if any(re.fullmatch(mark, n) for n in bare)), "")
    plain = all(_BLOCK.fullmatch(name) for name in bare if name.startswith("blocks.0."))
    return found if found != "ViT" or plain else ""


def is_name(text: str) -> bool:
    """Return whether this is timm's name of a model of one of these families."""
    if not _NAMES.fullmatch(text):
        return False
    import timm  # deferred: it takes a second

    return timm.is_model(text)
