"""The attention of one query over its photo, as a small picture to stand beside others."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from cfviz.figures.theme import SEQUENTIAL, Theme
from cfviz.geometry import Grouping

SIDE = 320  # pixels of the longer side


def on_map(probs: np.ndarray, groups: Grouping, row: int, col: int) -> np.ndarray:
    """One query's attention laid out on its map.

    Args:
        probs: One head's, (nG, N, N).
        groups: How the block cut the map.
        row: Of the query, in tokens.
        col: Of the query, in tokens.

    Returns:
        (H, W), nan for tokens outside the query's group.
    """
    group, slot = groups.group_of(row, col)
    out = np.full(groups.H * groups.W, np.nan)
    members = groups.members[group]
    out[members[members >= 0]] = probs[group, slot][members >= 0]
    return out.reshape(groups.H, groups.W)


def picture(
    photo: Image.Image, values: np.ndarray, row: int, col: int, top: float, theme: Theme
) -> Image.Image:
    """Attention over the photo: the group in colours, the rest of the photo dimmed, the query ringed.

    Args:
        photo: The pixels the model saw.
        values: From `on_map`, (H, W).
        row: Of the query, in tokens.
        col: Of the query, in tokens.
        top: What the brightest colour stands for.
        theme: Colours.
    """
    scale = SIDE / max(photo.size)
    size = (round(photo.width * scale), round(photo.height * scale))
    ground = np.asarray(photo.convert("RGB").resize(size), float)
    inside = np.isfinite(values)
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in SEQUENTIAL], float)
    level = np.clip(np.where(inside, values, 0) / (top or 1), 0, 1)
    colour = np.stack([np.interp(level, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], -1)
    layers = np.concatenate([colour, np.where(inside, 205, 0)[..., None]], -1)
    over = Image.fromarray(layers.astype(np.uint8), "RGBA").resize(size, Image.Resampling.NEAREST)
    mask = np.asarray(over, float)[..., 3:] / 255
    mixed = np.where(mask > 0, ground * (1 - mask) + np.asarray(over, float)[..., :3] * mask, 0.5 * ground)
    out = Image.fromarray(mixed.astype(np.uint8))
    cell = size[0] / values.shape[1]
    x, y, r = (col + 0.5) * cell, (row + 0.5) * cell, max(5.0, 0.45 * cell)
    pen = ImageDraw.Draw(out)
    for ink, wide in ((theme.outline, 5), (theme.ring, 2)):
        pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=wide)
    return out
