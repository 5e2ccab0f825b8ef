"""Messages that our browser code never sends: the page stays as it was, now and in later runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from streamlit.components.v2.bidi_component import serialization
from streamlit.components.v2.bidi_component.constants import EVENT_DELIM
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "app.py"


def opened(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    if page != "home":
        app.switch_page(f"pages/{page}.py")
    for name, value in {"size": "160", "open": "all", **query}.items():
        app.query_params[name] = value
    return app.run()


def id_of(app: AppTest, end: str) -> str:
    """The id of the widget with this key."""
    ids = (getattr(getattr(node, "proto", None), "id", "") for node in app)
    return next(id for id in ids if id.startswith("$$ID") and id.endswith(f"-{end}"))


def tell(app: AppTest, *states: WidgetState) -> AppTest:
    """Send messages; the run must complete without an error."""
    sent = WidgetStates()
    sent.widgets.extend(states)
    app._run(sent)
    fine(app)
    return app


def fine(app: AppTest) -> None:
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error, [box.value for box in app.error]
    assert len(app.title) == 1


def commit(id: str, value: Any) -> WidgetState:
    return WidgetState(id=id, json_value=json.dumps({"commit": value}))


def event(id: str, name: str, value: Any) -> tuple[WidgetState, WidgetState]:
    trigger = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{id}{EVENT_DELIM}events"
    said = json.dumps([{"event": name, "value": value}])
    return WidgetState(id=id, json_value="{}"), WidgetState(id=trigger, json_trigger_value=said)


@pytest.mark.slow
def test_a_click_is_accepted_and_an_invented_one_is_not() -> None:
    app = opened("compare")
    id = id_of(app, "compare.figure")
    told = {"stage": 1, "H": 20, "W": 20, "row": 3, "col": 4, "held": True}
    tell(app, commit(id, told))
    after = dict(app.query_params)
    assert (after["stage"], after["row"], after["held"]) == ("2", "3", "1")
    for wrong in ({"stage": 3_000_000_000}, {"stage": -5}, {"H": 0}, {"row": "x"}, {"side": 7, "block": 0}):
        tell(app, commit(id, told | wrong))
        assert dict(app.query_params) == after, wrong
    tell(app, commit(id, [1, 2]))
    fine(app.run())


@pytest.mark.slow
def test_a_block_that_does_not_exist_is_not_kept_in_the_session() -> None:
    app = opened("attention")
    id = id_of(app, "attention.figure")
    place = {"block": 0, "head": 0, "row": 0, "col": 0, "locked": True, "need": True}
    tell(app, commit(id, {"stage": 9, **place}))
    tell(app, commit(id, {"stage": 0, **place, "block": 200}))
    fine(app.run())


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["[99999]", '["x"]', "[-1]", "5"])
def test_a_row_outside_the_table_is_ignored(rows: str) -> None:
    app = opened("attention")
    tables = [node.proto.id for node in app if type(node).__name__ == "Dataframe" and node.proto.id]
    tell(app, WidgetState(id=tables[0], string_value=f'{{"selection": {{"rows": {rows}}}}}'))
    fine(app.run())


@pytest.mark.parametrize("value", ["nobody", 10**9, True, "[" * 5000])
@pytest.mark.parametrize("box", ["w.photo", "w.model", "w.size", "w.lang"])
def test_a_choice_that_is_not_on_offer_is_ignored(box: str, value: Any) -> None:
    app = opened("grouping")
    before = dict(app.query_params)
    field = {str: "string_value", int: "int_value", bool: "bool_value"}[type(value)]
    tell(app, WidgetState(id=id_of(app, box), **{field: value}))
    assert dict(app.query_params) == before
    fine(app.run())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", "[" * 5000, '{"commit": ' + "[" * 5000, "5", '"x"'])
def test_a_truncated_message_is_ignored(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit left a traceback in the log for a text."""
    told = MagicMock()
    monkeypatch.setattr(serialization, "_LOGGER", told)
    app = opened("embedding")
    tell(app, WidgetState(id=id_of(app, "embedding.figure"), json_value=text))
    fine(app.run())
    told.warning.assert_not_called()


