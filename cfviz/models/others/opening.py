"""Models of timm that are offered by name, one of each family that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cfviz.framing import Size

from .timm_models import made

OFFERED: dict[str, str] = {
    "swin_tiny_patch4_window7_224": "Swin-T",
    "swinv2_tiny_window8_256": "Swin V2-T",
    "twins_svt_small": "Twins-SVT-S",
    "pvt_v2_b0": "PVT v2-B0",
    "maxvit_tiny_tf_224": "MaxViT-T",
    "deit_small_patch16_224": "DeiT-S (ViT)",
}  # timm's name: the name in papers
_ANY_SIZE = ("pvt_v2_b0",)


def open_other(name: str, size: Size = 224, weights: Path | None = None) -> Any:
    """Make one of the models in `OFFERED` in eval mode.

    Args:
        name: Key of `OFFERED`.
        size: Side of the input in pixels, or its height and width.
        weights: A file from `timm_models.fetch_weights`; None for random weights, the same in every call.

    Returns:
        The model; `model.provenance` records where its weights come from.

    Raises:
        ValueError: If there is no such model.
    """
    if name not in OFFERED:
        raise ValueError(f"there is no model {name!r}; there are: {', '.join(OFFERED)}")
    return made(name, {} if name in _ANY_SIZE else {"img_size": size}, weights)
