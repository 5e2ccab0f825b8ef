"""Where tokens are and who attends to whom: `groups` for CrossFormer, `schemes` for every other method."""

from .groups import (
    CEL_KERNELS,
    CEL_STRIDES,
    MASKED,
    PATCH,
    Grouping,
    Interval,
    Kind,
    cel_box,
    cel_channels,
    grouping,
    lsda,
    map_sizes,
    offsets,
    relative_index,
    token_box,
)

__all__ = [
    "CEL_KERNELS",
    "CEL_STRIDES",
    "MASKED",
    "PATCH",
    "Grouping",
    "Interval",
    "Kind",
    "cel_box",
    "cel_channels",
    "grouping",
    "lsda",
    "map_sizes",
    "offsets",
    "relative_index",
    "token_box",
]
