"""The figure of a logit's parts: rows that add up to the logit, places in the lab's words, maps."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.figures.live.answer.logit_parts import pack, place_of
from cfviz.figures.live.message import opened
from cfviz.models.interventions.language import from_url
from cfviz.models.probes.logit_parts import logit_parts
from cfviz.words import figure_words


def test_the_rows_add_up_and_the_maps_are_those_of_the_parts(tiny_model) -> None:
    photo = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = logit_parts(tiny_model(), photo, 3)
    sums = [found.since(stage) for stage in range(4)]
    data = pack(
        sums, found.logit, "tench", photo=Image.new("RGB", (96, 64)), strings=figure_words("parts"),
        totals={"1.1.mlp": 0.5}, lab=True,
    )  # fmt: skip
    message = opened(data)
    header, body = message.header, message.body
    assert [one["stage"] for one in header["begins"]] == [0, 1, 2, 3]
    parts = header["parts"]
    for one in header["begins"]:
        rows = one["rows"]
        assert sum(row["value"] for row in rows) == pytest.approx(found.logit, abs=1e-5)
        assert all(
            row["value"] == pytest.approx(sum(parts[i]["value"] for i in row["parts"])) for row in rows
        )
        assert [row["kind"] for row in rows[:4]] == ["bias", "cel", "attn", "mlp"]
    flat = [part for part in found.parts if part.kind == "head" and part.stage == 1]
    packed = [part for part in parts if part["kind"] == "head" and part["stage"] == 1]
    for part, sent in zip(flat, packed, strict=True):
        at = sent["codes"]
        codes = np.frombuffer(body, "<i2", at["bytes"] // 2, at["at"])
        assert np.abs(codes * sent["step"] - part.map.reshape(-1)).max() <= sent["step"] / 2 * 1.001
        assert (sent["H"], sent["W"], sent["stride"]) == (8, 12, 8)
    assert "codes" not in parts[header["begins"][0]["rows"][0]["parts"][0]]  # a bias has no map
    assert struct.unpack_from("<I", data)[0] % 8 == 4
    assert json.loads(json.dumps(header["totals"])) == {"1.1.mlp": 0.5}


@pytest.mark.parametrize(
    ("part", "place"),
    [
        (("head", 2, 1, 4), "3.2.h5"),
        (("attn", 2, 1, None), "3.2.attn"),
        (("mlp", 0, 0, None), "1.1.mlp"),
        (("kernel", 0, None, 3), "1.k4"),
        (("kernel", 3, None, None), "4.k"),
        (("bias", 2, 1, None), ""),
        (("bias", None, None, None), ""),
    ],
)
def test_places_are_those_of_the_lab(part: tuple, place: str) -> None:
    assert place_of(*part) == place
    if place:
        (one,) = from_url(f"{place}-zero")
        assert (one.part, one.stage, one.block, one.index) == part
