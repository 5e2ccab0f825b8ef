"""Messages of a component: read field by field, or dropped with a line in the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from cfviz.ui.session import forms

PLACE = {"stage": 1, "block": 0, "head": 2, "row": 3, "col": 4, "locked": True}


def test_fitting_messages_are_read_in_the_types_that_pages_use() -> None:
    assert forms.accepted("figure", forms.ATTENTION, {**PLACE, "stage": 1.0, "other": []}) == PLACE
    assert forms.accepted("figure", forms.ATTENTION, None) is None
    told = {"stage": 1, "H": 28, "W": 28, "row": 3, "col": 4, "held": 1, "block": 1, "side": 1}
    assert forms.accepted("figure", forms.COMPARE, told) == {**told, "held": True}
    assert forms.accepted("picker", forms.PICTURE, "lemurs") == "lemurs"
    assert forms.accepted("crop", forms.CROP, {"x": 0, "y": 0.25}) == {"x": 0, "y": 0.25}
    assert forms.accepted("crop", forms.CROP, {"x": 0, "y": 1.01}) is None
    assert forms.accepted("lesson", forms.ANSWER, PLACE) == {}, "a place is nothing a lesson asked for"


@pytest.mark.parametrize(
    "wrong",
    [{"stage": value} for value in (3_000_000_000, -1, 0.5, "1", None, True, [], float("nan"), 10**310)]
    + [{"locked": 2}, {"locked": "yes"}, {"need": []}],
)  # fmt: skip
def test_other_messages_are_dropped_and_named_in_the_log(
    wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert forms.accepted("figure", forms.ATTENTION, PLACE | wrong) is None
    assert f"of figure: {next(iter(wrong))} is " in caplog.text
    assert len(caplog.text) < 300


@pytest.mark.parametrize("value", [[], "text", 5, {}, {"H": 0, "W": 0}])
def test_messages_of_another_shape_are_dropped(value: Any) -> None:
    assert forms.accepted("figure", forms.COMPARE, value) is None
    assert forms.accepted("figure", forms.EMBEDDING, value) is None


def test_a_map_with_a_side_of_zero_is_dropped() -> None:
    told = {"stage": 1, "H": 0, "W": 28, "row": 3, "col": 4, "held": 1}
    assert forms.accepted("figure", forms.COMPARE, told) is None


@pytest.mark.parametrize("rows", [[3], [-1], ["x"], [0, 1], [0.5], 0, None])
def test_a_row_must_be_in_the_table(rows: Any) -> None:
    assert forms.row_picked("table", {"selection": {"rows": rows}}, 3) is None


def test_the_selected_row_of_a_table_is_read() -> None:
    assert forms.row_picked("table", {"selection": {"rows": [2], "columns": []}}, 3) == 2
    assert forms.row_picked("table", {"selection": {"rows": []}}, 3) is None
