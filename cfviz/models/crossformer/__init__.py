"""The architecture: `model` is read from top to bottom, the other files are how it computes quickly."""

from .model import (
    MASKED,
    AnyPosBias,
    CrossFormer,
    DynamicPosBias,
    NoPosBias,
    RelativePosBias,
    group,
    stretched,
    ungroup,
)

__all__ = [
    "MASKED",
    "AnyPosBias",
    "CrossFormer",
    "DynamicPosBias",
    "NoPosBias",
    "RelativePosBias",
    "group",
    "stretched",
    "ungroup",
]
