"""The attention figure's message for models other than CrossFormer, and the notebook that shows it."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import torch

from cfviz.figures.live import attention_schemes as others
from cfviz.geometry import relative_index
from cfviz.geometry.schemes import vit
from cfviz.models.others.reading import FAMILIES
from cfviz.notebook import pack, page
from cfviz.run import inspect
from cfviz.stats import softmax
from cfviz.trace import Trace
from cfviz.words import figure_words, section_words
from tests.models.others.conftest import MODELS

NOWHERE, PREFIX = 2**32 - 1, 2**32 - 2


@pytest.fixture(scope="module", params=["swin, padded", "swin v2", "twins", "pvt v2", "maxvit", "vit"])
def trace(request: pytest.FixtureRequest) -> Trace:
    torch.manual_seed(0)
    make, size = MODELS[request.param]
    photo = np.random.default_rng(0).integers(0, 256, (120, 180, 3), np.uint8)
    return inspect(photo, make().eval(), size)


def test_the_models_attention_can_be_read_from_the_message(trace: Trace) -> None:
    packed = pack(trace)
    data = packed.data
    (length,) = struct.unpack("<I", data[:4])
    header, body = json.loads(data[4 : 4 + length]), data[4 + length :]

    def array(part: dict[str, Any]) -> np.ndarray:
        return np.frombuffer(body[part["at"] : part["at"] + part["bytes"]], part["type"])

    assert packed.error < 1e-4
    for stage in header["stages"]:
        for entry in stage["blocks"]:
            g = header["groupings"][entry["grouping"]]
            keys = array(g["keys"]).reshape(g["nG"], -1)
            region = None if g["region"] is None else array(g["region"]).reshape(keys.shape)
            N, heads, H, W = keys.shape[1], stage["heads"], g["H"], g["W"]
            codes = array(entry["codes"]).reshape(H, W, heads, N)
            high, span = (array(entry[name]).reshape(H, W, heads, 1) for name in ("high", "span"))
            for row, col in [(0, 0), (H - 1, W - 1), (H // 2, W // 3)]:
                logits = high[row, col] - span[row, col] * (codes[row, col] / 65535) ** 2
                where = np.argwhere(keys == row * W + col)
                group, slot = where[0] if len(where) else (0, -1)
                if "bias" in entry:
                    table = array(entry["bias"]).reshape(heads, -1)
                    logits = logits + table[:, relative_index(g["Gh"], g["Gw"])[slot]]
                if region is not None:
                    logits = logits + np.where(region[group] == region[group, slot], 0, g["masked"])
                probs = softmax(logits)
                own = trace.attention(stage["s"], entry["b"], row, col)
                for h in range(heads):
                    shown, side = np.zeros((H, W)), g["side"]
                    for key, p in zip(keys[group], probs[h], strict=True):
                        if key < PREFIX:
                            r, c = divmod(int(key), W)
                            shown[r : r + side, c : c + side] += p / side**2
                    np.testing.assert_allclose(shown, own.heads[h], atol=packed.error + 1e-7)
                    assert probs[h, keys[group] == NOWHERE].sum() == pytest.approx(own.padding[h], abs=1e-4)
                    assert probs[h, keys[group] == PREFIX].sum() == pytest.approx(
                        own.extra[h].sum(), abs=1e-4
                    )


def test_a_notebook_shows_the_figure(trace: Trace) -> None:
    """The cell used to say that there was no block to show."""
    assert "cf-host" in trace.show()
    assert "random" not in trace.show()  # timm does not record it, so neither is claimed
    assert "weights of unknown origin" in trace.show()
    assert '<html lang="zh-Hant">' in page(trace, "zh-Hant")


def test_blocks_that_were_not_watched_show_their_keys_alone() -> None:
    make, size = MODELS["swin, padded"]
    photo = np.zeros((96, 160, 3), np.uint8)
    seen = inspect(photo, make().eval(), size, watch="layers.1.*")
    header = pack(seen).header
    assert [("codes" in block) for stage in header["stages"] for block in stage["blocks"]] == [False] * 2 + [
        True
    ] * 2


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_a_family_has_words_of_its_own(lang: str) -> None:
    strings, more = figure_words("attention", lang), section_words("attention", lang)
    swin, twins = others.words("Swin V2", lang), others.words("Twins", lang)
    assert swin["content_help"] == more["family.swinv2.content_help"]
    assert twins["content_help"] == strings["content_help"]
    assert twins["mask_help"] == more["family.other.mask_help"]
    families = {"other", *(family.name.lower().replace(" ", "") for family in FAMILIES)}
    for name in more:
        if name.startswith("family."):
            _, family, word = name.split(".")
            assert family in families, name
            assert word in strings, f"{name} replaces no word"
    assert all(others.words(family.name, lang).keys() == strings.keys() for family in FAMILIES)


def test_tokens_without_a_place_come_last() -> None:
    scheme, arrays = vit(2, 3, 2), others.Arrays()
    entry = others.scheme_entry(scheme, arrays, False)
    keys = np.frombuffer(arrays.parts[0], np.uint32)
    assert keys.tolist() == [0, 1, 2, 3, 4, 5, PREFIX, PREFIX]
    assert (entry["Gh"], entry["Gw"], entry["prefix"]) == (2, 3, 2)
