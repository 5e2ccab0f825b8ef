"""The message of the figure of many photos: maps by where the key lies; only the pictures that are shown."""

from __future__ import annotations

import numpy as np

from cfviz.analysis.by_offset import ByOffset
from cfviz.figures.live.many.survey import Heads, Kernel, pack
from cfviz.figures.live.message import opened
from cfviz.geometry import grouping
from cfviz.words import figure_words


def test_a_head_that_looks_up_is_bright_above_the_middle() -> None:
    g = grouping("sda", 3, 3, 3)
    probs = np.full((1, 1, 9, 9), 1e-6)
    for query in range(9):
        probs[0, 0, query, query - 3 if query >= 3 else query] = 1  # the key above
    one = ByOffset(1, 3, 3)
    one.add(probs, np.zeros((1, 9, 9)), g)
    best = {name: np.zeros((2, 1), int) for name in ("value", "photo", "row", "col")}
    data = pack(
        [("a", b"one"), ("b", b"two")], (32, 32), [np.ones((8, 8))], [0.5],
        [Heads(0, 0, "sda", one.agreement, one.mean, one.alone)], [Kernel(0, 4, (4, 0, 0, 4), best)],
        strings=figure_words("survey"),
    )  # fmt: skip
    message = opened(data)
    block = message.header["heads"][0]
    mean = np.frombuffer(message.body, "<f4", 25, block["mean"]["at"]).reshape(5, 5)
    assert mean[1, 2] > 0.9  # one row above the middle
    assert mean[3, 2] < 1e-3
    assert [one["file"] is None for one in message.header["photos"]] == [False, True]


def test_a_patch_keeps_its_photo_among_more_than_65536() -> None:
    many = 70_000
    best = {name: np.zeros((1, 1), int) for name in ("value", "row", "col")} | {
        "photo": np.array([[many - 1]])
    }
    data = pack(
        [("", b"")] * many,
        (32, 32),
        [np.ones((8, 8))],
        [0.5],
        [],
        [Kernel(0, 4, (4, 0, 0, 4), best)],
        strings={},
    )
    message = opened(data)
    part = message.header["kernels"][0]["photo"]
    assert np.frombuffer(message.body, part["type"], 1, part["at"])[0] == many - 1
