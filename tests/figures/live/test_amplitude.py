"""The figure of how large the numbers grow: sizes and outliers of its message, in the browser's layout."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cfviz.figures.live.message import opened
from cfviz.measured.amplitude import explain_amplitude, figure

PHOTO = Image.effect_noise((96, 64), 80).convert("RGB")


def test_the_message_holds_what_was_measured(tiny_model) -> None:
    found = explain_amplitude(PHOTO, tiny_model(depths=(1, 1, 5, 1), cooling=True), size=(64, 96))
    data = opened(figure(found.blocks, found.without, found.trace, "zh-Hant"))
    blocks, cooled = data.header["blocks"], 4
    assert [block["cooled"] for block in blocks] == [i == cooled for i in range(8)]
    for sent, one, less in zip(blocks, found.blocks, found.without, strict=True):
        tokens = np.frombuffer(data.body, "<f4", sent["H"] * sent["W"], sent["tokens"]["at"])
        assert np.allclose(tokens.reshape(sent["H"], sent["W"]), one.out.tokens)
        assert (sent["largest"], sent["without"][0]) == (one.out.largest, less.out.largest)
        assert sent["top"][0][:2] == list(np.unravel_index(one.out.tokens.argmax(), one.out.tokens.shape))
        assert sent["channels"][0][0] == one.out.channels.argmax() + 1  # people count from 1
    assert data.start["block"] == max(range(8), key=lambda i: blocks[i]["largest"])


def test_a_ratio_to_zero_is_none_in_json(tiny_model) -> None:
    """A stream of zeros but for one token: its ratio to the median is no number that JSON has."""
    found = explain_amplitude(PHOTO, tiny_model(), size=(64, 96))
    out = found.blocks[0].out
    out.tokens[:] = 0
    out.tokens[1, 2] = 3
    sent = opened(figure(found.blocks, (), found.trace, "en")).header["blocks"][0]
    assert sent["top"][0] == [1, 2, None]
    assert (sent["outliers"], sent["median"], sent["without"]) == (1, 0, None)
