"""Effective receptive fields averaged over photos, where their extent is known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cfviz.measured.fields import mean_stage_fields, stage_fields
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import from_url

pytestmark = pytest.mark.slow


def noise(seed: int, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_without_blocks_a_stage_sees_what_its_kernels_reach(tiny_model: Any) -> None:
    """Kernel 32 with stride 4 before stage 1; then kernel 4 with stride 2, three times.

    Token t of stage 1 reads pixels 4t - 14 to 4t + 17, token t of a later stage tokens 2t - 1 to 2t + 2.
    """
    model = tiny_model()
    with apply(model, from_url("x.x.block-zero")):
        fields = stage_fields(model, noise(0))
    assert fields.shape == (4, 64, 96)
    assert fields.sum((1, 2)) == pytest.approx(np.ones(4))
    for stage, field in enumerate(fields):
        for axis, side in ((1, 64), (0, 96)):
            first = last = side // (4 * 2**stage) // 2  # the central token
            for _ in range(stage):
                first, last = 2 * first - 1, 2 * last + 2
            seen = np.flatnonzero(field.any(axis))
            assert (seen[0], seen[-1]) == (max(0, 4 * first - 14), min(side - 1, 4 * last + 17))


def test_every_photo_counts_the_same(tiny_model: Any) -> None:
    model, images = tiny_model(), [noise(0, 32, 32), 40 * noise(1, 32, 32)]
    wanted = (stage_fields(model, images[0]) + stage_fields(model, images[1])) / 2
    assert mean_stage_fields(model, iter(images)) == pytest.approx(wanted)


def test_images_of_two_sizes_and_none_are_refused(tiny_model: Any) -> None:
    with pytest.raises(ValueError, match="image 2 is 32 x 64 and those before are 32 x 32"):
        mean_stage_fields(tiny_model(), [noise(0, 32, 32), noise(0, 32, 64)])
    with pytest.raises(ValueError, match="there are no images"):
        mean_stage_fields(tiny_model(), [])
