"""cfviz: a microscope for CrossFormer, a hierarchical vision transformer.

Importing the package registers the CrossFormer variants with timm.

Example:
    >>> import cfviz
    >>> trace = cfviz.inspect("cat.jpg", watch="layers.0.blocks.*.attn.probs")
    >>> trace.top(3)
"""

from cfviz.data.images import load_image
from cfviz.hooks import capture, edit, points
from cfviz.models import create_model, list_models, load_checkpoint
from cfviz.notebook import show as _show
from cfviz.run import inspect
from cfviz.trace import Trace, render_traces_with

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
__version__ = "0.1.0"

render_traces_with(_show)
