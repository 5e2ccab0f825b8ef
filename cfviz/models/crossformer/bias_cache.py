"""A cache for results that depend only on weights and geometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .shortcuts import bare


class BiasCache:
    """Cache of the biases that attention adds to its logits, valid while their weights stay the same.

    It is used only in eval mode without gradients; training empties it. It keeps a copy of the weights behind
    the biases and compares it with the present weights in every call: nothing else notices a write through
    `.data`. If a module has a hook or a patched `forward`, nothing is cached, and never more than `BYTES`.
    Nothing is cached on a GPU either: the processor would have to wait for the comparison in every block.
    """

    LIMIT, BYTES = 8, 32_000_000

    def __init__(self) -> None:
        self._state: tuple[list[nn.Module], torch.Tensor | None, dict[tuple, Any]] = ([], None, {})

    def get(self, owner: nn.Module, key: tuple, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the result of `make`, called only if `key` is new or `owner` has changed."""
        modules = [owner]
        for module in modules:  # like `owner.modules()`, which is slower
            modules.extend(child for child in module._modules.values() if child is not None)
        tensors = [
            t for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None
        ]
        if not bare(*modules) or any(t.device.type != "cpu" for t in tensors):
            return make()
        weights = torch._utils._flatten_dense_tensors(tensors) if tensors else None  # one: it may be a view
        known, copied, kept = self._state
        if known != modules or not _same(copied, weights):
            copied, kept = None if weights is None else weights.clone(), {}
            self._state = (modules, copied, kept)
        if key in kept:
            return kept[key]
        made = make()
        room = self.BYTES - _bytes(made)
        if room >= 0:
            if len(kept) >= self.LIMIT or sum(map(_bytes, list(kept.values()))) > room:
                kept = {}
                self._state = (modules, copied, kept)
            kept[key] = made
        return made

    def clear(self) -> None:
        """Forget everything."""
        self._state = ([], None, {})

    @property
    def nbytes(self) -> int:
        """Bytes of the cached biases."""
        return sum(map(_bytes, list(self._state[2].values())))

    def __reduce__(self) -> tuple:
        return BiasCache, ()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return (a.dtype, a.device) == (b.dtype, b.device) and torch.equal(a, b)
