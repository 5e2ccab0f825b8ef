"""The message of the figure of detectors and segmenters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cfviz.figures import theme
from cfviz.figures.live import dense
from cfviz.figures.live.message import Message, opened
from cfviz.geometry import grouping

STRINGS = {"title": "x"}


def values(message: Message, entry: dict[str, Any]) -> np.ndarray:
    """The numbers of an entry of the header."""
    part = message.body[entry["at"] : entry["at"] + entry["bytes"]]
    return np.frombuffer(part, entry["type"])


def detected(**changes: Any) -> dense.Answer:
    view = dense.View(
        None,
        np.array([3, 1]),
        np.array([[0.0, 0, 10, 20], [5, 5, 30, 30]]),
        np.array([0.9, 0.4]),
        np.array([0, 4]),
        np.array([0, 1]),
        np.full((2, 28, 28), 0.5),
    )
    other = replace(view, without=2, labels=np.array([2]), boxes=view.boxes[:1], scores=view.scores[:1],
                    levels=view.levels[:1], partners=np.array([-1]), masks=None)  # fmt: skip
    answer = dense.Answer(
        "detect", Image.new("RGB", (40, 30)), (24, 32), (32, 32), list("abcdef"),
        [[grouping("sda", 8, 8, 4), grouping("lda", 8, 8, 4, 2)]], [2], [("P3", 8)], [view, other],
    )  # fmt: skip
    return replace(answer, **changes)


def segmented() -> dense.Answer:
    labels = np.zeros((24, 32), int)
    labels[:10] = 5
    likely = np.stack([labels] * 3), np.full((3, 24, 32), 1 / 3, np.float32)
    which = np.full((8, 8), -1)
    which[0] = 0
    return replace(
        detected(), task="segment", ground=5, likely=likely, levels=[], views=[
            dense.View(None, labels, regions=dense.Found(which, [5], [0.125])),
            dense.View(2, labels * 0, regions=dense.Found(which + 1, [0, 0], [0.8, 0.2])),
        ],
    )  # fmt: skip


def test_boxes_masks_and_classes_are_in_the_message() -> None:
    message = dense.pack(detected(), strings=STRINGS, source="s")
    header = message.header
    first, second = header["views"]
    assert values(message, first["boxes"]).tolist() == [0, 0, 10, 20, 5, 5, 30, 30]
    assert values(message, first["scores"]) == pytest.approx([0.9, 0.4])
    assert values(message, first["masks"]).max() == 128
    assert (second["without"], second["masks"]) == (2, None)
    assert values(message, second["partners"]).tolist() == [-1]
    assert [one["index"] for one in header["classes"]] == [3, 1, 2], "the best of the whole model first"
    assert header["stages"][0]["blocks"] == [{"kind": "sda", "heads": 2}, {"kind": "lda", "heads": 2}]
    assert (header["stages"][0]["stride"], header["photo"]["w"]) == (4, 40)


def test_classes_next_to_each_other_have_different_colours_and_the_ground_has_none_of_them() -> None:
    colours = dense.class_colours([4, 7, 1], ground=7)
    assert list(colours) == [4, 7, 1]
    assert len(set(colours.values())) == 3
    assert colours[7] == theme.GROUND not in theme.CLASS_COLOURS
    assert not {theme.SDA, theme.LDA} & set(theme.CLASS_COLOURS)


def test_label_maps_regions_and_likely_classes_are_in_the_message() -> None:
    message = dense.pack(segmented(), strings=STRINGS)
    header = message.header
    assert np.array_equal(np.unique(values(message, header["views"][0]["labels"])), [0, 5])
    first, second = (view["regions"] for view in header["views"])
    assert set(values(message, first["which"])) == {0, dense.NONE}
    assert set(values(message, second["which"])) == {0, 1}
    assert (second["labels"], second["shares"]) == ([0, 0], [0.8, 0.2])
    assert set(values(message, header["likely"]["probs"])) == {21845}
    assert [one["index"] for one in header["classes"]] == [0, 5], "the larger first"


def test_more_classes_than_a_byte_holds_are_refused() -> None:
    answer = segmented()
    labels = answer.views[0].labels + 300
    with pytest.raises(ValueError, match="expected 0 to 255"):
        dense.pack(replace(answer, names=["x"] * 400, views=[dense.View(None, labels)]), strings=STRINGS)


@pytest.mark.parametrize("of", [detected, segmented])
def test_views_that_follow_change_no_colour_that_is_on_screen(of: Callable[..., dense.Answer]) -> None:
    truth = dense.Truth(np.array([[1.0, 2, 3, 4]]), [4])
    answer = replace(of(), truth=truth)
    first = dense.pack(replace(answer, views=answer.views[:1], pending=[2]), strings=STRINGS).header
    assert (first["pending"], len(first["views"])) == ([2], 1)
    later = opened(dense.others(answer, source="s")).header
    assert (later["name"], later["source"]) == ("dense.views", "s")
    assert [view["without"] for view in later["views"]] == [2]
    assert later["classes"][: len(first["classes"])] == first["classes"]
    assert later["classes"] == dense.pack(answer, strings=STRINGS).header["classes"]


def test_the_truth_of_a_scene_is_in_the_message() -> None:
    truth = dense.Truth(np.array([[1.0, 2, 3, 4]]), [0], np.ones((24, 32), int))
    message = dense.pack(detected(truth=truth), strings=STRINGS)
    told = message.header["truth"]
    assert values(message, told["boxes"]).tolist() == [1, 2, 3, 4]
    assert [one["index"] for one in message.header["classes"]] == [3, 1, 0, 2], "the other view's come last"


def test_the_offline_page_holds_the_figure_and_its_reasons() -> None:
    reason = dense.Reason("box.0", 1.5, [np.ones((8, 8))], [[np.ones(2), -np.ones(2)]], np.ones((8, 8)))
    rest = dense.reasons([reason], source="s")
    page = dense.html(dense.pack(detected(), strings=STRINGS, source="s"), rest, "<t>", ["<code>"], "en")
    assert "<title>&lt;t&gt;</title>" in page
    assert "<pre>&lt;code&gt;</pre>" in page
    assert page.count("dn-host") > 1
    assert "http://" not in page.replace("http://www.w3.org", "")
