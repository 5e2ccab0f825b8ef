"""The public names, for type checkers and editors; `__init__.py` imports each of them on first use."""

from cfviz.data.images import load_image
from cfviz.hooks import capture, edit, points
from cfviz.models.factory import create_model
from cfviz.models.variants import list_models
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.run import inspect
from cfviz.trace import Trace

__all__ = [
    "Trace",
    "capture",
    "create_model",
    "edit",
    "inspect",
    "list_models",
    "load_checkpoint",
    "load_image",
    "points",
]
__version__: str
