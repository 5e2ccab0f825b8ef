"""Build and parse the names of the points inside a CrossFormer; nowhere else are they written by hand.

A point is named after its module: `layers.2.blocks.0.attn.probs`. The embedding layer before the first stage
is `patch_embed`; every later one belongs to the stage before it: `layers.0.downsample`. With `"*"` as the
stage or block, a name is a shell pattern that matches all of them, for `hooks.capture` and `inspect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Number = int | Literal["*"]


class Place(NamedTuple):
    """The place of a point.

    Attributes:
        stage: From 0.
        block: From 0; None in the embedding layer before the stage.
        point: The rest of the name: "attn.probs", "out", "concat".
    """

    stage: int
    block: int | None
    point: str


def block(stage: Number = "*", block: Number = "*", point: str = "out") -> str:
    """Name a point of a block: `block(2, 0)` is `layers.2.blocks.0.out`."""
    return f"layers.{stage}.blocks.{block}.{point}"


def attention(stage: Number = "*", block: Number = "*", point: str = "probs") -> str:
    """Name a point of a block's attention: q, k, v, bias, probs, heads, out."""
    return f"layers.{stage}.blocks.{block}.attn.{point}"


def embedding(stage: int, point: str = "concat") -> str:
    """Name a point of the cross-scale embedding layer before a stage: concat, out, kernels.0 and so on."""
    return f"patch_embed.{point}" if stage == 0 else f"layers.{stage - 1}.downsample.{point}"


def filters(kernel: int) -> str:
    """Name the filters of one kernel of the first embedding layer, a parameter; the smallest kernel is 0."""
    return f"patch_embed.projs.{kernel}.weight"


def merging(stage: int, kernel: int) -> str:
    """Name the weights of one kernel of the embedding layer before a stage from 1, a parameter."""
    return f"layers.{stage - 1}.downsample.reductions.{kernel}.weight"


def cooling(stage: int, block_: int) -> str:
    """Name the weights of a block's amplitude cooling layer, a parameter."""
    return block(stage, block_, "ex_conv.weight")


def embeddings(point: str = "concat") -> tuple[str, str]:
    """Return the patterns that match one point in all embedding layers."""
    return f"patch_embed.{point}", f"layers.*.downsample.{point}"


def stage_outputs(depths: Iterable[int]) -> tuple[str, ...]:
    """Name the points where the map of each stage is complete: the outputs of the last blocks.

    Args:
        depths: Blocks in each stage, `model.depths`.
    """
    return tuple(block(stage, depth - 1) for stage, depth in enumerate(depths))


_NAME = re.compile(
    r"patch_embed\.(?P<stem>.+)"
    r"|layers\.(?P<stage>\d+)\.(?:blocks\.(?P<block>\d+)|downsample)\.(?P<point>.+)"
)


def parse(name: str) -> Place:
    """Return the place of the point with this name; the inverse of the functions above.

    Raises:
        ValueError: If no point of a block or an embedding layer has this name.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} names no point of a block or an embedding layer")
    if found["stem"]:
        return Place(0, None, found["stem"])
    if found["block"] is None:
        return Place(int(found["stage"]) + 1, None, found["point"])
    return Place(int(found["stage"]), int(found["block"]), found["point"])
