"""A memory for what depends on weights and geometry only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class BiasCache:
    """What attention adds to its logits, remembered as long as the weights that made it are the same.

    Used only in eval mode without gradients; training empties it. A weight counts as changed when it is
    another tensor or was written to in place (writing through `.data` hides the change from torch: call
    `model.train()` and `model.eval()` afterwards).
    """

    LIMIT = 8

    def __init__(self) -> None:
        self._state: tuple[Any, dict] = (None, {})

    def get(self, owner: nn.Module, key: tuple, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What `make` returns, made anew only when `key` is new or a weight of `owner` changed."""
        stamp = tuple(
            (p.data_ptr(), 0 if p.is_inference() else p._version)
            for module in owner.modules()
            for p in module._parameters.values()
            if p is not None
        )
        known, kept = self._state
        if known != stamp or (len(kept) >= self.LIMIT and key not in kept):
            kept = {}
            self._state = (stamp, kept)
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def clear(self) -> None:
        """Forget everything."""
        self._state = (None, {})

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors it holds."""
        return sum(t.untyped_storage().nbytes() for t in list(self._state[1].values()))

    def __reduce__(self) -> tuple:
        return BiasCache, ()
