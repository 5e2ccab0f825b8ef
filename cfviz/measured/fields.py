"""How far each stage really sees: effective receptive fields, averaged over photos."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cfviz import point_names
from cfviz.analysis.receptive_field import as_shares
from cfviz.geometry import map_sizes
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.gradients import receptive_field

__all__ = ["mean_stage_fields", "stage_fields"]


def stage_fields(model: CrossFormer, image: Any) -> np.ndarray:
    """Compute what the central token at the end of each stage depends on, as shares of the pixels.

    Args:
        model: In eval mode.
        image: A tensor (3, H, W), normalised.

    Returns:
        float64 (stages, H, W), the sum of each map is 1; see `receptive_field` for what is measured.
    """
    points = zip(point_names.stage_outputs(model.depths), map_sizes(*image.shape[-2:]), strict=True)
    return np.stack(
        [as_shares(receptive_field(model, image, point, H // 2, W // 2)) for point, (H, W) in points]
    )


def mean_stage_fields(model: CrossFormer, images: Iterable[Any]) -> np.ndarray:
    """Average `stage_fields` over photos, each of which counts the same.

    Args:
        model: In eval mode.
        images: Tensors (3, H, W), normalised, all of one size.

    Returns:
        float64 (stages, H, W), the sum of each map is 1.

    Raises:
        ValueError: If there are no images, or their sizes differ.
    """
    total: np.ndarray | None = None
    count = 0
    for image in images:
        found = stage_fields(model, image)
        if total is not None and found.shape != total.shape:
            raise ValueError(
                f"image {count + 1} is {found.shape[1]} x {found.shape[2]} and those before are "
                f"{total.shape[1]} x {total.shape[2]}; expected one size"
            )
        total, count = found if total is None else total + found, count + 1
    if total is None:
        raise ValueError("there are no images; expected one or more")
    return total / count
