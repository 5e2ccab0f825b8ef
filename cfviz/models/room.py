"""Limit the size of one forward, computed from shapes before anything is allocated.

Weights set their own groups, a link sets its own partition, a reader chooses the input: together they may
request tensors of gigabytes from a file of megabytes. One limit holds for everything a reader supplies;
callers of the library decide for themselves. For comparison, the largest variant has 52 million attention
weights at 448 px, and 534 million with groups of 28.
"""

from __future__ import annotations

from cfviz.geometry import Grouping, map_sizes

from .crossformer import CrossFormer

__all__ = ["ALL", "KEPT", "MOST_CLASSES", "attention_weights", "check_all", "check_room", "check_tensor"]

LARGE = 200_000_000  # numbers in one tensor of one photo: 800 MB
ALL = 600_000_000  # total attention weights of all blocks in a forward
KEPT = 150_000_000  # the same if a page keeps them all: 600 MB
MOST_CLASSES = 25_000  # ImageNet-22k has 21,843


def check_tensor(g: Grouping, stage: int, channels: int, heads: int) -> int:
    """Refuse a block whose largest tensor would take gigabytes.

    Args:
        g: The block's partition of its map.
        stage: From 0, for the error message.
        channels, heads: Of the block.

    Returns:
        The number of attention weights in the block for one photo.

    Raises:
        ValueError: If a tensor would have more than `LARGE` numbers.
    """
    tokens = g.Hp * g.Wp
    weights = tokens * g.N * heads
    numbers = max(tokens * channels, weights)
    if numbers > LARGE:
        sides = f"G = {g.G}" if g.Gh == g.Gw else f"groups of {g.size}"
        raise ValueError(
            f"{sides} and I = {g.I} in stage {stage + 1} need {tokens:,} tokens with padding, in groups of "
            f"{g.N:,}; expected no more than {LARGE:,} numbers in one tensor, got {numbers:,}"
        )
    return weights


def check_all(weights: int, most: int = ALL) -> None:
    """Refuse a forward whose blocks together have more than `most` attention weights."""
    if weights > most:
        raise ValueError(
            f"these groups need {weights:,} attention weights for one photo; expected no more than {most:,}: "
            "choose smaller groups or a smaller input"
        )


def attention_weights(model: CrossFormer, height: int, width: int) -> int:
    """Count the attention weights of all blocks in a forward of one photo.

    Args:
        model: Set to the groups that the forward would use.
        height, width: Of the input, in pixels.

    Raises:
        ValueError: If one tensor is too large.
    """
    total = 0
    for s, (stage, (H, W)) in enumerate(zip(model.stages, map_sizes(height, width), strict=True)):
        for block in stage.block_list:
            channels, heads = block.norm1.normalized_shape[0], block.attn.num_heads
            total += check_tensor(block.groups(H, W), s, channels, heads)
    return total


def check_room(model: CrossFormer, height: int, width: int, most: int = ALL) -> None:
    """Refuse a forward that would take gigabytes.

    Args:
        model: Set to the groups that the forward would use.
        height, width: Of the input, in pixels.
        most: Limit on the attention weights of all blocks together.

    Raises:
        ValueError: If one tensor, or the attention of all blocks together, is too large.
    """
    check_all(attention_weights(model, height, width), most)
