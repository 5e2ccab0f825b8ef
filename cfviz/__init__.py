"""cfviz: a microscope for CrossFormer, a hierarchical vision transformer.

Importing the package registers the CrossFormer variants with timm. PyTorch and timm themselves are imported
when the first of the names below is used.

Example:
    >>> import cfviz
    >>> trace = cfviz.inspect("cat.jpg", watch="layers.0.blocks.*.attn.probs")
    >>> trace.top(3)
"""

from importlib import import_module
from typing import Any

from cfviz.deferred import after_import, import_uncollected, on_first_use, render_traces_with

_HOMES = {
    "Trace": "trace",
    "capture": "hooks",
    "create_model": "models.factory",
    "edit": "hooks",
    "inspect": "run",
    "list_models": "models.variants",
    "load_checkpoint": "models.weights.checkpoints",
    "load_image": "data.images",
    "points": "hooks",
}
__all__ = list(_HOMES)
__version__ = "0.1.0"
__getattr__ = on_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _show(trace: Any) -> str:
    from cfviz.notebook import show  # deferred: it imports the figures

    return show(trace)


def _plot(trace: Any, kind: str, **options: Any) -> Any:
    from cfviz.paper.kinds import plot  # deferred: it imports matplotlib

    return plot(trace, kind, **options)


render_traces_with(_show, _plot)
import_uncollected("torch")
after_import("timm", lambda: import_module("cfviz.models.registry"))
