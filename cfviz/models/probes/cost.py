"""Cost of a model's parts: parameters, and multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from cfviz.geometry import Grouping, lsda, map_sizes
from cfviz.models.crossformer import CrossFormer
from cfviz.models.crossformer.model import CrossFormerBlock


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

    Every matrix product and convolution counts, by its weights and the places it is used at; attention counts
    its two products, over padded keys too. As in papers, norms, GELU and softmax are left out. Nothing is
    computed: pages show the count before they show the photo.

    Args:
        model: Any; edits of its groups are not counted.
        height, width: Of the input, in pixels.

    Returns:
        `cel.0` to `cel.3` (each stage's embedding), `stage.0` to `stage.3` (its blocks), `head` (with the
        last norm), `total`.
    """
    macs = _macs(model, height, width)
    params = _split(model, lambda module: sum(p.numel() for p in module.parameters()))
    return {name: Cost(params[name], macs[name]) for name in params}


def _macs(model: CrossFormer, height: int, width: int) -> dict[str, int]:
    maps = map_sizes(height, width)
    found = {"cel.0": _products(model.patch_embed, maps[0][0] * maps[0][1])}
    for s, (stage, (H, W)) in enumerate(zip(model.stages, maps, strict=False)):
        if stage.downsample is not None:
            below = maps[s + 1]
            found[f"cel.{s + 1}"] = _products(stage.downsample, below[0] * below[1])
        found[f"stage.{s}"] = sum(
            _block(block, lsda(H, W, block.index, block.G, block.I, block.lda)) for block in stage.block_list
        )
    found["head"] = _products(model.head, 1)
    return {**found, "total": sum(found.values())}


def _block(block: CrossFormerBlock, groups: Grouping) -> int:
    """Multiply-adds of a block: attention over all tokens of its groups, the rest over those of the map."""
    attn, tokens = block.attn, groups.nG * groups.N
    offsets = (2 * groups.Gh - 1) * (2 * groups.Gw - 1)
    inside = _products(attn.qkv, tokens) + _products(attn.proj, tokens) + _products(attn.pos, offsets)
    pairs = 2 * tokens * groups.N * attn.proj.in_features  # q with k, and probabilities with v
    rest = _products(block, groups.H * groups.W) - _products(attn, groups.H * groups.W)
    return inside + pairs + rest


def _products(module: nn.Module, places: int) -> int:
    """Multiply-adds of the matrix products and convolutions in a module, each used at some places."""
    kinds = (nn.Linear, nn.Conv2d)
    return places * sum(one.weight.numel() for one in module.modules() if isinstance(one, kinds))


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
