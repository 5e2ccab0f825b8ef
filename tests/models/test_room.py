"""The size limit of a forward, computed from shapes: groups of own weights, partitions of a link, windows."""

from __future__ import annotations

import time

import pytest
import torch

from cfviz.models import room
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import check, from_url
from cfviz.models.probes.position_bias import regrouped
from cfviz.models.variants import VARIANTS
from cfviz.options import SIZES


def empty(name: str, **options: object) -> CrossFormer:
    """A model on the meta device."""
    with torch.device("meta"):
        return CrossFormer(**{**VARIANTS[name], **options}, num_classes=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_fits_at_every_size_on_offer_and_with_groups_of_28(name: str) -> None:
    model = empty(name)
    for size in SIZES:
        room.check_room(model, size, size, room.KEPT)
    with regrouped(model, 28, model.interval):
        room.check_room(model, 448, 448)


@pytest.mark.parametrize(
    ("G", "I"), [([112] * 4, [112] * 4), ([56, 56, 28, 14], [8, 4, 2, 1]), ([7] * 4, [112] * 4)]
)
def test_groups_that_need_gigabytes_are_refused_beforehand(G: list[int], I: list[int]) -> None:  # noqa: E741
    began = time.process_time()
    model = empty("crossformer_nano", group_size=G, interval=I)
    with pytest.raises(ValueError, match="expected no more than"):
        room.check_room(model, 448, 448, room.KEPT)
    assert time.process_time() - began < 2


def test_groups_over_a_large_whole_map_count_against_the_limit() -> None:
    model = empty("crossformer_small", lda="whole")
    room.check_room(model, 800, 1216)
    for size in (SIZES[0], SIZES[-1]):
        room.check_room(model, size, size, room.KEPT)
    with pytest.raises(ValueError, match="groups of 32 x 64 and I = 8 in stage 1"):
        room.check_room(model, 1024, 2048)
    with pytest.raises(ValueError, match="groups of 32 x 64"):
        check(model, from_url("1.2.I-8"), (1024, 2048))


@pytest.mark.slow
def test_partitions_that_fit_singly_are_refused_together() -> None:
    model = empty("crossformer_large")
    check(model, from_url("1.1.G-28"), (448, 448))
    with pytest.raises(ValueError, match="choose smaller groups"):
        check(model, from_url("x.x.G-28_x.x.kind-lda"), (448, 448))
