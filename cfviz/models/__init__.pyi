"""The public names, for type checkers and editors; `__init__.py` imports each of them on first use."""

from .crossformer import CrossFormer
from .factory import build, create_model
from .variants import list_models
from .weights.checkpoints import Checkpoint, load_checkpoint
from .weights.errors import CheckpointError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CrossFormer",
    "build",
    "create_model",
    "list_models",
    "load_checkpoint",
]
