"""The figure of what each block knows: the classes that tokens read, their probabilities, their colours."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cfviz.figures import theme
from cfviz.figures.live.answer.block_readings import CERTAIN, Known, pack
from cfviz.figures.live.message import opened
from cfviz.stats import softmax
from cfviz.words import figure_words

SCORE = {"n": 10, "value": 0.5, "low": 0.2, "high": 0.8}


def sent(classes: int) -> tuple[Known, dict, bytes]:
    tokens = softmax(np.random.default_rng(0).normal(size=(2, 3, classes)))
    one = Known(0, 1, softmax(np.arange(classes)), tokens, SCORE, SCORE)
    labels = [f"class {n}" for n in range(classes)]
    photo = Image.new("RGB", (96, 64))
    data = pack([one], softmax(np.zeros(classes)), labels, 1, photo=photo, strings=figure_words("reading"))
    message = opened(data)
    return one, dict(message.header), message.body


def test_each_token_sends_its_likeliest_classes() -> None:
    one, header, body = sent(20)
    (block,) = header["blocks"]
    top, p = (
        np.frombuffer(body, "<u2", 18, block[name]["at"]).reshape(6, 3).astype(int) for name in ("top", "p")
    )
    flat = one.tokens.reshape(6, 20)
    assert np.array_equal(top[:, 0], flat.argmax(1))
    assert np.abs(p[:, 0] / CERTAIN - flat.max(1)).max() < 1e-5
    assert (np.diff(p, axis=1) <= 0).all()
    assert (block["H"], block["W"]) == (2, 3)


def test_the_followed_class_and_the_named_one_have_colours_of_their_own() -> None:
    _, header, _ = sent(20)
    colours = header["colours"]
    assert len(colours) == len(theme.CLASS_COLOURS) == len(set(colours.values()))
    assert colours["1"] == theme.CLASS_COLOURS[0]
    assert "19" in colours  # what the block's probe reads
    assert theme.GROUND not in colours.values()


def test_a_model_of_two_classes_has_no_third() -> None:
    _, header, body = sent(2)
    (block,) = header["blocks"]
    p = np.frombuffer(body, "<u2", 18, block["p"]["at"]).reshape(6, 3)
    assert (p[:, 2] == 0).all()
