"""A backbone of timm under the heads of this project: what of a CrossFormer they use."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

STRIDES = [4, 8, 16, 32]
LAYOUTS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 3, 1, 2)}


class TimmMaps(nn.Module):
    """The four maps of a `features_only` model of timm, in the place of a CrossFormer's.

    Args:
        body: `timm.create_model(name, features_only=True)` with maps at strides 4, 8, 16 and 32; where there
            are more, `out_indices` chooses, such as (1, 2, 3, 4) for a ResNet.

    Raises:
        ValueError: If the model has other maps, or returns them in a layout that is not known here.

    Example:
        >>> body = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3, 4))
        >>> model = SemanticFPN(TimmMaps(body), num_classes=21, channels=64, hidden=64)
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        about: Any = getattr(body, "feature_info", None)
        if not hasattr(about, "reduction"):
            raise ValueError(
                f"got a {type(body).__name__}; expected a model made with "
                "timm.create_model(..., features_only=True)"
            )
        if about.reduction() != STRIDES:
            found = ", ".join(map(str, about.reduction()))
            raise ValueError(
                f"the maps have strides {found}; expected 4, 8, 16, 32: choose them with out_indices"
            )
        layout = getattr(getattr(body, "output_fmt", None), "value", "NCHW")
        if layout not in LAYOUTS:
            raise ValueError(f"the maps are laid out as {layout}; expected {' or '.join(LAYOUTS)}")
        self.body = body
        self.in_chans = int(getattr(body, "in_chans", 3))
        self.feature_info = [{"num_chs": channels} for channels in about.channels()]
        self.order = LAYOUTS[layout]

    def forward_intermediates(self, x: torch.Tensor, intermediates_only: bool = True) -> list[torch.Tensor]:
        """Return the maps at strides 4, 8, 16, 32: (B, 3, H, W) -> (B, C_i, H_i, W_i)."""
        return [y.permute(self.order).contiguous() for y in self.body(x)]
