"""The architecture: `model` is read from top to bottom, the other files are how it computes quickly."""

from .model import (
    AnyPosBias,
    CrossFormer,
    DynamicPosBias,
    NoPosBias,
    RelativePosBias,
    group,
    stretched,
    ungroup,
)
from .origin import recorded, with_new_head

__all__ = [
    "AnyPosBias",
    "CrossFormer",
    "DynamicPosBias",
    "NoPosBias",
    "RelativePosBias",
    "group",
    "recorded",
    "stretched",
    "ungroup",
    "with_new_head",
]