@pytest.mark.slow
def test_the_home_page_leads_only_to_existing_pages() -> None:
    app = opened("home")
    id = id_of(app, "whole")
    where = {"stage": 0, "block": 0, "x": 0.5, "y": 0.5}
    for wrong in ({"page": "../secret"}, {"page": 5}, {"page": "predict", "x": "far"}, {"stage": 10**9}):
        tell(app, *event(id, "go", {"page": "attention", **where} | wrong))
        id_of(app, "whole")  # still on the home page
    tell(app, *event(id, "go", {"page": "attention", **where}))
    assert id_of(app, "attention.figure")
    assert app.query_params["row"] == "20"


@pytest.mark.slow
def test_the_kernels_of_a_stage_lead_to_the_layer_before_it() -> None:
    """They led to the first layer, whatever the stage; the lower edge of the photo is in the last row."""
    app = opened("home")
    tell(
        app,
        *event(id_of(app, "whole"), "go", {"page": "embedding", "stage": 1, "block": 0, "x": 0.5, "y": 1}),
    )
    assert id_of(app, "embedding.figure")
    assert [app.query_params[name] for name in ("cel", "row", "col")] == ["2", "19", "10"]


@pytest.mark.slow
def test_only_photos_of_the_strip_can_be_picked() -> None:
    app = opened("predict")
    for said, shown in (
        (["lemurs"], "berlin-cathedral"),
        ("nobody", "berlin-cathedral"),
        ("lemurs", "lemurs"),
    ):
        tell(app, *event(id_of(app, "picker"), "pick", said))
        assert app.query_params["photo"] == shown


def test_a_whole_number_typed_into_a_field_is_taken() -> None:
    """The browser sends it as an integer; fields for numbers expect fractions, and it was dropped."""
    app = opened("grouping")
    tell(app, WidgetState(id=id_of(app, "w.height.160"), int_value=192))
    tell(app, WidgetState(id=id_of(app, "w.width.160"), int_value=640))
    assert any("48\u00a0×\u00a0160 tokens in stage 1" in box.value for box in app.caption)
    app.button(key="w.size.use").click().run()
    assert app.query_params["size"] == "192x640"
    fine(app)


@pytest.mark.slow
def test_a_moved_crop_is_in_the_link_and_ends_with_its_photo() -> None:
    app = opened("predict")
    id = id_of(app, "crop.page")
    tell(app, commit(id, {"x": 0.25, "y": 2}))
    assert "centre" not in app.query_params
    tell(app, commit(id, {"x": 0.25, "y": 0.5}))
    assert app.query_params["centre"] == "0.25,0.5"
    assert any("Cropped: the model sees" in box.value for box in app.caption)
    tell(app, *event(id_of(app, "picker"), "pick", "lemurs"))
    assert "centre" not in app.query_params


@pytest.mark.slow
def test_the_answers_of_the_bias_follow_the_block_and_head_chosen_in_the_figure() -> None:
    """There is one choice of block and head on the page."""
    app = opened("position_bias", open="answer", lang="en", stage="2", block="1", head="2")
    named = [box.value for box in app.caption if box.value.startswith("Attention of head")]
    assert named == [next(text for text in named if "head 2 of Stage 2, block 1 (SDA)" in text)]
    told = {"block": 5, "head": 3}
    tell(app, commit(id_of(app, "position_bias.surfaces"), told))
    assert app.query_params["stage"] in ("3", ["3"])
    named = [box.value for box in app.caption if box.value.startswith("Attention of head")]
    assert named == [next(text for text in named if "head 4 of Stage 3, block 2 (LDA)" in text)]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["compare", "attention", "embedding", "position_bias", "grouping", "lab"])
def test_infinite_numbers_in_a_link_are_ignored(page: str) -> None:
    names = ("row", "col", "of", "stage", "block", "head", "down", "across", "at", "g")
    fine(opened(page, **dict.fromkeys(names, "9" * 310)))
