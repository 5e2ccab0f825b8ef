"""The parameters in a checkpoint, without what is wrapped around them.

Wrappers, prefixes and the buffers of older code go; every name that stays is the authors'.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from .errors import CheckpointError, some

FIRST_KEY = "patch_embed.projs.0.weight"

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "module")
_PREFIX = re.compile(r"((module|model|backbone|encoder|_orig_mod)\.)*")
_OLD_BUFFERS = re.compile(r"layers\.\d+\.blocks\.\d+\.(attn\.biases|attn\.relative_position_index|attn_mask)")


def strip(content: Any, source: str = "the checkpoint") -> dict[str, Any]:
    """The bare parameters of a checkpoint: without wrappers, prefixes and the buffers of older code.

    Args:
        content: A state dict, or a dict that holds one under a usual name ("model", "state_dict", ...).
        source: What to call it in messages.

    Raises:
        CheckpointError: If there is no CrossFormer inside.
    """
    state, prefix = _unwrapped(content, source), ""
    for name in state:
        if name.endswith(FIRST_KEY) and _PREFIX.fullmatch(name[: -len(FIRST_KEY)]):
            prefix = name[: -len(FIRST_KEY)]
            break
    others = "backbone." in prefix or "encoder." in prefix  # a detector's necks and heads stand beside it
    kept = {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix) or not others
    }
    return {name: value for name, value in kept.items() if not _OLD_BUFFERS.fullmatch(name)}


def _unwrapped(content: Any, source: str) -> dict[str, Any]:
    for _ in range(4):
        if not isinstance(content, dict):
            detail = f"its content is one {type(content).__name__}, expected names and tensors"
            raise CheckpointError("no_tensors", source=source, detail=detail)
        items = {name: value for name, value in dict.items(content) if isinstance(name, str)}
        inner = next((items[key] for key in _WRAPPERS if isinstance(items.get(key), dict)), None)
        if inner is None:
            if any(isinstance(value, torch.Tensor) for value in items.values()):
                return items
            detail = f"it has {some(list(items))}, none of them a tensor"
            raise CheckpointError("no_tensors", source=source, detail=detail)
        content = inner
    raise CheckpointError("no_tensors", source=source, detail="its wrappers are nested too deep")
