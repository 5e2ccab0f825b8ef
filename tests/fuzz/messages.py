"""Messages from the browser: the possible values of a component or a widget, sent to its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.testing.v1 import AppTest

from tests.fuzz.harness import Case
from tests.fuzz.links import PAGES, ROOT
from tests.fuzz.mutate import LONGS, Rng

SECONDS = 20.0  # three runs of a page, of which the first computes
COMMITS: tuple[dict[str, Any], ...] = (
    {"stage": 1, "block": 0, "head": 0, "row": 3, "col": 3, "locked": True, "need": True},
    {"stage": 1, "H": 20, "W": 20, "row": 3, "col": 3, "held": True, "block": 0, "side": 1, "seq": 1},
    {"cel": 1, "measure": "norm", "row": 3, "col": 3},
    {"block": 1, "head": 1, "raw": 1, "scale": 2, "order": 1, "Gh": 9, "Gw": 9, "large": True},
    {"down": 30, "across": 30, "less": 1},
    {"do": "1.k1-zero_3.1.attn-mean", "how": "mean", "seq": 7},
    {"strokes": "mean-60-500.500-520.510_copy-rect-1000.0-100.100-300.200", "seq": 7},
    {"stage": 2, "x": 0.5, "y": 0.25},
    {"quiz": "1.1.0", "picked": ["3.4", "1"]},
    {"page": "attention", "stage": 1, "block": 0, "x": 0.5, "y": 0.5},
)
BARE = ("lemurs", "next", '{"v": 1, "first": {"windows.tokens": 1}}', "dark")  # values with no fields
KEPT = ("commit", "more", "go", "pick", "stored", "asked", "scheme")
TRIGGERS = ("go", "pick", "asked", "scheme")
BROKEN = ("{", "[" * 5000, '{"commit":' + "[" * 5000, "5", "null", '"text"', '{"selection": 5}')
SELECTED = (
    '{"selection": {"rows": [99999]}}',
    '{"selection": {"rows": ["x"]}}',
    '{"selection": {"rows": [-1]}}',
)
ODD: tuple[Any, ...] = (
    None, True, -1, 0.5, 1e300, float("nan"), float("inf"), 3_000_000_000, 10**310, "", "x" * 30_000, "3", [],
    [[]], {}, {"a": {"b": []}}, ["x"] * 2000, [None], "../../etc/passwd", "<script>alert(1)</script>",
)  # fmt: skip


def make(rng: Rng) -> Case:
    """Make a page, one of its widgets, and a value for it."""
    page = PAGES[int(rng.integers(len(PAGES)))]
    which = int(rng.integers(1000))
    kind = ("value", "value", "value", "event", "broken", "type")[int(rng.integers(6))]
    value: Any = _value(rng)
    name = KEPT[int(rng.integers(len(KEPT)))] if rng.random() < 0.5 else "commit"
    if kind == "event":
        name = TRIGGERS[int(rng.integers(len(TRIGGERS)))]
    if kind == "broken":
        value = (*BROKEN, *SELECTED)[int(rng.integers(len(BROKEN) + len(SELECTED)))]
    if kind == "type":
        value = int(rng.integers(len(_wrong(""))))
    said = json.dumps([page, which, kind, name, value])
    return Case(said.encode(), said[:600], (page, which, kind, name, value))


def check(case: Case) -> str:
    """Check that the page completes with the message and once more after it, without exception or error."""
    page, which, kind, name, value = case.extra
    app = _opened(page)
    widgets = [node for node in app if getattr(getattr(node, "proto", None), "id", "").startswith("$$ID")]
    ours = [node for node in widgets if hasattr(node.proto, "component_name")]
    others = [node for node in widgets if type(node).__name__ not in ("Block", "Button", "DownloadButton")]
    chosen = ours if kind in ("value", "event") else others
    id = chosen[which % len(chosen)].proto.id
    states = WidgetStates()
    states.widgets.extend(_states(id, kind, name, value))
    app._run(states)
    _fine(app)
    app.run()
    _fine(app)
    return kind


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
    for page in PAGES:
        _opened(page)


def _opened(page: str) -> AppTest:
    app = AppTest.from_file(str(Path(ROOT) / "app.py"), default_timeout=120)
    if page != "home":
        app.switch_page(f"pages/{page}.py")
    app.query_params["size"] = "160"
    app.run()
    _fine(app)
    return app


def _fine(app: AppTest) -> None:
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error, [box.value for box in app.error]
    assert len(app.title) == 1


def _states(id: str, kind: str, name: str, value: Any) -> list[WidgetState]:
    if kind == "value":
        return [WidgetState(id=id, json_value=json.dumps({name: value}))]
    if kind == "event":
        events = json.dumps([{"event": name, "value": value}])
        return [
            WidgetState(id=id, json_value="{}"),
            WidgetState(id=f"$$STREAMLIT_INTERNAL_KEY_{id}__events", json_trigger_value=events),
        ]
    if kind == "broken":
        return (
            [WidgetState(id=id, json_value=value)]
            if id.endswith("figure")
            else [WidgetState(id=id, string_value=value)]
        )
    return [_wrong(id)[value]]


def _wrong(id: str) -> list[WidgetState]:
    """One value of each type."""
    made = [
        WidgetState(id=id, string_value="nobody-<b>"),
        WidgetState(id=id, int_value=10**9),
        WidgetState(id=id, double_value=1e300),
        WidgetState(id=id, bool_value=True),
        WidgetState(id=id, bytes_value=b"\xff\0"),
        WidgetState(id=id, json_value="{"),
        WidgetState(id=id, trigger_value=True),
    ]
    for field, values in (
        ("int_array_value", ([99], [-1], [])),
        ("double_array_value", ([1e300], [float("nan")], [])),
        ("string_array_value", (["x"], ["0", "0"], [])),
    ):
        for several in values:
            state = WidgetState(id=id)
            getattr(state, field).SetInParent()
            getattr(state, field).data.extend(several)
            made.append(state)
    return made


def _value(rng: Rng) -> Any:
    """A figure's message with something wrong in it, or an unrelated value."""
    if rng.random() < 0.15:
        return ODD[int(rng.integers(len(ODD)))]
    if rng.random() < 0.15:
        return BARE[int(rng.integers(len(BARE)))]
    value = dict(COMMITS[int(rng.integers(len(COMMITS)))])
    for _ in range(int(rng.integers(0, 3))):
        field = list(value)[int(rng.integers(len(value)))]
        at = rng.random()
        if at < 0.2 and len(value) > 1:
            del value[field]
        elif at < 0.6:
            value[field] = int(rng.choice(LONGS)) * int(rng.choice((1, -1)))
        else:
            value[field] = ODD[int(rng.integers(len(ODD)))]
    return value
