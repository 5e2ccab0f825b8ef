"""Cost of a model's parts: parameters, and multiply-adds counted by torch's own counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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
    """The cost of one part.

    Attributes:
        params: Number of parameters.
        macs: Multiply-adds for one photo; papers call them FLOPs.
    """

    params: int
    macs: int


def cost(model: CrossFormer, height: int = 224, width: int = 224) -> dict[str, Cost]:
    """Count the parameters and multiply-adds of a model's parts for one photo.

    Parameters are counted on the model itself. Multiply-adds are counted on a copy without numbers (torch's
    meta device), so nothing is computed and the model is not touched. As in papers, norms, GELU and softmax
    are left out.

    Args:
        model: Any; rebuilt from its variant, groups, position bias, channels and classes.
        height, width: Of the input, in pixels.

    Returns:
        `cel.0` to `cel.3` (each stage's embedding), `stage.0` to `stage.3` (its blocks), `head` (with the
        last norm), `total`.
    """
    config: Any = model.pretrained_cfg
    stem: Any = model.patch_embed.projs[0]
    interval = model.interval if isinstance(model.interval, str) else tuple(model.interval)
    plan = (model.position_bias, stem.in_channels, model.num_classes)
    groups = (tuple(model.group_size), interval, model.lda)
    macs = _macs(config["architecture"], *plan, *groups, height, width)
    params = _split(model, lambda module: sum(p.numel() for p in module.parameters()))
    return {name: Cost(params[name], macs[name]) for name in params}


@lru_cache(maxsize=64)
def _macs(
    name: str, bias: str, channels: int, classes: int, group_size: tuple[int, ...],
    interval: tuple[int, ...] | str, lda: str, H: int, W: int,
) -> dict[str, int]:  # fmt: skip
    config: dict[str, Any] = {"position_bias": bias, "in_chans": channels, "num_classes": classes}
    with torch.device("meta"):
        config |= {"group_size": group_size, "interval": interval, "lda": lda}
        model: Any = timm.create_model(name, **config).eval()
        x = torch.zeros(1, channels, H, W)
    counter = FlopCounterMode(display=False)
    counts: Counter[nn.Module] = Counter()
    for module in model.modules():
        _count_inside(module, counter, counts)
    with torch.no_grad(), counter:
        model(x)
    return _split(model, lambda module: counts[module] // 2)


def _count_inside(module: nn.Module, counter: FlopCounterMode, counts: Counter[nn.Module]) -> None:
    """Add what is counted during a module's forward.

    The counter's own tally by module is unusable here: it follows the forwards of all threads, and a page's
    forward in another thread gave this model's stages numbers of that one. Its total is of this thread only.
    """
    begun: list[int] = []
    module.register_forward_pre_hook(lambda *_: begun.append(counter.get_total_flops()))
    module.register_forward_hook(
        lambda *_: counts.update({module: counter.get_total_flops() - begun.pop()})  # adds
    )


def _split(model: CrossFormer, count: Callable[[nn.Module], int]) -> dict[str, int]:
    """Count every part; `count` is called with its modules."""

    def of(module: nn.Module | None) -> int:
        return 0 if module is None else count(module)

    parts = {"cel.0": of(model.patch_embed)}
    for s, stage in enumerate(model.stages):
        merging = of(stage.downsample)
        if stage.downsample is not None:
            parts[f"cel.{s + 1}"] = merging
        parts[f"stage.{s}"] = of(stage) - merging
    parts["head"] = of(model.head) + of(model.norm)
    return {**parts, "total": of(model)}
