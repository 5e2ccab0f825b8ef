"""The architecture: `model` reads from top to bottom; most other files make it fast."""

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
from .origin import recorded, settled, with_new_head

__all__ = [
    "AnyPosBias",
    "CrossFormer",
    "DynamicPosBias",
    "NoPosBias",
    "RelativePosBias",
    "group",
    "recorded",
    "settled",
    "stretched",
    "ungroup",
    "with_new_head",
]
