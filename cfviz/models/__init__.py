"""The CrossFormer architecture, its variants, and where weights come from."""

from cfviz.models.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import build, create_model
from cfviz.models.registry import list_models

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CrossFormer",
    "build",
    "create_model",
    "list_models",
    "load_checkpoint",
]
