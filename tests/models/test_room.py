"""The size limit of a forward, computed from shapes: groups of own weights, partitions of a link, windows."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from PIL import Image

from cfviz.geometry import lsda
from cfviz.models import room
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import check, from_url
from cfviz.models.probes.position_bias import regrouped
from cfviz.models.variants import VARIANTS
from cfviz.options import SIZES
from cfviz.run import inspect
from tests.processes.warm import Warm


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


@pytest.mark.slow
def test_an_input_that_fits_is_not_refused_for_attention_that_nobody_keeps() -> None:
    """Base at 800 x 1216 px, as in a detector, takes 0.4 GB; its attention would take 2.7 GB."""
    model = empty("crossformer_base", lda="whole")
    room.check_room(model, 800, 1216)
    assert 250e6 < room.forward_bytes(model, 800, 1216) < 500e6
    with pytest.raises(ValueError, match="attention weights for one photo"):
        room.check_room(model, 800, 1216, room.KEPT)
    with pytest.raises(ValueError, match=r"2048 x 4096 pixels needs .* GB for one photo; expected no more"):
        room.check_room(empty("crossformer_base"), 2048, 4096)


@pytest.mark.parametrize("lda", ["regions", "whole"])
def test_queries_keys_and_biases_are_counted_to_the_byte(lda: Any, tiny_model: Any) -> None:
    model = tiny_model(group_size=3, lda=lda)
    watch = [f"layers.*.blocks.*.attn.{name}" for name in ("q", "k", "bias")]
    trace = inspect(Image.new("RGB", (160, 96)), model, size=(96, 160), watch=watch)
    kept = [values for point, values in trace.arrays.items() if ".attn." in point]
    assert room.vector_bytes(model, 96, 160) == sum(values.nbytes for values in kept)
    nano = empty("crossformer_nano", lda="whole")
    assert 160e6 < room.vector_bytes(nano, 800, 1216) < 170e6
    assert room.attention_weights(nano, 800, 1216) > room.KEPT


@pytest.mark.parametrize("lda", ["regions", "whole"])
@pytest.mark.parametrize(("H", "W"), [(56, 56), (50, 76), (13, 40), (40, 41), (7, 30)])
def test_the_masks_of_a_padded_map_are_counted_without_making_them(H: int, W: int, lda: Any) -> None:
    for block in range(2):
        g = lsda(H, W, block, 7, 3, lda)
        known = room._patterns(g.H, g.Gh, g.I) * room._patterns(g.W, g.Gw, g.I)
        assert known == len(g.patterns[0])


MEASURE = """
import ctypes, gc, sys, torch
from cfviz.models.crossformer import CrossFormer
from cfviz.models.room import forward_bytes
from cfviz.models.variants import VARIANTS

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

torch.set_num_threads(1)
net = CrossFormer(**VARIANTS[sys.argv[1]], num_classes=3, lda=sys.argv[2]).eval()
with torch.inference_mode():
    net(torch.randn(1, 3, 64, 64))
    x = torch.randn(1, 3, 448, 448)
    taken = []
    for _ in range(3):  # the least counts: what the allocator could not reuse is no need of the forward's
        gc.collect(), ctypes.CDLL("libc.so.6").malloc_trim(0)
        open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
        before = kilobytes("VmRSS")
        net(x)
        taken.append(1024 * (kilobytes("VmHWM") - before))
    print(forward_bytes(net, 448, 448), min(taken))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lda"),
    [("crossformer_nano", "whole"), ("crossformer_small", "regions"), ("crossformer_small", "whole")],
)
def test_the_estimate_is_what_a_forward_takes(name: str, lda: str, warm: Warm) -> None:
    done = warm.run(["-c", MEASURE, name, lda], check=True)
    estimate, taken = map(int, done.stdout.split())
    assert 0.9 * taken <= estimate <= 2 * taken


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
