"""The CrossFormer variants and their configurations.

Widths and depths are those of the papers (CrossFormer, table 1; CrossFormer++, table 2). `crossformer_nano`
is ours: small enough to train on a laptop and to ship. `crossformer_nano_rpb` is its baseline: a learned
table (RPB) replaces the dynamic position bias; the training is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cfviz.bundled import ASSETS

WEIGHTS = ASSETS / "weights"
BUNDLED = "crossformer_nano"
OURS = (BUNDLED, f"{BUNDLED}_rpb")  # trained on 20 classes, not by the authors

_CLASSIC = dict(group_size=(7, 7, 7, 7), interval=(8, 4, 2, 1))
_PLUS = dict(group_size=(4, 4, 14, 7), interval=(4, 2, 1, 1), cooling=True)

_NANO = dict(embed_dim=48, depths=(2, 2, 2, 1), num_heads=(3, 6, 12, 24), drop_path_rate=0.05, **_CLASSIC)

VARIANTS: dict[str, dict[str, Any]] = {
    "crossformer_nano": _NANO,
    "crossformer_nano_rpb": dict(position_bias="rpb", **_NANO),
    "crossformer_tiny": dict(
        embed_dim=64, depths=(1, 1, 8, 6), num_heads=(2, 4, 8, 16), drop_path_rate=0.1, **_CLASSIC
    ),
    "crossformer_small": dict(
        embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.2, **_CLASSIC
    ),
    "crossformer_base": dict(
        embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.3, **_CLASSIC
    ),
    "crossformer_large": dict(
        embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5, **_CLASSIC
    ),
    "crossformer_pp_small": dict(
        embed_dim=64, depths=(2, 2, 18, 2), num_heads=(2, 4, 8, 16), drop_path_rate=0.2, **_PLUS
    ),
    "crossformer_pp_base": dict(
        embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.3, **_PLUS
    ),
    "crossformer_pp_large": dict(
        embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5, **_PLUS
    ),
    "crossformer_pp_huge": dict(
        embed_dim=128, depths=(6, 6, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5, **_PLUS
    ),
}


def shipped(name: str) -> Path | None:
    """Return the path of the weights that come with the package for a variant, or None."""
    file = WEIGHTS / f"{name}.safetensors"
    return file if file.is_file() else None


def list_models() -> list[str]:
    """List the names of the variants, smallest family first."""
    return list(VARIANTS)
