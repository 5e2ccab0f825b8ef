"""Anchors: the boxes that a detector starts from, several at every cell of every level.

Unlike torchvision's, they are centred on a cell's upper left corner and never rounded, and a level's stride
is that of the pyramid, not the input's side divided by the map's, which differs where a map was rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

RATIOS = (0.5, 1.0, 2.0)  # height / width


@dataclass(frozen=True)
class Anchors:
    """The anchors of a pyramid.

    Attributes:
        strides: Pixels of the input per cell, for each level.
        scales: Sides of the square anchors, in cells.
        ratios: Height divided by width of the anchors of one scale.
    """

    strides: tuple[int, ...]
    scales: tuple[float, ...]
    ratios: tuple[float, ...] = RATIOS

    @property
    def per_cell(self) -> int:
        """Number of anchors at one cell."""
        return len(self.scales) * len(self.ratios)

    def base(self, level: int) -> torch.Tensor:
        """Return the anchors of the cell at (0, 0), (A, 4): ratio by ratio, inside a ratio scale by scale."""
        ratios = torch.tensor(self.ratios, device="cpu").sqrt()[:, None]
        sides = torch.tensor(self.scales, device="cpu")[None, :] * self.strides[level]
        w, h = (sides / ratios).flatten(), (sides * ratios).flatten()
        return torch.stack([-w, -h, w, h], 1) / 2

    def on(self, level: int, size: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return all anchors of a level whose map has `size` (H, W): (H*W*A, 4), cell by cell, row by row."""
        rows, columns = (torch.arange(n, device=device) * self.strides[level] for n in size)
        y, x = torch.meshgrid(rows.float(), columns.float(), indexing="ij")
        corners = torch.stack([x, y, x, y], -1).view(-1, 1, 4)
        return (corners + self.base(level).to(device)).view(-1, 4)
