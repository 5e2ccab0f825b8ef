"""The CrossFormer architecture, its variants, and the loading of weights; imported on first use."""

from cfviz.deferred import on_first_use

_HOMES = {
    "Checkpoint": "weights.checkpoints",
    "CheckpointError": "weights.errors",
    "CrossFormer": "crossformer",
    "build": "factory",
    "create_model": "factory",
    "list_models": "variants",
    "load_checkpoint": "weights.checkpoints",
}
__all__ = list(_HOMES)
__getattr__ = on_first_use(__name__, _HOMES)
