"""What a model costs, part by part: parameters and multiply-adds, counted by torch's own counter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cfviz.models.crossformer import CrossFormer


@dataclass(frozen=True)
class Cost:
    """One part's share.

    Attributes:
        params: Number of parameters.
        macs: Multiply-adds for one photo; papers call them FLOPs.
    """

    params: int
    macs: int


def cost(model: CrossFormer, height: int = 224, width: int = 224) -> dict[str, Cost]:
    """Parameters and multiply-adds of a model's parts for one photo.

    Counted on a copy without numbers (torch's meta device), so nothing is computed and the model is not
    touched. Norms, GELU and softmax are left out, as papers do.

    Args:
        model: Its variant, groups and classes are counted.
        height, width: Of the input, pixels.

    Returns:
        `cel.0` to `cel.3` (each stage's embedding), `stage.0` to `stage.3` (its blocks), `head` (with the
        last norm), `total`.
    """
    config: Any = model.pretrained_cfg
    interval = model.interval if isinstance(model.interval, str) else tuple(model.interval)
    return dict(
        _cost(config["architecture"], model.num_classes, tuple(model.group_size), interval, height, width)
    )


@lru_cache(maxsize=64)
def _cost(
    name: str, classes: int, group_size: tuple[int, ...], interval: tuple[int, ...] | str, H: int, W: int
) -> dict[str, Cost]:
    with torch.device("meta"):
        model: Any = timm.create_model(
            name, num_classes=classes, group_size=group_size, interval=interval
        ).eval()
        x = torch.zeros(1, 3, H, W)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(x)
    counts = counter.get_flop_counts()

    def part(path: str, module: nn.Module | None) -> Cost:
        if module is None:
            return Cost(0, 0)
        params = sum(p.numel() for p in module.parameters())
        return Cost(params, sum(counts.get(f"CrossFormer.{path}", {}).values()) // 2)

    parts = {"cel.0": part("patch_embed", model.patch_embed)}
    for s, stage in enumerate(model.stages):
        merging = part(f"layers.{s}.downsample", stage.downsample)
        if stage.downsample is not None:
            parts[f"cel.{s + 1}"] = merging
        whole = part(f"layers.{s}", stage)
        parts[f"stage.{s}"] = Cost(whole.params - merging.params, whole.macs - merging.macs)
    head, norm = part("head", model.head), part("norm", model.norm)
    parts["head"] = Cost(head.params + norm.params, head.macs)
    parts["total"] = Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)
    return parts
