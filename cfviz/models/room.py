"""Limit the size of one forward, computed from shapes before anything is allocated.

Weights set their own groups, a link sets its own partition, a reader chooses the input: together they may
request tensors of gigabytes from a file of megabytes. One limit holds for everything a reader supplies;
callers of the library decide for themselves. A forward that keeps no attention does not hold it in memory
either: `forward_bytes` estimates what it takes. For comparison, the largest variant has 52 million attention
weights at 448 px, and 534 million with groups of 28.
"""

from __future__ import annotations

from typing import Any

import torch

from cfviz.geometry import Grouping, map_sizes

from .crossformer import CrossFormer
from .crossformer.attend import ROWS, suits_heads
from .crossformer.bias_cache import BiasCache

__all__ = [
    "ALL", "KEPT", "MOST_CLASSES", "SHARED", "attention_weights", "check_all", "check_room", "check_tensor",
    "forward_bytes", "vector_bytes",
]  # fmt: skip

TOKEN, IN_GROUPS = 10, 8  # tensors as large as the map, and as the padded map, that exist at once
IMAGE = 330  # numbers per token of the first stage that do not depend on its channels
SLACK = 4_000_000  # bytes that any forward takes
LARGE = 200_000_000  # numbers in one tensor of one photo: 800 MB
ALL = 600_000_000  # total attention weights of all blocks in a forward
KEPT = 150_000_000  # the same if a page keeps them all: 600 MB
FORWARD = 2_400_000_000  # bytes of a forward that keeps nothing
SHARED = 600_000_000  # the same where readers share a server, who wait for one another
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


def vector_bytes(model: CrossFormer, height: int, width: int) -> int:
    """Count the bytes of the queries, keys and position biases of all blocks for one photo, in float32.

    From these any token's attention can be computed. With large groups they are far smaller than the weights:
    nano at 800 x 1216 px over the whole map takes 164 MB, its attention weights 1,284 MB.

    Args:
        model: Set to the groups that the forward would use.
        height, width: Of the input, in pixels.
    """
    total = 0
    for stage, (H, W) in zip(model.stages, map_sizes(height, width), strict=True):
        for block in stage.block_list:
            g, channels = block.groups(H, W), block.norm1.normalized_shape[0]
            total += 4 * (2 * g.nG * g.N * channels + block.attn.num_heads * g.N**2)
    return total


def forward_bytes(model: CrossFormer, height: int, width: int) -> int:
    """Estimate the peak memory of a forward of one photo on a CPU, beyond the model, in bytes.

    It counts what grows with the map (tokens, their groups, the hidden layer of the MLP), the position bias
    of the block that needs most (a head's logits per thread, where groups are large), those kept before it,
    and a copy of the largest convolution's weights. For nano, Small and Base at 224, 448 and 800 x 1216 px,
    in both forms of long distance attention, it is 0.85 to 1.6 times what was measured.

    Args:
        model: Set to the groups that the forward would use.
        height, width: Of the input, in pixels.
    """
    most = kept = 0
    known: set[tuple[int, int]] = set()
    like = next(model.parameters())
    for s, (stage, (H, W)) in enumerate(zip(model.stages, map_sizes(height, width), strict=True)):
        for block in stage.block_list:
            g, heads, C = block.groups(H, W), block.attn.num_heads, block.norm1.normalized_shape[0]
            with torch.no_grad():
                single = suits_heads(like.new_empty(0, heads, g.N, 0))  # logits of a head per thread
            if not single and (g.Gh, g.Gw) not in known:
                known.add((g.Gh, g.Gw))
                kept += 8 * g.N**2  # the offset of every pair
            logits = max(min(ROWS, 4 * g.N**2), 4 * g.N * g.Gw) * min(heads * g.nG, torch.get_num_threads())
            strips = 4 * heads * (2 * g.Gh - 1) * g.Gw**2  # of a table of position biases
            bias = logits + strips if single else 4 * heads * g.N**2
            distinct = _patterns(g.H, g.Gh, g.I) * _patterns(g.W, g.Gw, g.I) if g.padded else 0
            masked = 0 if single else bias * distinct
            tokens = max(H * W * (TOKEN * C + (0 if s else IMAGE)), g.Hp * g.Wp * IN_GROUPS * C)
            most = max(most, kept + 4 * tokens + bias + masked)
            kept += made if not single and (made := masked or bias) <= BiasCache.BYTES else 0
    return most + SLACK + 4 * max(conv.weight.numel() for conv in _convolutions(model))


def _patterns(side: int, G: int, I: int) -> int:  # noqa: E741
    """How many different numbers of members along one side are tokens rather than padding."""
    regions = -(-side // (G * I))
    rest = side - (regions - 1) * G * I
    return len({rest // I, -(-rest // I), *([G] if regions > 1 else [])})


def _convolutions(model: CrossFormer) -> list[Any]:
    found: list[Any] = [*model.patch_embed.projs]
    for stage in model.stages:
        found += [] if stage.downsample is None else [*stage.downsample.reductions]
    return found


def check_room(
    model: CrossFormer, height: int, width: int, most: int | None = None, forward: int = FORWARD
) -> None:
    """Refuse a forward that would take gigabytes.

    Args:
        model: Set to the groups that the forward would use.
        height, width: Of the input, in pixels.
        most: Limit on the attention weights of all blocks together, if they are kept.
        forward: Limit on the bytes of the forward itself.

    Raises:
        ValueError: If the attention of one block is too large to look at, that of all blocks to keep, or the
            forward itself.
    """
    weights = attention_weights(model, height, width)
    if most is not None:
        check_all(weights, most)
    if (needed := forward_bytes(model, height, width)) > forward:
        raise ValueError(
            f"an input of {height} x {width} pixels needs {needed / 1e9:.1f} GB for one photo; expected no "
            f"more than {forward / 1e9:.1f} GB: choose smaller groups or a smaller input"
        )
