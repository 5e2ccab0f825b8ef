"""The messages of the embedding figure: what a large one sends first, and what follows."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cfviz.figures.live import message
from cfviz.figures.live.embedding import MEASURES, Cel, is_large, pack, rest
from cfviz.geometry import CEL_KERNELS


def layers(height: int, width: int, channels: int) -> list[Cel]:
    """The four layers of a model on a photo, all zero."""
    found = []
    for stage, kernels in enumerate(CEL_KERNELS):
        H, W, C = height >> stage + 2, width >> stage + 2, channels << stage
        maps = [np.zeros((len(kernels), H, W), np.float32) for _ in MEASURES]
        share = (C // len(kernels),) * len(kernels)
        found.append(Cel(stage, kernels, share, share, np.zeros((H, W, C), np.float32), *maps))
    return found


def test_a_large_photo_is_shown_before_all_layers_have_been_sent() -> None:
    """Small at 800 x 1216 px sent 15.5 MB before anything was drawn."""
    parts = layers(800, 1216, 96)
    assert is_large(parts)
    assert not is_large(layers(224, 224, 48))
    photo = Image.new("RGB", (1216, 800))
    first = message.opened(pack(parts, photo=photo, strings={}, source="one", only=(1, "norm")))
    assert len(first.data) < 400_000  # of them 243,200 for the two kernels' maps
    arrays = [[name for name in (*MEASURES, "codes", "step") if name in cel] for cel in first.header["cels"]]
    assert arrays == [[], ["norm"], [], []]
    assert [cel["kernels"] for cel in first.header["cels"]] == [
        [{"k": k, "channels": d, "macs": m} for k, d, m in zip(p.kernels, p.channels, p.macs, strict=True)]
        for p in parts
    ]


def test_what_follows_has_every_layer_and_no_photo() -> None:
    parts = layers(64, 64, 16)
    later = message.opened(rest(parts, name="figure", source="one"))
    assert (later.header["name"], later.header["source"]) == ("figure", "one")
    assert "photo" not in later.header
    assert all({*MEASURES, "codes", "step"} <= cel.keys() for cel in later.header["cels"])
