"""The CrossFormer architecture, its variants, and the loading of weights."""

from cfviz.models.weights.checkpoints import Checkpoint, CheckpointError, load_checkpoint

from .crossformer import CrossFormer
from .factory import build, create_model
from .variants import list_models

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CrossFormer",
    "build",
    "create_model",
    "list_models",
    "load_checkpoint",
]
