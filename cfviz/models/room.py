"""How large one forward may be, told from sizes before anything is allocated.

Weights name their own groups, a link names its own cuts, a reader picks the input: together they may ask for
tensors of gigabytes out of a file of megabytes. One bound holds for all that comes from a reader; whoever
calls the library decides for himself. Measured by it, the largest variant has 52 million attention weights at
448 px, and 534 million with groups of 28.
"""

from __future__ import annotations

from cfviz.geometry import Grouping, map_sizes

from .crossformer import CrossFormer

__all__ = ["ALL", "KEPT", "MOST_CLASSES", "check_all", "check_room", "check_tensor"]

LARGE = 200_000_000  # numbers in one tensor of one photo: 800 MB
ALL = 600_000_000  # attention weights of all blocks of a forward together
KEPT = 150_000_000  # the same where a page keeps them all: 600 MB
MOST_CLASSES = 25_000  # ImageNet-22k has 21,843


def check_tensor(g: Grouping, stage: int, channels: int, heads: int) -> int:
    """Refuse a block whose largest tensor would take gigabytes.

    Args:
        g: How the block cuts its map.
        stage: From 0, for the sentence.
        channels, heads: Of the block.

    Returns:
        How many attention weights the block has for one photo.

    Raises:
        ValueError: If one tensor has more than `LARGE` numbers.
    """
    tokens = g.Hp * g.Wp
    weights = tokens * g.N * heads
    numbers = max(tokens * channels, weights)
    if numbers > LARGE:
        raise ValueError(
            f"G = {g.G} and I = {g.I} in stage {stage + 1} need {tokens:,} tokens with padding, in groups of "
            f"{g.N:,}; expected no more than {LARGE:,} numbers in one tensor, got {numbers:,}"
        )
    return weights


def check_all(weights: int, most: int = ALL) -> None:
    """Refuse a forward whose blocks have more attention weights together than there is room for."""
    if weights > most:
        raise ValueError(
            f"these groups need {weights:,} attention weights for one photo; expected no more than {most:,}: "
            "choose smaller groups or a smaller input"
        )


def check_room(model: CrossFormer, height: int, width: int, most: int = ALL) -> None:
    """Refuse a forward that would take gigabytes.

    Args:
        model: With the groups that the forward would use.
        height, width: Of the input, pixels.
        most: Attention weights of all blocks together.

    Raises:
        ValueError: If one tensor, or the attention of all blocks together, is too large.
    """
    total = 0
    for s, (stage, (H, W)) in enumerate(zip(model.stages, map_sizes(height, width), strict=True)):
        for block in stage.each:
            channels, heads = block.norm1.normalized_shape[0], block.attn.num_heads
            total += check_tensor(block.groups(H, W), s, channels, heads)
    check_all(total, most)
