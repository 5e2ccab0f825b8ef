"""Running means of activations over many photos and all their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from cfviz import point_names
from cfviz.geometry import Grouping


class Means:
    """Running means over all tokens of all photos; two of them can be merged.

    Sums are kept in float64; padding inside groups is left out.

    Example:
        >>> means = Means()
        >>> with capture(model, *names) as seen:
        ...     for x in batches:
        ...         model(x)
        ...         means.add(seen, model.groupings(*x.shape[-2:]))
        >>> means.result()
    """

    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, int] = {}

    def add(self, seen: Mapping[str, torch.Tensor], groupings: Sequence[Sequence[Grouping]]) -> None:
        """Add the activations that `capture` kept from a batch.

        Args:
            seen: Heads (B*nG, nH, N, d), kernels (B, D_i, H, W), anything else (B, ..., C).
            groupings: The blocks' partitions of their maps, `model.groupings(height, width)`.
        """
        for name, x in seen.items():
            x = x.detach().double()
            if name.endswith("attn.heads"):
                stage, block, _ = point_names.parse(name)
                assert block is not None
                g = groupings[stage][block]
                real = torch.from_numpy(g.valid).to(x)[None, :, None, :, None]  # 1, nG, 1, N, 1
                total = (x.unflatten(0, (-1, g.nG)) * real).sum((0, 1, 3))  # nH, d
                count = len(x) // g.nG * int(g.valid.sum())
            else:
                x = x.permute(0, 2, 3, 1) if ".kernels." in name else x
                total, count = x.flatten(0, -2).sum(0), x[..., 0].numel()
            self._take(name, total.cpu().numpy(), count)

    def _take(self, name: str, total: np.ndarray, count: int) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + total
        self.counts[name] = self.counts.get(name, 0) + count

    def merge(self, other: Means) -> None:
        """Add the sums of another `Means`, for example from another process."""
        for name, total in other.sums.items():
            self._take(name, total, other.counts[name])

    def result(self) -> dict[str, np.ndarray]:
        """Return the means by point name, float32 (nH, d) or (C,)."""
        return {name: (total / self.counts[name]).astype(np.float32) for name, total in self.sums.items()}
