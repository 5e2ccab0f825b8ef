"""The CrossFormer architecture, its variants, and where weights come from."""

from cfviz.models.crossformer import CrossFormer
from cfviz.models.registry import list_models

__all__ = ["CrossFormer", "list_models"]
